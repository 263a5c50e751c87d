"""On a machine with one GPU and no network: is hftune right there, and how fast; eight minutes.

    python benchmarks/gpu_carry.py                 # before, where there is a network: data, model, wheels
    python benchmarks/gpu.py                       # there, from a bare checkout with runs/carry
    python benchmarks/gpu.py --rehearse            # anywhere: the same with tiny sizes and no time limits

Each of `STEPS` has its seconds, and what those before it have left over. After each one the results are
written, so that whatever ends the program loses nothing; a step that fails is recorded, and the next begins.
Exit code 1 if any failed. See benchmarks/README.md.
"""

import argparse
import contextlib
import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import bench
import gpu_carry
import page
from case import Job

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
SECONDS = 480
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12}  # dense bf16 by the data sheets, operations a second
Told = dict[str, Any]  # of a step: name, seconds, limit, error, findings, entry of a case


@dataclass(frozen=True)
class Here:
    """Where the steps run.

    Args:
        work: Folder of what they write.
        data: Folder of the unpacked data and model.
        rehearse: Whether sizes are tiny.
        gpus: Names of the GPUs.
    """

    work: Path
    data: Path
    rehearse: bool
    gpus: list[str]


@dataclass(frozen=True)
class Step:
    """One thing that is tried or measured.

    Args:
        name: Its name.
        seconds: After which it is stopped, unless earlier ones have left some over.
        run: Adds its findings, and of a case its entry, to what is told; raises what went wrong.
    """

    name: str
    seconds: int
    run: Callable[[Here, Told], None]


# --- right ----------------------------------------------------------------------------------------------


def every_kind(here: Here, told: Told) -> None:
    """Trains every kind of model in fp32, bf16 and fp16, and again from a checkpoint to the same bits.

    These are the cases of the pretended accelerator (tests/pretend/cases.py) on the real one.
    """
    from tests.pretend.cases import CASES, FAULTS

    names = [name for name in CASES if name not in FAULTS and not name.endswith("twice")]
    names.sort(key=lambda name: not name.endswith("bf16"))  # those that resume come first
    if not here.gpus:
        names = ["textcnn bf16", "encoder bf16", "encoder fp32"]
    folder = fresh(here.work / "kinds")
    try:
        call(here, "kinds", "-m", "tests.pretend.cases", "--real", folder, *names)
    finally:  # where it was stopped too
        seen = folder / "1/seen.jsonl"
        lines = seen.read_text(encoding="utf-8").splitlines() if seen.exists() else []
        found = {line.pop("case"): line for line in map(json.loads, lines)}
        wrong = {
            name: line.get("error", "resumed is not straight through")
            for name, line in found.items()
            if "error" in line or line.get("resumed") is False
        }
        find(told, "kinds of run that end well", len(found) - len(wrong), goal=len(names))
        told["wrong"] = wrong
    if wrong or len(found) < len(names):
        raise AssertionError(f"{len(names)} were to be tried, {len(found)} were, wrong are: {wrong}")
    again = sum("resumed" in line for line in found.values())
    find(told, "of them resumed to the same bits", again, goal=again)


