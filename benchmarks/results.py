"""Trains recipes on their real data and writes docs/results.md and docs/results.json.

    python benchmarks/results.py
    python benchmarks/results.py bag textcnn

What stands in docs/results.json stays until the same entry is measured again; docs/results.md is
drawn from it. A run that is finished in its folder is read, not repeated; one that was stopped goes
on. Data and models come from the Hub, or from a mirror that HF_ENDPOINT names. Flags after `--` go to
every recipe and stand in the commands of the table.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from page import table
from result_runs import RUNS, SECTIONS

ROOT = Path(__file__).resolve().parents[1]


PAGE = """# Results

Test rows are scored once, at the end, by the model that was best on validation rows cut from train.
Intervals are 95 %. The baseline is trained on the same rows, and so is a linear model on the features of the
frozen pretrained model; differences are taken row by row. Minutes are those of training with its evaluations,
on a machine that other work may have shared.

{sections}
## Where and with what

{circumstances}

`python benchmarks/results.py` writes this page; [results.json](results.json) has every score.
"""


BASELINES = ("thumbnails", "tfidf", "window")  # in the results' names, the strongest of each kind of rows


def main() -> None:
    """Measures what was asked for, and draws the page anew after each run."""
    options, extra = parse()
    page, store = options.docs / "results.md", options.docs / "results.json"
    entries = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}
    for name in options.names or RUNS:
        entries[name] = measure(name, options, extra)
        entries = {known: entries[known] for known in RUNS if known in entries}
        options.docs.mkdir(parents=True, exist_ok=True)
        store.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
        page.write_text(render(entries), encoding="utf-8")
        print(f"{name}: in {page}", flush=True)


def parse() -> tuple[argparse.Namespace, list[str]]:
    """Returns this script's own options and the flags after `--`, which are the recipes'."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(RUNS)}")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "runs/results", help="folder of the runs")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    arguments = sys.argv[1:]
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:end])
    if unknown := set(options.names) - RUNS.keys():
        parser.error(f"no such entry: {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}")
    return options, arguments[end + 1 :]


def measure(name: str, options: argparse.Namespace, extra: list[str]) -> dict[str, Any]:
    """Trains one entry, unless its folder holds the finished run, and returns what is to be kept."""
    _, recipe, flags = RUNS[name]
    folder = name.replace(",", "").replace(" ", "_")
    run_dir, note = options.output_dir / folder, options.output_dir / f"{folder}.json"
    command = shlex.join(["accelerate", "launch", recipe, *flags, *extra])
    noted = json.loads(note.read_text(encoding="utf-8"))["command"] if note.exists() else None
    if noted != command or not run_dir.exists():
        accelerate = str(Path(sys.executable).with_name("accelerate"))
        print(f"{name}: {command}", flush=True)
        started_at = commit()  # files may be edited while it trains
        done = subprocess.run(
            [accelerate, "launch", recipe, "--output_dir", str(run_dir.resolve()), *flags, *extra], cwd=ROOT
        )
        if done.returncode:
            sys.exit(f"error: {name} ended with code {done.returncode}; repeat the command to go on")
        circumstances = {"command": command, "commit": started_at, "machine": machine()}
        circumstances["date"] = datetime.now(UTC).date().isoformat()
        note.write_text(json.dumps(circumstances, indent=2) + "\n", encoding="utf-8")
    record = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    return {
        **json.loads(note.read_text(encoding="utf-8")),
        "versions": record["versions"],
        "threads": record["threads"],
        "processes": record["world_size"],
        "settings": public_settings(record["settings"]),
        "last_train_loss": last_train_loss(run_dir / "log.jsonl"),
        "results": json.loads((run_dir / "all_results.json").read_text(encoding="utf-8")),
    }


def last_train_loss(log: Path) -> float:
    """Returns the mean loss of the last tenth of the training, from its five last records."""
    records = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    losses = [record["loss"] for record in records if "loss" in record]
    return sum(losses[-5:]) / len(losses[-5:])


def public_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings that were given a value, without this machine's folders."""
    given = {name: value for name, value in settings.items() if value is not None and name != "output_dir"}
    outside = (name for name, value in given.items() if isinstance(value, str) and os.path.isabs(value))
    return given | {name: os.path.basename(given[name]) for name in list(outside)}


