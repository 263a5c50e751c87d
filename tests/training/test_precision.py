"""The choice of a number format: flags before accelerate's configuration before the device."""

import types

import pytest
import torch

from hftune.errors import BadInput
from hftune.settings.text import TextSettings
from hftune.training import precision


@pytest.fixture
def machine(monkeypatch):
    """Pretends to be a GPU of some capability or a CPU with or without fast bf16; returns the device."""

    def be(kind: str, launched: str | None = None) -> torch.device:
        gpu = kind.startswith("gpu")
        if gpu:
            capability = (int(kind[-2]), int(kind[-1]))
            monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
            monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "Some GPU")
        fast = "amx_bf16" if kind == "fast cpu" else None
        monkeypatch.setattr(precision, "fast_bf16_cpu", lambda: fast)
        if launched is None:
            monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
        else:
            monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
        return torch.device("cuda", 0) if gpu else torch.device("cpu")

    return be


@pytest.mark.parametrize(
    ("kind", "launched", "flags", "chosen"),
    [
        ("gpu80", None, {}, "bf16"),
        ("gpu90", "no", {}, "bf16"),  # "no" is what accelerate sets when nobody chose
        ("gpu75", None, {}, "fp16"),
        ("fast cpu", None, {}, "bf16"),
        ("slow cpu", None, {}, "no"),
        ("slow cpu", None, {"bf16": True}, "bf16"),
        ("gpu80", None, {"fp16": True}, "fp16"),
        ("gpu80", "fp16", {}, "fp16"),
        ("gpu80", "fp16", {"bf16": True}, "bf16"),
        ("gpu75", "bf16", {}, "bf16"),
        ("slow cpu", "bf16", {}, "bf16"),
        ("gpu80", None, {"bf16": False}, "no"),
        ("gpu75", None, {"bf16": False}, "no"),
        ("fast cpu", None, {"bf16": False}, "no"),
        ("gpu75", None, {"fp16": False}, "no"),
        ("gpu80", None, {"fp16": False}, "bf16"),
        ("gpu80", None, {"bf16": False, "fp16": False}, "no"),
        ("gpu80", "bf16", {"bf16": False}, "no"),
        ("gpu80", "bf16", {"bf16": False, "fp16": False}, "no"),
        ("gpu75", "fp16", {"fp16": False}, "no"),
        ("gpu80", "fp16", {"fp16": False}, "bf16"),
        ("fast cpu", "fp16", {"fp16": False}, "bf16"),
    ],
)
def test_the_choice(machine, kind, launched, flags, chosen):
    assert precision.choose_precision(TextSettings(**flags), machine(kind, launched))[0] == chosen


@pytest.mark.parametrize(
    ("kind", "launched", "flags", "reason"),
    [
        ("gpu80", None, {}, "Some GPU computes it natively"),
        ("gpu75", None, {}, "Some GPU (capability 7.5) has no fast bf16"),
        ("fast cpu", None, {}, "this CPU has amx_bf16"),
        ("gpu80", "fp16", {}, "accelerate's configuration"),
        ("gpu80", "fp16", {"bf16": True}, "--bf16"),
        ("gpu80", None, {"bf16": False, "fp16": False}, "--bf16 false --fp16 false"),
        (
            "fast cpu",
            "fp8",
            {},
            "this CPU has amx_bf16, and fp8 of accelerate's configuration is not among bf16, fp16 and no",
        ),
    ],
)
def test_the_reason(machine, kind, launched, flags, reason):
    assert precision.choose_precision(TextSettings(**flags), machine(kind, launched))[1] == reason


@pytest.mark.parametrize(
    ("launched", "flags"), [(None, {"fp16": True}), ("fp16", {}), ("bf16", {"fp16": True})]
)
def test_fp16_without_a_gpu_is_bad_input(machine, launched, flags):
    with pytest.raises(BadInput, match="fp16 needs a GPU"):
        precision.choose_precision(TextSettings(**flags), machine("fast cpu", launched))


