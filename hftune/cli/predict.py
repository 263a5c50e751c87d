"""Classifies texts or pictures with a trained model: a table for few rows, JSON lines for many.

    hftune predict runs/imdb "I could not stop laughing." "A long evening."
    hftune predict runs/imdb reviews.csv --output answers.jsonl
    hftune predict runs/imdb - --top_k 1 < lines.txt
    hftune predict runs/imdb --top_k 1 -- "--- no flag, but a text that begins with dashes"
    hftune predict runs/hotdog lunch.jpg photos --format table
    hftune predict OWNER/NAME pictures.parquet --skip_bad_images

MODEL is a run directory, a folder with a saved model, or a Hub id. A word behind it that is a file or a
folder is read, any other is a text; "-" stands for the lines of standard input, texts or paths of pictures.
Texts come from .txt (one a line), .csv, .tsv, .jsonl or .parquet; pictures are files, folders of them, or
such tables of files or bytes. The answers stand in the order of the rows, one JSON object a line; a blank row
has null in it:

    {"text": "A long evening.", "label": "neg", "score": 0.91, "scores": {"neg": 0.91, "pos": 0.09}}

--format json|table     else: a table of at most 20 rows on a terminal, JSON lines anywhere else
--output FILE           write there instead, the whole file or nothing: .csv or .tsv with row, place, the
                        other columns of the tables, prediction, score and the probability of each class;
                        .jsonl or .json with JSON lines; .txt with the table
--top_k N               the N most probable labels of each row, else all
--text_column_name C    the tables' column of texts, else found by its usual names
--image_column_name C   the tables' column of pictures, else found by its kind
--image_dir FOLDER      what the paths in such tables start from, else the table's own folder
--bf16                  faster where the device is fast at it; probabilities move by some thousandths
--skip_bad_images       leave out pictures that cannot be read, and say how many
--revision R            branch, tag or commit of a model on the Hub
--trust_remote_code     run code that comes with the model
"""

import io
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from hftune.cli.arguments import output_file, read_words
from hftune.cli.console import Screen
from hftune.cli.models import FLAGS, open_model, refuse_flags_of_the_other_kind
from hftune.errors import BadInput, NonFiniteError, printable
from hftune.inference.origins import Origins
from hftune.report.predictions import as_csv
from hftune.storage.files import write_text

if TYPE_CHECKING:
    from hftune.data.dataset import Rows
    from hftune.inference.load import Saved

NO_ANSWER = {"label": None, "score": None, "scores": None}  # of a blank row
FEW = 20  # rows that a person reads on a terminal
ENDINGS = {".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".json": "json", ".txt": "table"}
KINDS = {
    **FLAGS,
    "format": Literal["json", "table"],
    "output": str,
    "top_k": int,
    "text_column_name": str,
    "image_column_name": str,
    "image_dir": str,
    "bf16": bool,
    "skip_bad_images": bool,
}


def run(words: list[str]) -> None:
    """Classifies, and prints or writes the answers.

    Args:
        words: The model, texts or files, and the flags above.

    Raises:
        BadInput: The model or a row cannot be read.
        NonFiniteError: The model answers a row with NaN or infinity.
    """
    positional, options = read_words(words, KINDS)
    if len(positional) < 2:
        raise BadInput(
            'hftune predict needs a model and what to classify: hftune predict MODEL "some text" or FILE'
        )
    name, *sources = positional
    if options.get("top_k", 1) < 1:
        raise BadInput(f"--top_k {options['top_k']}: must be at least 1")
    output = output_file(options, ENDINGS, reads=positional)
    if "format" in options and output and ENDINGS[output.suffix.lower()] != options["format"]:
        raise BadInput(f"--output {options['output']} and --format {options['format']} contradict each other")
    saved = open_model(name, options)
    refuse_flags_of_the_other_kind(saved, options)
    import torch

    from hftune.inference.predict import answer

    origins = Origins()
    key, every, rows = _read(saved, sources, options, origins)
    names = [name for name in every if name is not None]
    bf16 = torch.autocast(saved.model.device.type, torch.bfloat16, enabled=options.get("bf16", False))
    with tqdm(desc="classifying", total=len(rows), disable=None, leave=False) as bar, bf16:
        logits = answer(saved, rows, tick=bar.update)
    broken = np.flatnonzero(~np.isfinite(logits).all(-1))
    if len(broken):
        raise NonFiniteError(f"{name} answers {names[broken[0]]!r:.80} with NaN or infinity")
    given = iter(as_answers(key, names, logits, saved.labels, options.get("top_k")))
    answers = [{key: None} | NO_ANSWER if name is None else next(given) for name in every]
    few = len(answers) <= FEW and sys.stdout.isatty()
    usual = ENDINGS[output.suffix.lower()] if output else "table" if few else "json"
    kind = options.get("format", usual)
    if kind == "table":
        _show_table(answers, key, output)
    elif kind == "csv":
        separator = "\t" if str(output).lower().endswith(".tsv") else ","
        _tell(as_csv(answer_columns(answers, key, saved.labels, origins), separator), output)
    else:
        _tell("".join(json_line(one, output is None) + "\n" for one in answers), output)


def json_line(answer: dict[str, Any], shown: bool) -> str:
    """Returns an answer as JSON; what is shown has escapes for what the stream or a screen cannot take."""
    if not shown:
        return json.dumps(answer, ensure_ascii=False)
    line = json.dumps(answer, ensure_ascii="utf" not in (sys.stdout.encoding or "utf-8").lower())
    if sys.stdout.isatty():
        return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in line)
    return line


