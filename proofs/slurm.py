"""`hftune run --slurm` on a cluster of two nodes: a real controller, two slurmd on hosts of their own."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hftune.storage.checkpoint import list_checkpoints
from proofs.hosts import Hosts, why_no_hosts
from proofs.jobs import Job, fingerprint, finish, remove
from proofs.nodes import ENDS_WITHIN, VARIABLES, paced
from proofs.table import Row

HFTUNE = Path(sys.executable).parent / "hftune"
TOOLS = ("slurmctld", "slurmd", "sbatch", "munged")
REQUEUED_WITHIN = 400.0  # seconds: SLURM lets a job that queues again wait for two minutes
CONF = """ClusterName=proof
SlurmctldHost=node1
AuthType=auth/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
ReturnToService=2
MpiDefault=none
JobRequeue=1
NodeName=node1,node2 CPUs=1 RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def why_no_slurm() -> str | None:
    """Returns why there can be no cluster here; None where there can."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"there is no `{lacking[0]}`" if lacking else why_no_hosts()


class Cluster:
    """A controller and two nodes; use it with `with`, which ends all of them."""

    def __init__(self, hosts: Hosts, folder: Path):
        self._hosts, self._folder = hosts, folder
        self._env = VARIABLES | {"SLURM_CONF": str(folder / "slurm.conf")}

    def __enter__(self) -> "Cluster":
        for name in ("state", "spool-node1", "spool-node2"):
            (self._folder / name).mkdir(parents=True)
        (self._folder / "slurm.conf").write_text(CONF.format(folder=self._folder))
        self._munge = None
        if not Path("/run/munge/munge.socket.2").exists():
            Path("/run/munge").mkdir(exist_ok=True)
            shutil.chown("/run/munge", "munge")
            self._munge = subprocess.Popen(["runuser", "-u", "munge", "--", "munged", "--foreground"])
        for host, words in ((0, "slurmctld -D"), (0, "slurmd -D -N node1"), (1, "slurmd -D -N node2")):
            self._hosts.start(
                host, words.split(), self._folder / f"{words.rpartition(' ')[2]}.said", **self._env
            )
        end = time.monotonic() + ENDS_WITHIN
        while "idle" not in self.ask("sinfo", "--noheader", "--states=idle", "--nodes=node1,node2"):
            assert time.monotonic() < end, "the cluster does not come up"
            time.sleep(1)
        return self

    def __exit__(self, *_: object) -> None:
        for host in range(2):
            self._hosts.kill(host)
        if self._munge:
            self._munge.terminate()
            self._munge.wait()

    def ask(self, *words: str) -> str:
        """Returns what a command of SLURM says on the first node; nothing where it fails."""
        said = self._folder / "asked"
        said.unlink(missing_ok=True)
        self._hosts.start(0, words, said, **self._env).wait(60)
        return said.read_text()

    def submit(self, job: Job, run_dir: Path, options: str) -> subprocess.Popen:
        """Starts `hftune run --slurm` on the first node."""
        words = [HFTUNE, "run", job.file, "--slurm", options, *job.words(run_dir)]
        return self._hosts.start(0, words, self.said(run_dir), **self._env, PACE="1")

    @staticmethod
    def said(run_dir: Path) -> Path:
        """Returns the file with what `hftune run` has printed."""
        return run_dir.with_name(f"{run_dir.name}.said")

    def number(self, run_dir: Path) -> str:
        """Returns the number of a run's job, which is waited for."""
        end = time.monotonic() + ENDS_WITHIN
        while "is submitted" not in self.text(run_dir):
            assert time.monotonic() < end, self.text(run_dir)
            time.sleep(0.2)
        return self.text(run_dir).partition("job ")[2].split()[0]

    def text(self, run_dir: Path) -> str:
        """Returns all that a run has printed, here and in its job."""
        paths = [self.said(run_dir), *run_dir.glob("slurm-*.out")]
        return "\n".join(path.read_text(errors="replace") for path in paths if path.exists())


def on_a_cluster(jobs: dict[str, Job], folder: Path) -> Iterator[Row]:
    """Tries all of it on a new cluster."""
    with Hosts() as hosts, Cluster(hosts, folder / "cluster") as cluster:
        job = jobs["textcnn"]
        yield waited_for(cluster, job, folder)
        yield fails(cluster, job, folder)
        job = paced(job, 100)
        straight = finish(job.but(gradient_accumulation_steps=2), folder / "straight")
        yield out_of_time(cluster, job, folder, straight)
        yield requeued(cluster, job, folder, straight)


def waited_for(cluster: Cluster, job: Job, folder: Path) -> Row:
    """Submits to two nodes and waits. Held: code 0, and the same as one process of twice the batches."""
    with Row(f'{job.name}: --slurm "--nodes 2 --wait": code 0, ends as one process') as row:
        submitted = cluster.submit(job, folder / "job", "--nodes 2 --wait")
        code = submitted.wait(ENDS_WITHIN)
        one = finish(job.but(gradient_accumulation_steps=2), folder / "one")
        row.count(code == 0 and fingerprint(folder / "job") == one)
        remove(folder / "job")
        remove(folder / "one")
    return row


def fails(cluster: Cluster, job: Job, folder: Path) -> Row:
    """Trains with a learning rate of 1e30. Held: the true exit code, 3, comes back."""
    with Row(f"{job.name}: a job whose loss is not finite: hftune run returns 3") as row:
        submitted = cluster.submit(job.but(learning_rate=1e30), folder / "fails", "--nodes 2 --wait")
        row.count(submitted.wait(ENDS_WITHIN) == 3)
        remove(folder / "fails")
    return row


def requeued(cluster: Cluster, job: Job, folder: Path, straight: str) -> Row:
    """Lets an administrator requeue the job. Held: it goes on, ends with code 0 and the same."""
    with Row(f"{job.name}: scontrol requeue on two nodes: goes on, code 0, ends the same") as row:
        run_dir = folder / "requeued"
        submitted = cluster.submit(job, run_dir, "--nodes 2 --wait")
        number = cluster.number(run_dir)
        end = time.monotonic() + ENDS_WITHIN
        while not list_checkpoints(run_dir):
            assert time.monotonic() < end, cluster.text(run_dir)
            time.sleep(0.2)
        cluster.ask("scontrol", "requeue", number)
        code = submitted.wait(REQUEUED_WITHIN)
        row.count(code == 0 and "resuming from" in cluster.text(run_dir) and fingerprint(run_dir) == straight)
        remove(run_dir)
    return row


def out_of_time(cluster: Cluster, job: Job, folder: Path, straight: str) -> Row:
    """Gives the job less time than it needs. Held: it saves, queues again by itself, goes on to the same."""
    with Row(f"{job.name}: a signal before the time limit: saved, queues again, ends the same") as row:
        run_dir = folder / "short"
        submitted = cluster.submit(job, run_dir, "--nodes 2 --wait --time 3 --signal TERM@100")
        code = submitted.wait(3 * REQUEUED_WITHIN)
        said = cluster.text(run_dir)
        row.note = f"resumed {said.count('resuming from')} times"
        row.count(code == 0 and "resuming from" in said and fingerprint(run_dir) == straight)
        remove(run_dir)
    return row
