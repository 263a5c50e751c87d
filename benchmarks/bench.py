"""Runs hftune and its peers in turn on the same work, and writes who was how fast.

    python benchmarks/bench.py                     # every case, 25 to 30 minutes on two cores
    python benchmarks/bench.py minilm --rounds 3
    python benchmarks/bench.py minilm --rows 1600 --all
    python benchmarks/bench.py length growth processes   # how hftune's cost grows
    python benchmarks/bench.py --sample            # a dry run on built-in data: two minutes, no Hub
    python benchmarks/bench.py minilm -- --config_overrides attention_probs_dropout_prob=0

A round lets every side of a case do the job once, each in a process of its own; a case is stored as soon
as it is done, in benchmarks/results/DATE.json, from which DATE.md is drawn. Flags after `--` go to hftune's
side of the training cases. Run nothing else meanwhile. See benchmarks/README.md.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import page
from case import Case, Job, Side

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CASES = ("help", "start", "minilm", "textcnn", "bilstm", "cifar10", "hotdog", "predict")
ON_REQUEST = ("length", "growth", "processes", "bert_base")  # hftune alone
PACKAGES = ("hftune", "torch", "transformers", "datasets", "accelerate", "timm", "albumentations", "numpy")
CHOICE = f"what to measure: {', '.join(CASES)} (all of them if none is given), {', '.join(ON_REQUEST)}"
OF_THE_ROWS = ("data", "model", "rows", "scored", "encoder_sizes")  # what the prepared files depend on


def main() -> None:
    """Measures the cases that were asked for, one after the other."""
    options, extra = parse()
    options.work.mkdir(parents=True, exist_ok=True)
    around = surroundings()
    for name in options.names or CASES:
        case = import_module(f"cases.{name}").CASE
        entry = measure(case, options, extra, around)
        store = page.store(entry, case, options.results)
        print(f"{page.table_of(entry)}\nin {store}\n", flush=True)


def parse() -> tuple[argparse.Namespace, list[str]]:
    """Returns this program's own options and the flags after `--`, which are hftune's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("names", nargs="*", metavar="CASE", help=CHOICE)
    parser.add_argument("--rounds", type=int, default=3, help="how often each side does the job (default: 3)")
    parser.add_argument("--rows", type=int, help="rows of the timed epoch (default: the case's)")
    parser.add_argument("--epochs", type=int, help="epochs, of which the last is timed (default: the case's)")
    parser.add_argument("--scored", type=int, help="test rows for the accuracy (default: the case's)")
    parser.add_argument("--all", action="store_true", help="also the sides that are rarely the fastest")
    parser.add_argument("--sample", action="store_true", help="a dry run on built-in data with tiny models")
    parser.add_argument("--work", type=Path, default=ROOT / "runs/bench", help="folder of rows and logs")
    parser.add_argument("--results", type=Path, help="folder of the results (default: benchmarks/results)")
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    options = parser.parse_args(words[:end])
    if unknown := set(options.names) - {*CASES, *ON_REQUEST}:
        known = ", ".join([*CASES, *ON_REQUEST])
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {known}")
    if options.results is None:  # a dry run says nothing about speed
        options.results = options.work / "results" if options.sample else HERE / "results"
    return options, words[end + 1 :]


def measure(
    case: Case, options: argparse.Namespace, extra: list[str], around: dict[str, Any]
) -> dict[str, Any]:
    """Lets the sides of a case take turns; returns what is to be stored, with the surroundings."""
    job = job_of(case, options, on_gpu=bool(around["gpus"]))
    folder = prepared(case, job, options.work) if case.prepare else options.work
    sides = {name: side for name, side in case.sides.items() if options.all or name not in case.on_request}
    rounds: list[dict[str, dict]] = []
    for number in range(-case.warm_up, options.rounds):
        found = {}
        for name, side in sides.items():
            # A case that warms up wants all that a seed decides, such as the rows kept out, in the caches.
            seed = 1 if case.warm_up else number + 1
            told = job | side.options | {"options": side.options, "seed": seed, "extra": extra}
            found[name] = run(side, told | {"folder": str(folder.resolve())}, options.work, case.name)
            value = found[name][case.measure]
            print(
                f"{case.name}, round {number + 1}: {name}: {value:,.2f} {page.UNITS[case.measure]}",
                flush=True,
            )
        if number >= 0:
            rounds.append(compared(found))
    return {
        "case": case.name,
        "title": case.title,
        "measure": case.measure,
        "sample": options.sample,
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        **around,
        "job": job,
        "extra": extra,
        "rounds": rounds,
        "ratios": {f"{ours} / {theirs}": page.ratio(rounds, case.measure, ours, theirs)
                   for ours, theirs in case.pairs if theirs in sides},
    }  # fmt: skip