def machine() -> str:
    """Returns processor, cores, memory and GPU in words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [models[0] if models else "unknown processor", f"{os.cpu_count()} cores", f"{memory:.0f} GiB"]
    return ", ".join(parts + (gpus() or ["no GPU"]))


def gpus() -> list[str]:
    """Returns the names of the GPUs that a process sees."""
    import torch

    return [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]


def commit() -> str:
    """Returns the commit that is checked out, marked if files differ from it that are no results."""
    results = (":!benchmarks/results", ":!docs/results.json", ":!docs/results.md")
    said = [
        subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        for words in (
            ("rev-parse", "--short=10", "HEAD"),
            ("status", "--porcelain", "--untracked-files=no", "--", ".", *results),
        )
    ]
    if any(done.returncode for done in said):
        return "unknown"
    name, changed = (done.stdout.strip() for done in said)
    return f"{name}-dirty" if changed else name


def render(entries: dict[str, dict[str, Any]]) -> str:
    """Returns the page as Markdown."""
    sections = ""
    for title, section in SECTIONS.items():
        own = {name: entry for name, entry in entries.items() if RUNS[name].section == title}
        if own:
            scores = table(score_rows(own, section.scores))
            sections += f"## {title}\n\n{section.note}\n\n{scores}\n\n{over_seeds(own, section.scores)}"
    circumstances = [["Recipe", "Machine", "Threads", "torch", "transformers", "Date", "Commit"]]
    circumstances[0] += ["Training loss at the end", "Validation loss"]
    for name, entry in entries.items():
        versions = entry["versions"]
        threads = str(entry["threads"] * entry["processes"])
        used = [versions["torch"], versions["transformers"], entry["date"], entry["commit"]]
        losses = [f"{entry['last_train_loss']:.3f}", f"{entry['results']['eval_loss']:.3f}"]
        circumstances.append([name, entry["machine"], threads, *used, *losses])
    return PAGE.format(sections=sections, circumstances=table(circumstances))


def score_rows(entries: dict[str, dict[str, Any]], scores: Mapping[str, str]) -> list[list[str]]:
    """Returns a section's table; what none of its runs measured has no column.

    Args:
        entries: Its runs.
        scores: Metric by heading; the baseline is compared by the first one.
    """
    first_heading, first = next(iter(scores.items()))
    rows = [["Recipe", "Command", *scores, f"Baseline, {first_heading}", "Above the baseline"]]
    rows[0] += [f"Frozen model, {first_heading}", "Above the frozen model", "Minutes", "Mirrored too"]
    for name, entry in entries.items():
        results = entry["results"]
        baseline = next((name for name in BASELINES if f"test_{name}_{first}" in results), "majority")
        cells = [with_interval(results, f"test_{metric}") for metric in scores.values()]
        cells += [with_interval(results, f"test_{baseline}_{first}")]
        cells += [with_interval(results, f"test_{first}_over_{baseline}", sign="+")]
        cells += [with_interval(results, f"test_frozen_{first}")]
        cells += [with_interval(results, f"test_{first}_over_frozen", sign="+")]
        cells += [f"{results['train_runtime'] / 60:.1f}", with_interval(results, f"test_mirrored_{first}")]
        rows.append([name, f"`{entry['command']}`", *cells])
    measured = [at for at in range(len(rows[0])) if any(row[at] != "-" for row in rows[1:])]
    return [[row[at] for at in measured] for row in rows]


def over_seeds(entries: dict[str, dict[str, Any]], scores: Mapping[str, str]) -> str:
    """Returns a line with mean and deviation for each recipe that was run with several seeds."""
    by_recipe: dict[str, list[dict[str, float]]] = {}
    for name, entry in entries.items():
        if ", seed" in name:
            by_recipe.setdefault(name.split(",")[0], []).append(entry["results"])
    lines = ""
    for name, results in by_recipe.items():
        if len(results) > 1:
            means = (of_seeds(heading, results, f"test_{metric}") for heading, metric in scores.items())
            lines += f"{name}, {len(results)} seeds: {'; '.join(means)}.\n\n"
    return lines


def of_seeds(heading: str, results: list[dict[str, float]], key: str) -> str:
    """Returns a score's mean over runs and its standard deviation."""
    values = [one[key] for one in results]
    return f"mean {heading} {statistics.mean(values):.4f}, standard deviation {statistics.stdev(values):.4f}"


def with_interval(results: dict[str, float], key: str, sign: str = "") -> str:
    """Returns a score and its interval, or a dash where it was not measured."""
    if key not in results:
        return "-"
    value, low, high = (results[name] for name in (key, f"{key}_low", f"{key}_high"))
    return f"{value:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]"


if __name__ == "__main__":
    main()
