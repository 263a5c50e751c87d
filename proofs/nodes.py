"""Two hosts with torchrun: the same bits as one process, whatever becomes of a host or of the wire."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from hftune.storage.checkpoint import list_checkpoints
from proofs.hosts import Hosts
from proofs.jobs import Job, fingerprint, finish, remove
from proofs.table import Row

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "1"]
MEETING = ["--rdzv_backend", "c10d", "--rdzv_endpoint", "node1:29400", "--rdzv_id", "proof"]
TWO = ["--nnodes", "2"]
SAME = ("encoder", "textcnn")
ELASTIC = ["--nnodes", "1:2", "--max_restarts", "3", "--rdzv_conf", "last_call_timeout=5"]
VARIABLES = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
# else a group that was started again would meet the keys of the one before
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
ENDS_WITHIN = 300.0  # seconds: a host that is gone is missed after two minutes


class Pair:
    """A run on two hosts; use it with `with`, which leaves no process of it.

    Args:
        hosts: Where.
        job: What.
        run_dir: Its folder.
        how: What torchrun is told of the number of hosts.
        private: A folder of which the second host has one of its own.
        **env: Further variables.
    """

    def __init__(
        self,
        hosts: Hosts,
        job: Job,
        run_dir: Path,
        how: Sequence[str] = TWO,
        private: Path | None = None,
        **env: str,
    ):
        self._hosts, self._job, self._run_dir, self._how = hosts, job, run_dir, how
        self._env = VARIABLES | env
        self.said = [run_dir.with_name(f"{run_dir.name}.{name}.said") for name in hosts.names]
        for said in self.said:
            said.unlink(missing_ok=True)
        self.launchers = [self.start(0), self.start(1, private)]

    def start(self, host: int, private: Path | None = None) -> subprocess.Popen:
        """Starts the run's torchrun on a host."""
        words = [*TORCHRUN, *self._how, *MEETING, self._job.file, *self._job.words(self._run_dir)]
        return self._hosts.start(host, words, self.said[host], private, **self._env)

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, *_: object) -> None:
        for host in range(2):
            self._hosts.kill(host)
        for launcher in self.launchers:
            launcher.wait()

    def wait_for_checkpoint(self, after: int = 0) -> None:
        """Waits until a checkpoint of a step behind `after` is there.

        Raises:
            AssertionError: The run ended before, or took minutes.
        """
        end = time.monotonic() + ENDS_WITHIN
        while max(list_checkpoints(self._run_dir), default=0) <= after:
            assert time.monotonic() < end, self.text()
            assert None in [launcher.poll() for launcher in self.launchers], self.text()
            time.sleep(0.02)

    def wait(self) -> list[int | None]:
        """Waits for both to end, some minutes at most; returns torchrun's codes, None where it still runs."""
        end = time.monotonic() + ENDS_WITHIN
        for launcher in self.launchers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                launcher.wait(max(0.0, end - time.monotonic()))
        return [launcher.poll() for launcher in self.launchers]

    def wait_for_error(self, host: int) -> bool:
        """Waits until a host's process of the run has said why it ends; returns whether it has."""
        end = time.monotonic() + ENDS_WITHIN
        while "error: " not in (said := self.said[host].read_text(errors="replace")):
            if time.monotonic() > end:
                return False
            time.sleep(0.5)
        return "has not answered" in said

    def text(self) -> str:
        """Returns what both have printed."""
        return "\n".join(path.read_text(errors="replace") for path in self.said if path.exists())

    def code(self) -> int | None:
        """Returns the true exit code of the run, which exit.json keeps."""
        note = self._run_dir / "exit.json"
        return json.loads(note.read_text())["code"] if note.exists() else None

    def refusal(self) -> str:
        """Returns the error lines of both."""
        return "\n".join(line for line in self.text().splitlines() if line.startswith("error: "))


def paced(job: Job, steps: int) -> Job:
    """Returns a job that pauses after each step where PACE says so, and saves every fifth."""
    flags = {"max_steps": steps, "save_steps": 5, "eval_steps": steps, "logging_steps": 100}
    return replace(job.but(**flags), recipe="proofs.paced")


def on_two_hosts(jobs: dict[str, Job], folder: Path) -> Iterator[Row]:
    """Tries all of it on new hosts."""
    with Hosts() as hosts:
        for name in SAME:
            yield same_as_one(hosts, jobs[name], folder)
        yield not_shared(hosts, jobs["textcnn"], folder)
        job = paced(jobs["textcnn"], 100)
        straight = finish(job.but(gradient_accumulation_steps=2), folder / "straight")
        for host in range(2):
            yield host_killed(hosts, job, folder, host, straight)
        for lost in (None, 0, 1):
            yield wire_cut(hosts, job, folder, lost, straight)
        yield slow_host(hosts, job, folder, straight)
        yield host_comes_back(hosts, job, folder, straight)