def killed(here: Here, told: Told) -> None:
    """Kills (SIGKILL) a run of MiniLM; the same command must end with the bits of one never killed."""
    from hftune.storage.checkpoint import list_checkpoints
    from tests.runs import digest

    rows = {"max_train_samples": 640, "max_eval_samples": 64, "max_steps": 20, "save_steps": 10}
    flags = files(here, "imdb") | rows | {"model_name_or_path": here.data / "minilm", "max_length": 128}
    flags |= {"save_strategy": "steps", "save_total_limit": "none", "eval_strategy": "no"}
    flags |= {"baselines": "false", "full_determinism": "true", "dataloader_num_workers": 0}
    if not here.gpus:
        flags |= {"bf16": "false"}
    if here.rehearse:
        flags |= {"max_train_samples": 32, "per_device_train_batch_size": 4, "max_length": 16}
    straight, stopped = fresh(here.work / "straight"), fresh(here.work / "killed")
    with (here.work / "killed.log").open("wb") as log:
        victim = start(recipe("imdb", flags, stopped), log)
        try:
            while not list_checkpoints(stopped) and victim.poll() is None:
                time.sleep(0.01)
            code = victim.poll()
        finally:
            victim.kill()
            victim.wait()
    left = list_checkpoints(stopped)
    if not left or (stopped / "all_results.json").exists():
        raise AssertionError(f"not killed on its way: exit code {code}, checkpoints {left}; see {log.name}")
    for folder in (stopped, straight):
        call(here, folder.name, *recipe("imdb", flags, folder))
    same = digest(stopped) == digest(straight)
    find(told, f"same bits after a kill behind step {left[-1]} of 20", int(same), goal=1)
    if not same:
        raise AssertionError(f"killed behind step {left[-1]}, the run ended with other bits")


# --- fast -----------------------------------------------------------------------------------------------


def speed(name: str, goals: dict[str, float | None], **sizes: Any) -> Callable:
    """Returns what measures a case of cases/.

    Args:
        name: Of the case.
        goals: How many times as fast our side should be, by "ours / theirs"; these sides take part.
        **sizes: What of the job is different from the case's own on a GPU.
    """

    def run(here: Here, told: Told) -> None:
        sides = {side for pair in goals for side in pair.split(" / ")}
        told["entry"] = entry = case_entry(name, here, sides, sizes)
        for pair, goal in goals.items():
            find(told, f"{entry['title']}: {pair}", entry["ratios"][pair]["median"], "x", goal)

    return run


def utilisation(here: Here, told: Told) -> None:
    """Finds the share of the device's bf16 operations a second that training of BERT-base's shape makes."""
    from cases.bert_base import flops_of_text

    told["entry"] = entry = case_entry("bert_base", here, {"hftune", "products"}, {})
    (found,) = entry["rounds"]
    reached = found["hftune"]["rows_per_second"] * flops_of_text(entry["job"])
    products = found["products"]["rows_per_second"] * 2.0 * entry["job"]["product"] ** 3
    sheet = next((peak for name, peak in PEAKS.items() for gpu in here.gpus if name in gpu), None)
    find(told, f"{entry['title']}: operations", reached / 1e12, "TFLOP/s")
    find(told, "bf16 products", products / 1e12, "TFLOP/s")
    goal = None if sheet else 45
    find(told, "utilisation of what the products reach", 100 * reached / products, "%", goal)
    if sheet:
        find(told, "utilisation of the data sheet's peak", 100 * reached / sheet, "%", 45)


def accuracy(here: Here, told: Told) -> None:
    """Trains ResNet-9 on CIFAR-10 as its recipe says for a GPU."""
    flags = files(here, "cifar10") | {
        "baselines": "false",
        "num_train_epochs": 24,
        "config_overrides": "width=64",
    }
    flags |= {"dataloader_num_workers": 8 if here.gpus else 0}
    if here.rehearse:
        flags |= {"max_steps": 4, "config_overrides": "width=4", "per_device_train_batch_size": 8}
    folder = fresh(here.work / "cifar10")
    call(here, "cifar10_accuracy", *recipe("cifar10", flags, folder))
    results = json.loads((folder / "all_results.json").read_text(encoding="utf-8"))
    what = "CIFAR-10, ResNet-9 of width 64: test accuracy"
    find(told, what, 100 * results["test_accuracy"], "%", 94)
    find(told, "its training", results["train_runtime"], "s")


