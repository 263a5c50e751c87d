"""Where a process computes: its device and its group, joined before anything is put there."""

import os
import re
from datetime import timedelta

import torch
from accelerate import PartialState
from accelerate.state import is_initialized
from accelerate.utils import DistributedType

from hftune.errors import BadInput

# How long a process waits for another inside of torch: NCCL's own 10 minutes are less than the main one may
# need to load data or to fit a baseline while the others wait. The heartbeat tells the frozen from the busy.
PATIENCE = timedelta(hours=12)
ENGINES = {  # accelerate's variables -> what they would hand the model to
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism config",
}


def join_group() -> torch.device:
    """Joins the other processes of the run, if there are any, and returns this one's device.

    Raises:
        BadInput: accelerate's configuration asks for an engine that splits the model up, or the launcher's
            variables do not say which process of how many this is.
    """
    _check_place()
    for variable, engine in ENGINES.items():
        if os.environ.get(variable, "").lower() in ("1", "true", "yes"):
            _refuse(engine)
    state = PartialState(_cpu_only(), timeout=PATIENCE)
    kind = state.distributed_type
    if kind is not DistributedType.NO and not kind.value.startswith("MULTI_"):
        _refuse(kind.value)
    return state.device


def _check_place() -> None:
    """Raises `BadInput` for variables of a launcher that are no numbers, or some of which are missing."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        value = os.environ.get(name, "0")
        if not re.fullmatch(r"-?\d+", value, re.ASCII):
            raise BadInput(
                f"the variable {name} is {value!r}, not a number; unset it, or start with torchrun"
            )
    processes = os.environ.get("WORLD_SIZE", "1")
    lacking = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if int(processes) > 1 and lacking:
        raise BadInput(
            f"the variable WORLD_SIZE says {processes} processes, but {lacking[0]} is not set; unset "
            "WORLD_SIZE, or start the processes with torchrun or accelerate launch"
        )


def computes_on_cpu() -> bool:
    """Returns whether models run on the CPU: as accelerate was set up, else as it would be."""
    return PartialState().device.type == "cpu" if is_initialized() else _cpu_only()


def _cpu_only() -> bool:
    """Returns whether `accelerate launch --cpu` asked for the CPU, or there is nothing else."""
    asked = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    return asked or not torch.accelerator.is_available()


def _refuse(engine: str) -> None:
    raise BadInput(
        f"accelerate's configuration asks for {engine}, which hftune cannot train with; choose one "
        "process or multi-GPU: accelerate launch --multi_gpu, or torchrun --nproc_per_node N"
    )
