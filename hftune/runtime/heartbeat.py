"""Whether the other processes of a run still live.

On CPUs (gloo) torch meets a process that died at once, by its closed connection; on GPUs (NCCL) it waits in
a kernel until the launcher ends it. One that is frozen (stopped, or on a machine that hangs) it awaits for
hours, without saying which it is.
"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from hftune.errors import PeerFailed

BEAT = 5.0  # seconds between two beats
MISSED = 24  # beats without a sign of another process, after which it counts as frozen: two minutes


class Heartbeat:
    """Says every few seconds that this process lives, and looks whether the others do; use it with `with`.

    The count of each process's beats stands in the store through which torch's processes meet, by rank alone:
    hosts that joined at different times count torchrun's restarts differently. One thread
    writes and reads there; a second one keeps time, because the first waits where the store is what is
    frozen. Time is counted in beats of this process: when all were stopped together (Ctrl-Z, a laptop
    that slept), none misses another.

    Args:
        on_loss: Called once, from a thread, when another process has fallen silent. The main thread
            waits for it inside of torch, so that this must end the process.
    """

    def __init__(self, on_loss: Callable[[PeerFailed], None]):
        self._on_loss = on_loss
        self._rank = int(os.environ.get("RANK", "0"))
        self._world = int(os.environ.get("WORLD_SIZE", "1"))
        self._heard = dict.fromkeys(range(self._world), 0)  # rank -> own beat at which it was last heard
        self._now = 0
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=target, daemon=True, name=f"heartbeat-{target.__name__}")
            for target in (self._exchange, self._keep_time)
        ]

    def __enter__(self) -> "Heartbeat":
        if self._world > 1 and "MASTER_ADDR" in os.environ:
            for thread in self._threads:
                thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(BEAT)

    def _exchange(self) -> None:
        from torch.distributed import TCPStore

        with suppress(RuntimeError):  # the store is gone, with a process or launcher: torch tells of that
            store = TCPStore(
                os.environ["MASTER_ADDR"],
                int(os.environ["MASTER_PORT"]),
                timeout=timedelta(seconds=2 * BEAT * MISSED),  # `_keep_time` is to be first
                wait_for_workers=False,
            )
            counts = dict.fromkeys(self._heard, 0)
            while not self._over.wait(BEAT):
                for rank, before in counts.items():
                    mine = rank == self._rank
                    counts[rank] = store.add(f"hftune/beat/{rank}", int(mine))
                    if counts[rank] != before:
                        self._heard[rank] = self._now
        self._over.set()

    def _keep_time(self) -> None:
        while not self._over.wait(BEAT):
            self._now += 1
            silent = [rank for rank, beat in self._heard.items() if self._now - beat > MISSED]
            if silent:
                self._over.set()
                self._on_loss(PeerFailed(self._explain(silent)))

    def _explain(self, silent: list[int]) -> str:
        after = f"for {BEAT * MISSED:.0f} s"
        # Not even its own beats could be written; the other's last one may be some beats older.
        if self._now - self._heard[self._rank] > MISSED // 2:
            what = f"the store at which the processes of this run meet has not answered {after}"
        else:
            who = ", ".join(map(str, silent))
            what = f"process {who} of this run has not answered {after}: frozen, or its machine is"
        return f"{what}; the same command goes on from the newest checkpoint"