STEPS = (
    Step("every kind", 70, every_kind),
    Step("kill", 45, killed),
    Step("minilm", 50, speed("minilm", {
        "hftune / Trainer": 2.5, "hftune / Trainer, group_by_length": 1.3}, rows=1600)),
    Step("bert_base", 40, utilisation),
    Step("textcnn", 35, speed("textcnn", {"hftune, bf16 / plain loop": 5.0})),
    Step("bilstm", 40, speed("bilstm", {"hftune, bf16 / plain loop": 2.0})),
    Step("predict", 45, speed("predict", {
        "hftune / pipeline(batch_size=32)": 3.0, "hftune, bf16 / pipeline(batch_size=32)": None}, rows=3200)),
    Step("cifar10", 50, speed("cifar10", {
        "hftune / timm's script": None, "hftune / timm's script, tuned": 1.5}, rows=19_200)),
    Step("cifar10_accuracy", 70, accuracy),
)  # fmt: skip
START = SECONDS - sum(step.seconds for step in STEPS)  # wheels, unpacking, and looking at the machine


# --- what they share ------------------------------------------------------------------------------------


def find(told: Told, what: str, value: float, unit: str = "", goal: float | None = None) -> None:
    """Adds what was found, and what was hoped for, to a step."""
    told["findings"].append({"what": what, "value": value, "unit": unit, "goal": goal})


def case_entry(name: str, here: Here, sides: set[str], sizes: Job) -> dict[str, Any]:
    """Measures a case of cases/ on the carried data, one round; returns its entry."""
    case = import_module(f"cases.{name}").CASE
    job = case.job | (case.sample if here.rehearse else case.gpu | sizes)
    job |= {"data": shown(here.data / ("cifar10" if name == "cifar10" else "imdb"))}
    job |= {"classes": case.job["classes"]} if "classes" in job else {}  # the data are not the sample's
    if "model" in job:
        job["model"] = shown(here.data / "minilm")
    taking_part = {side: case.sides[side] for side in case.sides if side in sides}
    if not here.gpus:  # many processors compute no bf16
        job["precision"] = "fp32"
        for side, one in taking_part.items():
            if "precision" in one.options:
                taking_part[side] = replace(one, options=one.options | {"precision": "fp32"})
    pairs = tuple(pair for pair in case.pairs if set(pair) <= sides)
    case = replace(case, job=job, gpu={}, sides=taking_part, pairs=pairs)
    asked = dict.fromkeys(("rows", "epochs", "scored"))
    options = argparse.Namespace(**asked, sample=False, all=True, rounds=1, work=here.work)
    entry = bench.measure(case, options, [], {"gpus": here.gpus})
    return entry | {"sample": here.rehearse}


def files(here: Here, name: str) -> dict[str, Any]:
    """Returns the flags that name the files of a data set."""
    return {f"{split}_file": here.data / name / f"{split}.parquet" for split in ("train", "test")}


def recipe(name: str, flags: dict[str, Any], run_dir: Path) -> list[str]:
    """Returns what stands behind `python` to run a recipe."""
    given = flags | {"output_dir": run_dir}
    return [
        f"recipes/{name}.py",
        *(str(part) for flag, value in given.items() for part in (f"--{flag}", value)),
    ]


def call(here: Here, log: str, *words: Any) -> None:
    """Runs a Python program from the repository's root."""
    bench.call([sys.executable, *map(str, words)], here.work / f"{log}.log")


def start(words: list[str], log: Any) -> Any:
    """Starts a Python program there."""
    command = [sys.executable, *words]
    return subprocess.Popen(command, cwd=ROOT, env=bench.environment(), stdout=log, stderr=log)


def fresh(folder: Path) -> Path:
    """Returns a folder of an earlier trial without it."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def shown(path: Path) -> str:
    """Returns a path as results show it, and as programs find it that start in the repository's root."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raises `TimeoutError` in what takes longer; infinity lets it."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"stopped after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0 if math.isinf(seconds) else max(1.0, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- the program ----------------------------------------------------------------------------------------


