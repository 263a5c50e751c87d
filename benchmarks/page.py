"""From measurements to the stored results and their page."""

import json
import statistics
from pathlib import Path
from typing import Any

from case import Case

UNITS = {"rows_per_second": "rows/s", "first_step_seconds": "s", "seconds": "s"}
COLUMNS = {  # heading -> (key of a measurement, how it is printed)
    "rows/s": ("rows_per_second", "{:,.2f}"),
    "tokens/s": ("tokens_per_second", "{:,.0f}"),
    "padding": ("padding", "{:.1%}"),
    "seconds": ("seconds", "{:,.2f}"),
    "CPU seconds": ("cpu_seconds", "{:,.1f}"),
    "first step after, s": ("first_step_seconds", "{:,.1f}"),
    "memory, MiB": ("memory_mib", "{:,.0f}"),
    "GPU memory, MiB": ("gpu_memory_mib", "{:,.0f}"),
    "accuracy": ("accuracy", "{:.3f}"),
    "same answers": ("same_answers", "{:.1%}"),
}
PAGE = """# Side by side, {date}

Each side in a process of its own, in turn; the median of the rounds. *x* is how many times as fast hftune
is on the same rows, the median of the rounds with the least and the greatest. Memory is the process's
greatest, with loading and scoring. Accuracy is that after the few steps of the measurement, to show that
both sides learn the same, with its 95 % interval; it is no result.

{sections}
## Where and with what

{circumstances}

`python benchmarks/bench.py CASE` measures a case again; {name}.json has every round.
"""


def ratio(rounds: list[dict[str, dict]], measure: str, ours: str, theirs: str) -> dict[str, float]:
    """Returns how many times as fast our side was, round by round: median, least, greatest."""
    pairs = [(found[ours][measure], found[theirs][measure]) for found in rounds]
    values = [mine / other if measure == "rows_per_second" else other / mine for mine, other in pairs]
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def store(entry: dict[str, Any], case: Case, folder: Path) -> Path:
    """Puts a case into the day's file, in the place of an earlier one, and draws the page anew."""
    folder.mkdir(parents=True, exist_ok=True)
    name = entry["date"][:10]
    path = folder / f"{name}.json"
    entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    entries[case.name] = entry
    path.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(render(name, entries), encoding="utf-8")
    return path


def render(name: str, entries: dict[str, dict[str, Any]]) -> str:
    """Returns the page as Markdown."""
    sections = ""
    for entry in entries.values():
        notice = "A dry run on built-in data: it says nothing about speed.\n\n" if entry["sample"] else ""
        sections += f"## {entry['title']}\n\n{notice}{table_of(entry)}\n\n{work_of(entry)}\n\n"
    rows = [["Case", "Machine", "Threads", "torch", "transformers", "timm", "Rounds", "Date", "Commit"]]
    for entry in entries.values():
        threads = {found.get("threads", "-") for found in entry["rounds"][0].values()}
        versions = [entry["versions"][package] for package in ("torch", "transformers", "timm")]
        told = [", ".join(map(str, sorted(threads, key=str))), *versions, str(len(entry["rounds"]))]
        rows.append([entry["case"], entry["machine"], *told, entry["date"], entry["commit"]])
    return PAGE.format(date=name, name=name, sections=sections, circumstances=table(rows))


def table_of(entry: dict[str, Any]) -> str:
    """Returns a case's table: a line for each side, a column for what any of them measured."""
    rounds = entry["rounds"]
    sides = list(rounds[0])
    shown = {
        title: form for title, form in COLUMNS.items() if any(form[0] in rounds[0][side] for side in sides)
    }
    against = [pair.split(" / ") for pair in entry["ratios"]]
    ours = list(dict.fromkeys(first for first, _ in against))
    rows = [["", *shown, *(f"x, {name}" for name in ours)]]
    for side in sides:
        cells = [cell(rounds, side, *form) for form in shown.values()]
        rows.append([side, *cells, *(times(entry["ratios"].get(f"{name} / {side}")) for name in ours)])
    return table(rows)


def cell(rounds: list[dict[str, dict]], side: str, key: str, form: str) -> str:
    """Returns the median of a side's measurements, or a dash where it has none."""
    values = [found[side][key] for found in rounds if key in found[side]]
    if not values:
        return "-"
    text = form.format(statistics.median(values))
    if key != "accuracy":
        return text
    from hftune.tasks.intervals import wilson

    scored = rounds[0][side]["scored_rows"]
    low, high = wilson(round(statistics.median(values) * scored), scored)
    return f"{text} [{low:.3f}, {high:.3f}]"


def times(found: dict[str, float] | None) -> str:
    """Returns a ratio with its spread."""
    return f"**{found['median']:.2f}** [{found['low']:.2f}, {found['high']:.2f}]" if found else ""


def work_of(entry: dict[str, Any]) -> str:
    """Says in one line what the job was."""
    job = entry["job"]
    names = ("rows", "batch", "epochs", "max_length", "image_size", "precision", "learning_rate")
    words = [f"{name.replace('_', ' ')} {job[name]}" for name in names if name in job]
    words += [f"hftune with `{' '.join(entry['extra'])}`"] if entry["extra"] else []
    return f"Job: {', '.join(words)}." if words else ""


def table(rows: list[list[str]]) -> str:
    """Returns rows, the head first, as a Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
