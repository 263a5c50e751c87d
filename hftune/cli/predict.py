"""Classifies texts, pairs of texts or images with a trained model: a table for few rows, else JSON lines.

    hftune predict runs/imdb "I could not stop laughing." "A long evening."
    hftune predict runs/imdb reviews.csv --output answers.jsonl
    hftune predict runs/imdb - --top_k 1 < lines.txt
    hftune predict runs/imdb --top_k 1 -- "--- no flag, but a text that begins with dashes"
    hftune predict runs/mrpc "She left at noon." --text_pair "At noon she went away."
    hftune predict runs/hotdog lunch.jpg photos --format table
    hftune predict OWNER/NAME images.parquet --skip_bad_images

MODEL is a run directory, a folder with a saved model, or a Hub id. A word behind it that is a file or a
folder is read, any other is a text; "-" stands for the lines of standard input, texts or paths of images.
Texts come from .txt (one a line), .csv, .tsv, .jsonl or .parquet; images are files, folders of them, or
such tables of files or bytes. Pairs of texts come from tables with two columns, from lines with a tab between
both, or from JSON lines on standard input; a single pair is a text and --text_pair. The answers stand in the
order of the rows, one JSON object a line; a blank row has null in it:

    {"text": "A long evening.", "label": "neg", "score": 0.91, "scores": {"neg": 0.91, "pos": 0.09}}

or, of a regression, the number under its name, with its 90 % interval:

    {"text": "A long evening.", "stars": 2.3, "low": 0.9, "high": 3.7}

or, of a model that tags words, what it found and between which characters:

    {"text": "Al ran.", "entities": [{"entity_group": "P", "score": 0.9, "start": 0, "end": 2, "word": "Al"}]}

--format json|table     else: a table of at most 20 rows on a terminal, JSON lines anywhere else
--output FILE           write there instead, the whole file or nothing: .csv or .tsv with row, place, the
                        other columns of the tables, prediction, score and the probability of each class;
                        .jsonl or .json with JSON lines; .txt with the table
--top_k N               the N most probable labels of each row, else all
--text_column_name C    the tables' column of texts, else found by its usual names
--text_pair_column_name C  of pairs, the column of the second texts, else found by its usual names
--text_pair TEXT        the second text of a pair; the first is the one text behind MODEL
--image_column_name C   the tables' column of images, else found by its kind
--image_dir FOLDER      what the paths in such tables start from, else the table's own folder
--bf16                  faster where the device is fast at it; probabilities move by some thousandths
--skip_bad_images       leave out images that cannot be read, and say how many
--revision R            branch, tag or commit of a model on the Hub
--trust_remote_code     run code that comes with the model
"""

import io
import json
import sys
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from hftune.cli.arguments import output_file, parse_args
from hftune.cli.console import Screen
from hftune.cli.models import MODEL_FLAGS, open_model, refuse_flags_of_other_inputs
from hftune.errors import BadInput, NonFiniteError, printable
from hftune.report.predictions import as_csv
from hftune.storage.files import write_text

if TYPE_CHECKING:
    from hftune.data.inputs import Contents, Name
    from hftune.tasks.base import Task
    from hftune.tasks.metric import Predictions

Answer = dict[
    str, Any
]  # the text or file of a row, and what `Task.answer` says, such as "label" and "scores"
FEW = 20  # rows that a person reads on a terminal
FORMATS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".txt": "table"}
FLAGS = {
    **MODEL_FLAGS,
    "format": Literal["json", "table"],
    "output": str,
    "top_k": int,
    "text_column_name": str,
    "text_pair_column_name": str,
    "text_pair": str,
    "image_column_name": str,
    "image_dir": str,
    "bf16": bool,
    "skip_bad_images": bool,
}


def main(argv: list[str]) -> None:
    """Predicts, and prints or writes an answer for each row.

    Args:
        argv: The model, texts or files, and the flags above.

    Raises:
        BadInput: The model or a row cannot be read.
        NonFiniteError: The model predicts NaN or infinity for a row.
    """
    positional, options = parse_args(argv, FLAGS)
    if len(positional) < 2:
        raise BadInput(
            'hftune predict needs a model and what to classify: hftune predict MODEL "some text" or FILE'
        )
    name, *sources = positional
    if options.get("top_k", 1) < 1:
        raise BadInput(f"--top_k {options['top_k']}: must be at least 1")
    output = output_file(options, FORMATS, reads=positional)
    if "format" in options and output and FORMATS[output.suffix.lower()] != options["format"]:
        raise BadInput(f"--output {options['output']} and --format {options['format']} contradict each other")
    loaded = open_model(name, options)
    refuse_flags_of_other_inputs(loaded, options)
    import torch

    from hftune.inference.predict import predict_rows

    contents = loaded.inputs.read(sources, options)
    for line in contents.warnings:
        print(f"warning: {line}", file=sys.stderr)
    rows = loaded.inputs.rows(contents.values)
    bf16 = torch.autocast(loaded.model.device.type, torch.bfloat16, enabled=options.get("bf16", False))
    with tqdm(desc="classifying", total=len(rows), disable=None, leave=False) as bar, bf16:
        predictions = predict_rows(loaded, rows, on_progress=bar.update)
    _refuse_broken(name, contents, loaded.task.finite(predictions))
    keys, task = loaded.inputs.keys, loaded.task
    if "top_k" in options and "scores" not in task.no_answer:
        raise BadInput(f"--top_k: {name} does not answer with labels that have probabilities; leave it out")
    answers = answer_rows(keys, task, contents.names, predictions, options.get("top_k"))
    few = len(answers) <= FEW and sys.stdout.isatty()
    usual = FORMATS[output.suffix.lower()] if output else "table" if few else "json"
    form = options.get("format", usual)
    if form == "table":
        _write_table(answers, keys, task, output)
    elif form == "csv":
        separator = "\t" if str(output).lower().endswith(".tsv") else ","
        _write(as_csv(csv_columns(answers, contents, keys, task), separator), output)
    else:
        _write("".join(json_line(one, output is None) + "\n" for one in answers), output)


