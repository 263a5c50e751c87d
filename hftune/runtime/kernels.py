"""Which kernels torch computes with: float32 in full, and deterministic ones on request."""

import contextlib
import os
from collections.abc import Iterator

import torch


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
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if not deterministic:
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # KiB times buffers; read when cuBLAS starts
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a help to find bugs, which costs time
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


@contextlib.contextmanager
def kept_kernels() -> Iterator[None]:
    """Puts back in the end what `choose_kernels` changes of torch."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    mode = torch.get_deterministic_debug_mode()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    flags = cudnn.deterministic, cudnn.benchmark
    # torch refuses to read `allow_tf32` where a program has set the newer names.
    tf32 = [part.fp32_precision == "tf32" for part in (cudnn.conv, matmul)]
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.utils.deterministic.fill_uninitialized_memory = fill
        cudnn.deterministic, cudnn.benchmark = flags
        cudnn.allow_tf32, matmul.allow_tf32 = tf32
