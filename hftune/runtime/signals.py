"""SIGINT and SIGTERM: at once where nothing can be lost, at the end of the step while training."""

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from hftune.errors import StoppedBySignal

if TYPE_CHECKING:
    import torch

PR_SET_PDEATHSIG = 1  # from <linux/prctl.h>
LAUNCHERS = {
    "accelerate",
    "accelerate-launch",
    "accelerate.commands.accelerate_cli",
    "accelerate.commands.launch",
    "torch.distributed.run",
    "torchrun",
}


class Stop:
    """Turns the first SIGINT or SIGTERM into `StoppedBySignal`.

    Outside of training it is raised where the program stands. While `deferred` is set, the handler
    only remembers the signal, because a checkpoint cannot be written inside a handler; the loop
    asks for `signum` after each step. Further signals change nothing, so that nobody can break the
    checkpoint that is being written by pressing Ctrl-C twice. In a thread of a program it does nothing:
    signals are the main thread's.
    """

    def __init__(self) -> None:
        self.signum = 0
        self.deferred = False

    def __enter__(self) -> "Stop":
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            for number in self._before:
                signal.signal(number, self._receive)
            die_with_launcher()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not of Python

    def flags(self, device: "torch.device") -> "torch.Tensor":
        """Returns float32 (2,): whether SIGINT and whether SIGTERM arrived, to be summed over processes."""
        import torch

        arrived = [self.signum == signal.SIGINT, self.signum == signal.SIGTERM]
        # Made there: a copy from the host would have to wait for what the device still computes.
        return torch.stack([torch.full((), float(flag), device=device) for flag in arrived])

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Defers signals inside; one that nobody asked for by the end is raised there.

        Raises:
            StoppedBySignal: The training is done and saved, what comes after it is not.
        """
        self.deferred = True
        try:
            yield
        finally:
            self.deferred = False
        if self.signum:
            raise StoppedBySignal(self.signum, "the training is saved; the same command scores it")

    def _receive(self, signum: int, _frame: FrameType | None) -> None:
        first = not self.signum
        self.signum = self.signum or signum
        if first and not self.deferred:
            raise StoppedBySignal(signum, "nothing was being trained; the same command starts again")


def die_with_launcher() -> None:
    """Asks the system (Linux) for a SIGTERM when the launcher that started this process is gone.

    `accelerate launch` ends on a signal without a word to the training that it started, and no launcher
    can pass a SIGKILL on. Any other parent, such as a shell, may end while the training goes on.
    """
    parent = os.getppid()
    try:
        words = Path(f"/proc/{parent}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return
    if LAUNCHERS.isdisjoint(Path(word).name for word in words):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died in between
        os.kill(os.getpid(), signal.SIGTERM)