def main() -> None:
    """Tries every step, and writes what came out after each."""
    began = time.monotonic()
    options = parse()
    find_packages(options)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what it waits for, as Ctrl-C does
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("HF_HOME", str(options.work / "hf"))  # before a library reads it
    sys.path.append(str(ROOT))  # for tests/
    data = options.work / "data"
    gpu_carry.unpack(options.carry, data)
    around = bench.surroundings()
    if not around["gpus"] and not options.rehearse:
        raise SystemExit("error: torch sees no GPU here; --rehearse does the same with tiny sizes on the CPU")
    here = Here(options.work, data, options.rehearse, around["gpus"])
    told = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "rehearsal": options.rehearse,
        **around,
        "driver": driver(),
        "not_as_pyproject_asks": unlike_pyproject(),
        "carried": json.loads((options.carry / "carry.json").read_text(encoding="utf-8")),
        "steps": [],
    }
    chosen = [step for step in STEPS if step.name in (options.names or {step.name})]
    for number, step in enumerate(chosen):
        kept = sum(later.seconds for later in chosen[number + 1 :])
        left = math.inf if options.rehearse else SECONDS - (time.monotonic() - began) - kept
        told["steps"].append(tried(step, here, left))
        told["seconds"] = time.monotonic() - began
        write(told, options.results)
    failed = [step["name"] for step in told["steps"] if step["error"]]
    print(f"{told['seconds']:.0f} s; {f'failed: {failed}' if failed else 'no step failed'}", flush=True)
    raise SystemExit(1 if failed else 0)


def parse() -> argparse.Namespace:
    """Returns the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    names = ", ".join(step.name for step in STEPS)
    parser.add_argument("names", nargs="*", metavar="STEP", help=f"all of them if none is given: {names}")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, no time limits, no GPU needed")
    parser.add_argument("--carry", type=Path, default=ROOT / "runs/carry", help="what gpu_carry.py has made")
    parser.add_argument("--work", type=Path, help="folder for data, runs and logs (default: runs/gpu)")
    parser.add_argument(
        "--results", type=Path, help="folder of gpu-DATE.json and .md (default: benchmarks/results)"
    )
    options = parser.parse_args()
    if unknown := set(options.names) - {step.name for step in STEPS}:
        parser.error(f"no such step: {', '.join(sorted(unknown))}; there are {names}")
    if not (options.carry / "carry.json").exists():
        parser.error(f"--carry {options.carry}: not what benchmarks/gpu_carry.py makes")
    options.work = (
        options.work or ROOT / ("runs/gpu-rehearsal" if options.rehearse else "runs/gpu")
    ).resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.results is None:  # a rehearsal says nothing about speed
        options.results = options.work / "results" if options.rehearse else HERE / "results"
    return options


def find_packages(options: argparse.Namespace) -> None:
    """Where hftune is not installed, installs the carried wheels beside it and begins the program again."""
    if importlib.util.find_spec("hftune") and importlib.util.find_spec("hftune.recipes"):
        return
    # By this name: modules from anywhere else `datasets` hashes by all that they hold, in minutes and 14 GB.
    site = fresh(options.work / "site-packages")
    (site / "hftune").mkdir(parents=True)
    for path in [*(ROOT / "hftune").iterdir(), ROOT / "recipes"]:  # as pyproject.toml's package-dir has it
        (site / "hftune" / path.name).symlink_to(path)
    asked = pyproject()
    about = site / f"hftune-{asked['version']}.dist-info/METADATA"  # a run notes the version
    about.parent.mkdir()
    about.write_text(f"Metadata-Version: 2.1\nName: hftune\nVersion: {asked['version']}\n", encoding="utf-8")
    words = ["--quiet", "--no-index", "--no-deps", "--no-compile", f"--target={site}"]
    wheels = map(str, sorted((options.carry / "wheels").glob("*.whl")))
    subprocess.run([sys.executable, "-m", "pip", "install", *words, *wheels], check=True)
    path = os.pathsep.join([str(site), str(HERE), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # Safe: else `python -m` would find the hftune of the working folder first, which has no recipes in it.
    os.execve(
        sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    )


def tried(step: Step, here: Here, seconds: float) -> Told:
    """Returns what came of a step, or how far it came and what went wrong."""
    limit = None if math.isinf(seconds) else seconds
    told: Told = {"name": step.name, "limit": limit, "error": None, "findings": [], "entry": {}}
    began = time.monotonic()
    try:
        with deadline(seconds):
            step.run(here, told)
    except (Exception, SystemExit) as wrong:  # it is told, and the next step begins
        told["error"] = f"{type(wrong).__name__}: {wrong}"
        print(f"{step.name}: {told['error']}", flush=True)
    told["seconds"] = time.monotonic() - began
    for one in told["findings"]:
        print(f"{step.name}: {one['what']}: {one['value']:,.4g} {one['unit']}", flush=True)
    return told


def driver() -> str:
    """Returns the version of NVIDIA's driver, or "-"."""
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    if not shutil.which(words[0]):
        return "-"
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    return next(iter(done.stdout.split()), "-")


