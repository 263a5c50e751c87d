"""`hftune run --slurm OPTIONS`: writes the job script of a run into its folder, and submits it."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from hftune.errors import BadInput, HftuneError, StoppedBySignal, first_line, printable
from hftune.runtime.signals import Stop
from hftune.storage.files import explain_write_errors, write_text

SCRIPT = "job.sh"
WRITTEN = "# Written by hftune run --slurm"
JOB = """#!/bin/bash
{written}, which submitted it with: sbatch {options} {script}
#SBATCH --job-name={name}
#SBATCH --output={output}
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=TERM@120

cd {cwd} || exit 2
newest() {{ ls -d {run_dir}/checkpoint-* 2>/dev/null | sort -V | tail -n 1; }}
before=$(newest)

if [ "$SLURM_NNODES" -gt 1 ]; then  # what torchrun reads on each node
  first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  export PET_NNODES=$SLURM_NNODES PET_RDZV_BACKEND=c10d PET_RDZV_ID=$SLURM_JOB_ID
  export PET_RDZV_ENDPOINT=$first:$((20000 + SLURM_JOB_ID % 10000))
fi
[ -n "$SLURM_CPUS_PER_TASK" ] && export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK

srun --ntasks="$SLURM_NNODES" --ntasks-per-node=1 {command}
code=$?

# 143: stopped, saved, by the signal before the time limit; 6: a node was lost. The run goes on, as long as it
# comes further each time.
if [ $code = 143 ] || [ $code = 6 ]; then
  [ "$(newest)" != "$before" ] && scontrol requeue "$SLURM_JOB_ID" && sleep 60
fi
exit $code
"""


def take_options(flags: list[str]) -> tuple[str | None, list[str]]:
    """Parts the options for sbatch, which begin with dashes themselves, from a recipe's flags.

    Returns:
        The value of `--slurm`, None without it, and the other words.

    Raises:
        BadInput: `--slurm` is the last word.
    """
    for place, word in enumerate(flags):
        if word.startswith("--slurm="):
            return word.partition("=")[2], flags[:place] + flags[place + 1 :]
        if word == "--slurm":
            if place + 1 == len(flags):
                raise BadInput('--slurm needs the options of sbatch in quotes: --slurm "--nodes 2 --time 60"')
            return flags[place + 1], flags[:place] + flags[place + 2 :]
    return None, flags


def submit(name: str, words: list[str], run_dir: Path, options: str) -> None:
    """Submits a run as a job; with sbatch's `--wait` among the options it waits for the job's end.

    Args:
        name: The recipe's name.
        words: What stands behind `hftune run` in the job.
        run_dir: The run's folder; gets the script.
        options: Options of sbatch, as a shell would read them.

    Raises:
        BadInput: sbatch is not there or refuses the job, or a file that is not hftune's would be replaced.
        HftuneError: The job was waited for and failed; the exit code is the job's, which is the run's.
        StoppedBySignal: The wait was stopped; the job goes on.
    """
    if shutil.which("sbatch") is None:
        raise BadInput("--slurm: there is no sbatch here; submit from a machine that has SLURM's commands")
    try:
        given = shlex.split(options)
    except ValueError as wrong:
        raise BadInput(f"--slurm {options}: {first_line(wrong)}") from wrong
    script = run_dir / SCRIPT
    if script.exists() and WRITTEN not in script.read_text(encoding="utf-8", errors="replace"):
        raise BadInput(f"{script} is there, and not of hftune: move it, or choose another --output_dir")
    with explain_write_errors(run_dir, 0):
        run_dir.mkdir(parents=True, exist_ok=True)
    write_text(script, job_script(name, words, run_dir, given))
    line = ["sbatch", "--parsable", *given, str(script)]
    with (
        Stop(),
        subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sbatch,
    ):
        assert sbatch.stdout
        assert sbatch.stderr
        job = sbatch.stdout.readline().strip().partition(";")[0]  # behind it the cluster's name
        if job:
            print(f"job {job} is submitted: {script}; squeue --job {job} tells where it stands", flush=True)
        try:
            code = sbatch.wait()
        except StoppedBySignal as stopped:
            sbatch.terminate()
            raise StoppedBySignal(
                stopped.exit_code - 128, f"job {job} goes on; scancel {job} stops it"
            ) from None
        said = sbatch.stderr.read().strip().splitlines()
    if not job:
        raise BadInput(f"--slurm: {'; '.join(said)}")
    if code:
        error = HftuneError(f"job {job} ended with code {code}: see its output and exit.json in {run_dir}")
        error.exit_code = code
        raise error


def job_script(name: str, words: list[str], run_dir: Path, options: list[str]) -> str:
    """Returns the script of a job: on each node one `hftune run`, which starts a process for each GPU.

    The options of sbatch are no part of it but stand in a comment, since those of a command line come first.
    """
    place = os.path.abspath(run_dir)
    hftune = os.path.abspath(sys.argv[0])  # what was called here is what the nodes call
    return JOB.format(
        written=WRITTEN,
        options=printable(shlex.join(options)),  # in a comment, which a new line would end
        script=shlex.quote(f"{place}/{SCRIPT}"),
        name=shlex.quote(name),
        output=shlex.quote(place.replace("%", "%%") + "/slurm-%j.out"),
        cwd=shlex.quote(os.getcwd()),
        run_dir=shlex.quote(place),
        command=shlex.join([hftune, "run", *words]),
    )