def _refuse_broken(model: str, contents: "Contents", finite: np.ndarray) -> None:
    names = [name for name in contents.names if name is not None]
    if not finite.all():
        raise NonFiniteError(f"{model} answers {names[finite.argmin()]!r:.80} with NaN or infinity")


def answer_rows(
    keys: Sequence[str], task: "Task", names: Sequence["Name"], predictions: "Predictions", top_k: int | None
) -> list[Answer]:
    """Returns the answer of each row, as it stands in a line of JSON.

    Args:
        keys: What a row is: "text" or "file"; of pairs "text" and "text_pair".
        task: Says what an answer is.
        names: The texts, pairs of them or files, None for a blank row.
        predictions: Of the rows that are not blank.
        top_k: How many labels of a row to keep; None: all.
    """
    rows = count()
    return [
        {
            **dict(zip(keys, _parts(name, len(keys)), strict=True)),
            **(task.no_answer if name is None else task.answer(predictions, next(rows), top_k)),
        }
        for name in names
    ]


def _parts(name: "Name", count: int) -> Sequence[str | None]:
    """Returns the texts of a row, or its one text or file."""
    if name is None:
        return [None] * count
    return [name] if isinstance(name, str) else name


def csv_columns(
    answers: list[Answer], contents: "Contents", keys: Sequence[str], task: "Task"
) -> list[tuple[str, Iterable[Any]]]:
    """Returns the columns of a csv file of answers.

    Args:
        answers: What `answer_rows` returned.
        contents: Where the rows came from; a column there with a name of ours becomes `input_NAME`.
        keys: See `answer_rows`.
        task: Says what an answer is.
    """
    first, *others = (name for name in task.no_answer if name != "scores")
    labels = task.labels if "scores" in task.no_answer else ()
    ours = {"row", "place", *keys, "prediction", *others, *labels}
    theirs = [(f"input_{name}" if name in ours else name, cells) for name, cells in contents.columns.items()]
    return [
        ("row", contents.rows),
        ("place", contents.places),
        *((key, [one[key] for one in answers]) for key in keys),
        *theirs,
        ("prediction", (_joined(one[first]) for one in answers)),
        *((name, [one[name] for one in answers]) for name in others),
        *((label, [(one["scores"] or {}).get(label, "") for one in answers]) for label in labels),
    ]


def _listed(found: str | float | list[Any]) -> list[str]:
    """Returns one or several labels, a number, or the entities of a text with their types, as words."""
    several = found if isinstance(found, list) else [found]
    return [
        f"{one['word']} ({one['entity_group']})" if isinstance(one, dict) else str(one) for one in several
    ]


def _joined(found: str | float | list[Any] | None) -> str:
    """Returns an answer as one cell."""
    return "" if found is None else "|".join(_listed(found))


def _short(value: float | None) -> str:
    """Returns a number for a table: of a probability three places, of others about four digits."""
    if value is None:
        return ""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if 0 <= value <= 1 else f"{value:.4g}"


def json_line(answer: Answer, shown: bool) -> str:
    """Returns an answer as JSON; what is shown has escapes for what a stream or a screen cannot take."""
    if not shown:
        return json.dumps(answer, ensure_ascii=False)
    line = json.dumps(answer, ensure_ascii="utf" not in (sys.stdout.encoding or "utf-8").lower())
    if sys.stdout.isatty():
        return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in line)
    return line


def _write_table(answers: list[Answer], keys: Sequence[str], task: "Task", output: Path | None) -> None:
    first, *others = (name for name in task.no_answer if name != "scores")
    several = any(len(one.get("scores") or ()) > 1 for one in answers)
    table = Table(header_style="bold", expand=True)
    for key in keys:  # they take what the others leave
        table.add_column(key, ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(first, style="bold")
    for name in others:
        table.add_column(name, justify="right")
    if several:
        table.add_column("then", max_width=40, no_wrap=True, overflow="ellipsis")
    for one in answers:
        if one[first] is None:
            table.add_row(*[""] * len(keys), "none")
            continue
        scores = one.get("scores", {})
        rest = {label: score for label, score in scores.items() if label not in _listed(one[first])}
        answer = _short(one[first]) if isinstance(one[first], float) else _joined(one[first])
        cells = [
            *(" ".join(one[key].split()) for key in keys),
            answer,
            *(_short(one[name]) for name in others),
        ]
        cells += [", ".join(f"{label} {score:.3f}" for label, score in list(rest.items())[:3])] * several
        table.add_row(*map(Text, map(printable, cells)))
    if output is None:
        Screen().print(table)
        return
    page = io.StringIO()
    Screen(file=page, width=120).print(table)
    _write(page.getvalue(), output)


def _write(text: str, output: Path | None) -> None:
    """Prints a text, or writes it to a file, whole or not at all."""
    if output is None:
        print(text, end="", flush=True)
        return
    write_text(output, text)