@pytest.mark.parametrize(
    ("vendor", "flags", "found"),
    [
        ("AuthenticAMD", "fpu sse avx512_bf16 ht", "avx512_bf16"),
        ("GenuineIntel", "fpu sse avx512_bf16 ht", None),  # slower there than float32
        ("GenuineIntel", "avx512_bf16 amx_bf16", "amx_bf16"),
        ("AuthenticAMD", "fpu avx512f not_amx_bf16", None),
        ("AuthenticAMD", "", None),
    ],
)
def test_the_cpu_says_what_it_has(monkeypatch, tmp_path, vendor, flags, found):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"vendor_id\t: {vendor}\nflags\t\t: {flags}\nbugs\t\t: amx_bf16\n")
    monkeypatch.setattr(precision, "Path", lambda _name: cpuinfo)
    assert precision.fast_bf16_cpu() == found


def test_a_machine_without_cpuinfo_is_taken_for_slow(monkeypatch, tmp_path):
    monkeypatch.setattr(precision, "Path", lambda _name: tmp_path / "missing")
    assert precision.fast_bf16_cpu() is None


def test_the_device_is_asked_and_not_the_machine(machine, monkeypatch):
    """`accelerate launch --cpu` on a machine with a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    assert precision.choose_precision(TextSettings(), machine("slow cpu"))[0] == "no"


@pytest.mark.parametrize(("supported", "chosen"), [(True, "bf16"), (False, "no")])
def test_an_accelerator_that_is_not_cuda_is_asked_itself(monkeypatch, supported, chosen):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    module = types.SimpleNamespace(is_bf16_supported=lambda: supported)
    monkeypatch.setattr(torch, "get_device_module", lambda _device: module)
    monkeypatch.setattr(torch.amp, "is_autocast_available", lambda _kind: True)
    assert precision.choose_precision(TextSettings(), torch.device("xpu", 0))[0] == chosen
    assert precision.choose_precision(TextSettings(fp16=True), torch.device("xpu", 0))[0] == "fp16"


@pytest.mark.parametrize(
    ("kind", "launched", "flags", "begun", "chosen"),
    [
        ("slow cpu", None, {}, "bf16", "bf16"),
        ("fast cpu", None, {}, "no", "no"),
        ("gpu80", None, {}, "fp16", "fp16"),
        ("gpu75", None, {"fp16": False}, "bf16", "bf16"),
        ("gpu75", None, {"bf16": True}, "bf16", "bf16"),
        ("gpu80", "no", {"bf16": False}, "no", "no"),
        ("slow cpu", None, {}, None, "no"),  # a run of an earlier hftune
    ],
)
def test_what_a_run_began_with_stays(machine, kind, launched, flags, begun, chosen):
    choice, reason = precision.choose_precision(TextSettings(**flags), machine(kind, launched), begun)
    assert choice == chosen
    assert reason == "the run began with it" or not begun


@pytest.mark.parametrize(
    ("kind", "launched", "flags", "begun", "message"),
    [
        ("gpu80", None, {"bf16": True}, "fp16", "--bf16: this run began with precision fp16"),
        ("gpu80", "fp16", {}, "no", "accelerate's configuration: this run began with precision no"),
        ("gpu80", None, {"bf16": False}, "bf16", "--bf16 false: this run began with precision bf16"),
        ("fast cpu", None, {}, "fp16", "the run began with it: fp16 needs a GPU"),
    ],
)
def test_another_precision_than_a_run_began_with_is_refused(machine, kind, launched, flags, begun, message):
    with pytest.raises(BadInput, match=message):
        precision.choose_precision(TextSettings(**flags), machine(kind, launched), begun)


def test_a_recurrent_layer_needs_a_cpu_that_has_it_in_bfloat16(monkeypatch):
    model, cpu = torch.nn.Sequential(torch.nn.LSTM(2, 2)), torch.device("cpu")
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(BadInput, match="--bf16: this CPU computes no recurrent layers in bfloat16"):
        precision.suit(model, "bf16", cpu)
    precision.suit(model, "no", cpu)
    precision.suit(torch.nn.Sequential(torch.nn.Linear(2, 2)), "bf16", cpu)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    precision.suit(model, "bf16", cpu)