def compared(found: dict[str, dict]) -> dict[str, dict]:
    """Puts the share of answers that are also the first side's in the place of the answers, if any."""
    given = {name: measurement.pop("answers", "") for name, measurement in found.items()}
    first = next(iter(given.values()))
    for name, answers in given.items():
        if answers:
            same = sum(mine == other for mine, other in zip(first, answers, strict=True))
            found[name]["same_answers"] = same / len(answers)
    return found


def job_of(case: Case, options: argparse.Namespace, on_gpu: bool) -> Job:
    """Returns the job with the changes of the machine and the command line; its rows fill their batches."""
    asked = {name: getattr(options, name) for name in ("rows", "epochs", "scored")}
    given = {name: value for name, value in asked.items() if value and name in case.job}
    here = case.sample if options.sample else case.gpu if on_gpu else {}
    job = case.job | here | given
    if "batch" in job:
        job["rows"] = max(1, job["rows"] // job["batch"]) * job["batch"]
    return job


def prepared(case: Case, job: Job, work: Path) -> Path:
    """Returns the folder with the job's rows; they are cut once."""
    about = {name: job.get(name) for name in OF_THE_ROWS} | {"prepare": case.prepare.__name__}
    digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:12]
    folder = work / f"rows-{digest}"
    if not folder.exists():
        print(f"{case.name}: cutting {job['rows']:,} rows of {job['data']}", flush=True)
        with tempfile.TemporaryDirectory(dir=work) as new:
            told = job | {"prepare": case.prepare.__name__, "data_folder": str(Path(new).resolve() / "rows")}
            Path(told["data_folder"]).mkdir()
            call([sys.executable, "-m", "rows", job_file(told, Path(new))], work / f"{case.name}.log")
            Path(told["data_folder"]).rename(folder)
    return folder


def run(side: Side, job: Job, work: Path, name: str) -> dict[str, Any]:
    """Lets one side do the job in a process of its own; returns its measurement.

    Its peak memory is that of the process, loading and scoring included; loader processes are not.
    """
    with tempfile.TemporaryDirectory(dir=work) as scratch:
        out = Path(scratch).resolve() / "measurement.json"
        job = job | {"scratch": str(out.parent), "out": str(out), "began": time.time()}
        if isinstance(side.program, tuple):
            command = [part.format(bin=Path(sys.executable).parent) for part in side.program]
        else:
            command = [*python(job), "-m", f"peers.{side.program}", job_file(job, out.parent)]
        began = time.monotonic()
        memory = call(command, work / f"{name}.log")
        measurement: dict[str, Any] = {"seconds": time.monotonic() - began}
        if out.exists():
            measurement = json.loads(out.read_text(encoding="utf-8"))
    return measurement | {"memory_mib": memory}


def python(job: Job) -> list[str]:
    """Returns what starts a module, in one process or in several that train together."""
    if job.get("processes", 1) == 1:
        return [sys.executable]
    count = f"--nproc_per_node={job['processes']}"
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", count]


def job_file(job: Job, folder: Path) -> str:
    """Writes a job where its program finds it; returns the path."""
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return str(path)


def call(command: list[str], log: Path) -> float:
    """Runs a command from the repository's root; returns the most memory that it held, in MiB.

    What ends the wait, such as Ctrl-C, kills it with all that it started.

    Raises:
        SystemExit: It failed; the message ends with the last lines that it printed.
    """
    with log.open("w+b") as told:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdout=told,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            last = told.read().decode(errors="replace").splitlines()[-20:]
            sys.exit("\n".join([f"error: {' '.join(command)[:300]} ended with {process.returncode}", *last]))
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def environment() -> dict[str, str]:
    """Returns the variables of each process: it finds these files, and has one GPU at the most.

    The Trainer would spread a batch over all that it sees.
    """
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return os.environ | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": gpu}


def surroundings() -> dict[str, Any]:
    """Returns machine, commit and versions; asked for in a process of its own, since it loads torch."""
    words = "import json, results as r; print(json.dumps([r.machine(), r.gpus(), r.commit()]))"
    done = subprocess.run(
        [sys.executable, "-c", words],
        cwd=HERE,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    machine, gpus, commit = json.loads(done.stdout.splitlines()[-1])
    return {
        "machine": machine,
        "gpus": gpus,
        "commit": commit,
        "python": sys.version.split()[0],
        "versions": {name: version(name) for name in PACKAGES},
    }


def version(package: str) -> str:
    """Returns a package's version, or "-" where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "-"


if __name__ == "__main__":
    main()