def answer_columns(
    answers: list[dict[str, Any]], key: str, labels: tuple[str, ...], origins: Origins
) -> list[tuple[str, Iterable[Any]]]:
    """Returns the columns of a csv file of answers.

    Args:
        answers: What `as_answers` returned.
        key: What a row is: "text" or "file".
        labels: The C class names.
        origins: Where the rows came from; a column there with a name of ours becomes `input_NAME`.
    """
    ours = {"row", "place", key, "prediction", "score", *labels}
    theirs = [(f"input_{name}" if name in ours else name, cells) for name, cells in origins.columns.items()]
    return [
        ("row", origins.rows),
        ("place", origins.places),
        (key, (one[key] for one in answers)),
        *theirs,
        ("prediction", (one["label"] for one in answers)),
        ("score", (one["score"] for one in answers)),
        *((label, [(one["scores"] or {}).get(label, "") for one in answers]) for label in labels),
    ]


def _read(
    saved: "Saved", sources: list[str], options: dict[str, Any], origins: Origins
) -> tuple[str, Sequence[str | None], "Rows"]:
    """Returns what a row is called in the answers, the rows' names, None for blank ones, and the others."""
    from hftune.inference.inputs import read_pictures, read_texts
    from hftune.inference.predict import picture_rows, text_rows

    if saved.task == "text-classification":
        texts, warnings = read_texts(sources, options.get("text_column_name"), origins)
        for line in warnings:
            print(f"warning: {line}", file=sys.stderr)
        return "text", texts, text_rows(saved, [text for text in texts if text is not None])
    names, pictures, warnings = read_pictures(
        sources,
        options.get("image_column_name"),
        origins,
        image_dir=options.get("image_dir"),
        skip_bad=options.get("skip_bad_images", False),
        background=saved.background,
    )
    for line in warnings:
        print(f"warning: {line}", file=sys.stderr)
    return "file", names, picture_rows(saved, pictures)


def as_answers(
    key: str, names: list[str], logits: np.ndarray, labels: tuple[str, ...], top_k: int | None
) -> list[dict[str, Any]]:
    """Turns logits into probabilities by label, the most probable first.

    Args:
        key: What a row is: "text" or "file".
        names: The N texts or files.
        logits: float (N, C).
        labels: The C class names.
        top_k: How many labels of a row to keep; None: all.

    Returns:
        For each row its text or file, "label", "score", and "scores" by label, rounded to 6 digits.
    """
    exponents = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    probabilities = exponents / exponents.sum(-1, keepdims=True)  # (N, C)
    answers = []
    for name, row in zip(names, probabilities, strict=True):
        order = np.argsort(-row, kind="stable")[:top_k]
        scores = {labels[number]: round(float(row[number]), 6) for number in order}
        best = labels[order[0]]
        answers.append({key: name, "label": best, "score": scores[best], "scores": scores})
    return answers


def _show_table(answers: list[dict[str, Any]], key: str, output: Path | None) -> None:
    several = any(len(one["scores"] or ()) > 1 for one in answers)
    table = Table(header_style="bold", expand=True)
    table.add_column(key, ratio=1, no_wrap=True, overflow="ellipsis")  # takes what the others leave
    table.add_column("label", style="bold")
    table.add_column("score", justify="right")
    if several:
        table.add_column("then", max_width=40, no_wrap=True, overflow="ellipsis")
    for one in answers:
        if one["label"] is None:
            table.add_row("", "none")
            continue
        others = [f"{label} {score:.3f}" for label, score in list(one["scores"].items())[1:4]]
        cells = [" ".join(one[key].split()), one["label"], f"{one['score']:.3f}"]
        cells += [", ".join(others)] if several else []
        table.add_row(*map(Text, map(printable, cells)))
    if output is None:
        Screen().print(table)
        return
    page = io.StringIO()
    Screen(file=page, width=120).print(table)
    _tell(page.getvalue(), output)


def _tell(text: str, output: Path | None) -> None:
    """Prints a text, or writes it to a file, whole or not at all."""
    if output is None:
        print(text, end="", flush=True)
        return
    write_text(output, text)
