"""Which device a process computes on, which engines are refused, and how long it waits for the others."""

import re
from datetime import timedelta

import pytest
import torch
from accelerate.state import AcceleratorState

from hftune.errors import BadInput
from hftune.runtime import device


@pytest.fixture(autouse=True)
def alone():
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("variable", device.ENGINES)
def test_engines_that_split_the_model_are_refused_in_one_line(monkeypatch, variable):
    monkeypatch.setenv(variable, "true")
    with pytest.raises(BadInput, match=f"asks for {device.ENGINES[variable]}, which hftune cannot") as error:
        device.join_group()
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"RANK": "x", "WORLD_SIZE": "1"}, "the variable RANK is 'x', not a number; unset it, or start with"),
        ({"WORLD_SIZE": ""}, "the variable WORLD_SIZE is '', not a number"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "WORLD_SIZE says 2 processes, but MASTER_ADDR is not set; unset"),
        ({"WORLD_SIZE": "2", "MASTER_ADDR": "a"}, "WORLD_SIZE says 2 processes, but RANK is not set; unset"),
    ],
)
def test_variables_that_another_launcher_left_behind_are_named(place, message, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=re.escape(message)):
        device.join_group()


def test_a_gpu_is_left_alone_where_the_launcher_says_cpu(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert not device.computes_on_cpu()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert device.computes_on_cpu()
    assert device.join_group() == torch.device("cpu")


def test_processes_wait_for_each_other_for_hours(monkeypatch):
    """NCCL's own ten minutes are too few for a main process that loads data while the others wait."""
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0", "ACCELERATE_USE_CPU": "true"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    cpu = device.join_group()
    try:
        group = torch.distributed.distributed_c10d._get_default_group()
        assert group._get_backend(cpu).options._timeout >= timedelta(hours=1)
    finally:
        torch.distributed.destroy_process_group()