def pyproject() -> dict[str, Any]:
    """Returns what pyproject.toml says of the project."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def unlike_pyproject() -> dict[str, str]:
    """Returns the packages that pyproject.toml asks for otherwise, with what is here and what it asks for."""
    from packaging.requirements import Requirement

    unlike = {}
    for requirement in map(Requirement, pyproject()["dependencies"]):
        found = bench.version(requirement.name)
        if found == "-" or not requirement.specifier.contains(found, prereleases=True):
            unlike[requirement.name] = f"{found}, asked for {requirement.specifier}"
    return unlike


def write(told: dict[str, Any], folder: Path) -> None:
    """Writes the results as they are so far, under the minute in which the program began."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"gpu-{told['date'][:16].replace(':', '-')}"
    for ending, text in {"json": json.dumps(told, indent=1), "md": render(told)}.items():
        path = folder / f"{name}.{ending}"
        new = folder / f"{name}.{ending}.new"
        new.write_text(text + "\n", encoding="utf-8")
        new.replace(path)


def render(told: dict[str, Any]) -> str:
    """Returns the results as Markdown."""
    rows = [["", "Found", "Goal", ""]]
    times = [["Step", "Seconds", "Limit", "Error"]]
    for step in told["steps"]:
        limit = "-" if step["limit"] is None else f"{step['limit']:.0f}"
        times.append([step["name"], f"{step['seconds']:.1f}", limit, cell(step["error"] or "")])
        for one in step["findings"]:
            goal, reached = "", ""
            if one["goal"] is not None:
                goal = f"{one['goal']:g} {one['unit']}".strip()
                if not told["rehearsal"]:
                    reached = "reached" if one["value"] >= one["goal"] else "**missed**"
            rows.append([one["what"], f"{one['value']:,.4g} {one['unit']}".strip(), goal, reached])
    versions = ", ".join(f"{name} {number}" for name, number in told["versions"].items())
    unlike = "; ".join(f"{name} {words}" for name, words in told["not_as_pyproject_asks"].items())
    parts = [
        f"# On a GPU, {told['date']}",
        *(["A rehearsal with tiny sizes: it says nothing about speed."] if told["rehearsal"] else []),
        f"{told['machine']}; driver {told['driver']}; commit {told['commit']}; {told['seconds']:.0f} s.",
        f"Python {told['python']}, {versions}. Not as pyproject.toml asks: {unlike or 'none'}.",
        page.table(rows),
        page.table(times),
        *(f"## {step['entry']['title']}\n\n{page.table_of(step['entry'])}\n\n{page.work_of(step['entry'])}"
          for step in told["steps"] if step["entry"]),
    ]  # fmt: skip
    return "\n\n".join(parts)


def cell(text: str) -> str:
    """Returns the first and the last line of a text, as a table can hold them."""
    lines = [line.strip() for line in text.replace("|", "/").splitlines() if line.strip()]
    return " ... ".join(dict.fromkeys(line[:200] for line in (lines[:1] + lines[-1:])))


if __name__ == "__main__":
    main()