def same_as_one(hosts: Hosts, job: Job, folder: Path) -> Row:
    """Trains on both and on one process with twice the micro-batches."""
    with Row(f"{job.name}: two hosts by torchrun --nnodes 2: end as one process of twice the batches") as row:
        with Pair(hosts, job, folder / "two") as pair:
            ended = pair.wait() == [0, 0]
        one = finish(job.but(gradient_accumulation_steps=2), folder / "one")
        row.count(ended and fingerprint(folder / "two") == one)
        for name in ("one", "two"):
            remove(folder / name)
    return row


def not_shared(hosts: Hosts, job: Job, folder: Path) -> Row:
    """Gives the second host a disk of its own. Held: refused in one line, before anything is trained."""
    with Row(f"{job.name}: a run directory that two hosts do not share: refused with one line") as row:
        apart = folder / "apart"
        apart.mkdir()
        with Pair(hosts, job, apart / "run", private=apart) as pair:
            pair.wait()
        said = pair.refusal()
        row.count(pair.code() == 2 and said.count("\n") == 0 and "does not see" in said)
        row.count(not list_checkpoints(apart / "run"))
    return row


def host_killed(hosts: Hosts, job: Job, folder: Path, host: int, straight: str) -> Row:
    """Kills all processes of a host. Held: the other ends, with code 6, and the run goes on to the same."""
    with Row(f"{job.name}: all of node{host + 1} killed: the other ends, goes on to the same") as row:
        run_dir = folder / "killed"
        with Pair(hosts, job, run_dir, PACE="0.2") as pair:
            pair.wait_for_checkpoint()
            began = time.monotonic()
            hosts.kill(host)
            ended = None not in pair.wait()
            row.note = f"{time.monotonic() - began:.0f} s until the other had ended"
        row.count(ended and (host == 0 or pair.code() == 6) and goes_on(job, run_dir) == straight)
        remove(run_dir)
    return row


def wire_cut(hosts: Hosts, job: Job, folder: Path, lost: int | None, straight: str) -> Row:
    """Cuts the wire, and the power of a host too where one is lost.

    Held: the processes of the run that are left end by themselves, the first with code 6, and the run goes on
    to the same. torchrun on the second host waits for the first for some minutes more.
    """
    what = "the wire cut" if lost is None else f"node{lost + 1} lost without a word"
    with Row(f"{job.name}: {what}: who is left ends, goes on to the same") as row:
        run_dir = folder / "cut"
        left = [host for host in range(2) if host != lost]
        with Pair(hosts, job, run_dir, PACE="0.2") as pair:
            pair.wait_for_checkpoint()
            began = time.monotonic()
            hosts.cut()
            if lost is not None:
                hosts.kill(lost)
            ended = all(pair.wait_for_error(host) for host in left)
            row.note = f"{time.monotonic() - began:.0f} s until it had"
            ended = ended and (lost == 0 or pair.launchers[0].wait(ENDS_WITHIN) == 1)
            hosts.repair()
        row.count(ended and (lost == 0 or pair.code() == 6) and goes_on(job, run_dir) == straight)
        remove(run_dir)
    return row


def slow_host(hosts: Hosts, job: Job, folder: Path, straight: str) -> Row:
    """Stops a host for 20 s, again and again. Held: the other waits, and both end with the same."""
    with Row(f"{job.name}: a host that stands still for 20 s, three times: ends the same") as row:
        run_dir = folder / "slow"
        with Pair(hosts, job, run_dir, PACE="0.2") as pair:
            for _ in range(3):
                pair.wait_for_checkpoint(max(list_checkpoints(run_dir), default=0))
                hosts.signal(1, signal.SIGSTOP)
                time.sleep(20)
                hosts.signal(1, signal.SIGCONT)
            ended = pair.wait() == [0, 0]
        row.count(ended and fingerprint(run_dir) == straight)
        remove(run_dir)
    return row


def host_comes_back(hosts: Hosts, job: Job, folder: Path, straight: str) -> Row:
    """Kills the second host of an elastic run, and starts it again later: from 2 to 1 to 2 processes."""
    with Row(
        f"{job.name}: --nnodes 1:2 --max_restarts 3, node2 killed and started again: goes on alone, then "
        "with both, ends the same"
    ) as row:
        run_dir = folder / "elastic"
        with Pair(hosts, job, run_dir, ELASTIC, PACE="1", **OWN_STORE) as pair:
            pair.wait_for_checkpoint()
            hosts.kill(1)
            pair.wait_for_checkpoint(max(list_checkpoints(run_dir)))
            alone = max(list_checkpoints(run_dir))
            pair.launchers[1] = pair.start(1)
            codes = pair.wait()
            starts = pair.text().count("resuming from")
        row.note = f"alone up to step {alone:,} at least, resumed {starts} times"
        row.count(codes == [0, 0] and starts == 2 and fingerprint(run_dir) == straight)
        remove(run_dir)
    return row


def goes_on(job: Job, run_dir: Path) -> str:
    """Repeats the command on one process; returns the fingerprint of the end."""
    return finish(job, run_dir)
