"""Products of square bf16 matrices: the most that the device computes."""

import time

import stopwatch
from case import Job

TIMED = 20


def main(job: Job) -> None:
    """Multiplies random matrices of `product` rows and columns, and reports products a second."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = job["product"]
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        torch.mm(left, right)
    stopwatch.wait_for_device()
    began = time.monotonic()
    for _ in range(TIMED):
        torch.mm(left, right)
    stopwatch.wait_for_device()
    stopwatch.write(job, stopwatch.rates(TIMED, time.monotonic() - began, 0, 0))


if __name__ == "__main__":
    stopwatch.main(main)
