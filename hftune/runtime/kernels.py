"""Which kernels torch computes with: float32 in full, and deterministic ones on request."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

# Any, as torch's types do not show what these modules have.
CUDNN: Any = torch.backends.cudnn
MATMUL: Any = torch.backends.cuda.matmul
MEMORY: Any = torch.utils.deterministic


def choose_kernels(*, deterministic: bool = False) -> None:
    """Chooses kernels for the whole process; call it before anything is put on a device.

    Float32 means float32: no TF32 (10 bits of mantissa) on NVIDIA's GPUs, neither in matrix products, where
    torch has it off, nor in cuDNN's convolutions and recurrent layers, where it has it on. Bf16, which is
    chosen wherever TF32 exists, is the faster of the two.

    Args:
        deterministic: Whether each operation must add in one order, so that on one kind of GPU the same
            command gives the same bits. One that has no such form raises a `RuntimeError`, which
            `hftune.runtime.exit` explains. False leaves it as it is.
    """
    MATMUL.allow_tf32 = CUDNN.allow_tf32 = False
    # By the newer names too, which would else follow what a program has set for all of torch.
    CUDNN.conv.fp32_precision = CUDNN.rnn.fp32_precision = "ieee"
    if not deterministic:
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # KiB times buffers; read when cuBLAS starts
    torch.use_deterministic_algorithms(True)
    MEMORY.fill_uninitialized_memory = False  # a help to find bugs, which costs time
    CUDNN.deterministic, CUDNN.benchmark = True, False


@contextlib.contextmanager
def kept_kernels() -> Iterator[None]:
    """Puts back in the end what `choose_kernels` changes of torch."""
    mode = torch.get_deterministic_debug_mode()
    fill, flags = MEMORY.fill_uninitialized_memory, (CUDNN.deterministic, CUDNN.benchmark)
    # By their newer names: torch refuses to read `allow_tf32` where a program has set these.
    formats = [(part, part.fp32_precision) for part in (CUDNN.conv, CUDNN.rnn, MATMUL)]
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        MEMORY.fill_uninitialized_memory = fill
        CUDNN.deterministic, CUDNN.benchmark = flags
        CUDNN.allow_tf32, _, MATMUL.allow_tf32 = (name == "tf32" for _, name in formats)
        for part, name in formats:
            part.fp32_precision = name
