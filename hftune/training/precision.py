"""Which number format the matrix products use, and why."""

import logging
import os
import platform
from pathlib import Path

import torch

from hftune.errors import BadInput
from hftune.settings.base import Settings

log = logging.getLogger(__name__)


def choose_precision(settings: Settings, device: torch.device, begun: str | None = None) -> tuple[str, str]:
    """Chooses mixed precision: flags first, then `accelerate launch`, then what the device is fast at.

    The weights themselves stay float32 in every case.

    Args:
        settings: Has the flags.
        device: Where the model runs, which is not always the fastest that the machine has.
        begun: What the run began with that is gone on with; it stays, whatever the device is fast at.

    Returns:
        `"bf16"`, `"fp16"` or `"no"` (accelerate's names), and the reason in words.

    Raises:
        BadInput: If fp16 is asked for, by flag or launcher, or was begun with, on a CPU; or what is asked
            for is not what the run began with.
    """
    asked = _asked(settings, device)
    if begun and asked and asked[0] != begun:
        raise BadInput(
            f"{asked[1]}: this run began with precision {begun}; go on with that, or start another"
        )
    if begun:
        reason = "the run began with it"
        return _fp16(reason, device) if begun == "fp16" else (begun, reason)
    if asked:
        return asked
    choice, reason = _fast_on(device)
    if getattr(settings, choice, None) is False:
        return "no", f"--{choice} false"
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched not in ("no", "bf16", "fp16"):
        reason += f", and {launched} of accelerate's configuration is not among bf16, fp16 and no"
    return choice, reason


def _asked(settings: Settings, device: torch.device) -> tuple[str, str] | None:
    if settings.bf16:
        return "bf16", "--bf16"
    if settings.fp16:
        return _fp16("--fp16", device)
    refused = {name for name in ("bf16", "fp16") if getattr(settings, name) is False}
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")  # "no" also when nobody chose
    if launched == "fp16" and "fp16" not in refused:
        return _fp16("accelerate's configuration", device)
    if launched == "bf16" and "bf16" not in refused:
        return "bf16", "accelerate's configuration"
    if settings.bf16 is False:
        return "no", " ".join(f"--{name} false" for name in sorted(refused))
    return None


def suit(model: torch.nn.Module, precision: str, device: torch.device) -> None:
    """Makes weights float32, whatever `build_model` returned, and says so.

    Raises:
        BadInput: If the device has a layer of the model not in this precision.
    """
    others = {p.dtype for p in model.parameters() if p.is_floating_point() and p.dtype != torch.float32}
    if others:
        names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in others))
        log.info("weights: build_model returned %s; they are made float32", names)
        model.float()
    recurrent = any(isinstance(layer, torch.nn.RNNBase) for layer in model.modules())
    on_cpu = precision == "bf16" and device.type == "cpu"
    if recurrent and on_cpu and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise BadInput("--bf16: this CPU computes no recurrent layers in bfloat16; pass --bf16 false")


def _fp16(reason: str, device: torch.device) -> tuple[str, str]:
    if device.type == "cpu":
        raise BadInput(f"{reason}: fp16 needs a GPU; this run is on a CPU, use bf16 or neither")
    return "fp16", reason


def _fast_on(device: torch.device) -> tuple[str, str]:
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        name = torch.cuda.get_device_name(device)
        if major >= 8:
            return "bf16", f"{name} computes it natively"
        return "fp16", f"{name} (capability {major}.{minor}) has no fast bf16"
    if device.type == "cpu":
        if fast := fast_bf16_cpu():
            return "bf16", f"this CPU has {fast}"
        return "no", "this CPU has neither amx_bf16 nor a fast avx512_bf16"
    module = torch.get_device_module(device)
    known = torch.amp.is_autocast_available(device.type) and hasattr(module, "is_bf16_supported")
    if known and module.is_bf16_supported():
        return "bf16", f"{device.type} computes it natively"
    return "no", f"{device.type} does not say that it is fast at bf16"


def device_name(device: torch.device) -> str:
    """Returns what a device is, such as "cuda: NVIDIA H200": on another one the last bits may differ."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    if device.type != "cpu":
        return device.type
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"cpu: {next(names, platform.machine())}"


def fast_bf16_cpu() -> str | None:
    """Returns the CPU feature that makes bf16 products faster than float32 ones, or None.

    avx512_bf16 does so on AMD's processors alone. Intel's have one unit for it and two for float32: measured
    on one whose AMX is hidden from the guest, 76 GFLOP/s in bf16 against 150 in float32, and a training step
    of a small encoder took 1.9 times as long.
    """
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    found = {name.strip(): value.split() for name, _, value in (line.partition(":") for line in lines)}
    flags = found.get("flags", [])
    if "amx_bf16" in flags:
        return "amx_bf16"
    return "avx512_bf16" if "avx512_bf16" in flags and found.get("vendor_id") == ["AuthenticAMD"] else None
