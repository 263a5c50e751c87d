"""Reads what a saved model is to answer or to be scored on: words of a command line, files, data sets."""

from __future__ import annotations

import io
import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from hftune.data.columns import TEXT, Content, check_texts, choose_columns
from hftune.data.image.decode import SUFFIXES as PICTURE_SUFFIXES
from hftune.data.image.decode import BadPicture, decode
from hftune.data.image.folders import find_image_files, list_files, read_class_folders
from hftune.data.image.images import check_pictures, quiet, room_for_pictures
from hftune.data.image.paths import locate_images
from hftune.data.image.rows import Pictures
from hftune.data.image.splits import PICTURE, find_pictures
from hftune.data.label_values import canonical_label, difference, quoted
from hftune.data.labels import is_unlabelled, label_words
from hftune.data.sources import SPLIT_NAMES, Source, find_source
from hftune.data.splits import choose_stratified
from hftune.data.tables.file_text import decode_text, read_bytes
from hftune.data.tables.read import SUFFIXES as TABLE_SUFFIXES
from hftune.data.tables.read import Table, read_table
from hftune.data.tables.row_marks import follow_marks
from hftune.data.text.sample import load_sample
from hftune.errors import BadInput, listed, printable
from hftune.inference.origins import Origins
from hftune.settings.image import ImageSettings
from hftune.settings.text import TextSettings

LINES = ".txt"  # one text a line


class Texts(NamedTuple):
    """Texts to classify.

    Args:
        texts: The N texts; None for a row without one.
        warnings: Lines to show to the user.
    """

    texts: list[str | None]
    warnings: list[str]


class NamedPictures(NamedTuple):
    """Pictures to classify.

    Args:
        names: What each is called, such as the path of its file.
        pictures: uint8 (H, W, 3) each.
        warnings: Lines to show to the user.
    """

    names: list[str]
    pictures: Pictures
    warnings: list[str]


class Labelled(NamedTuple):
    """One labelled split.

    Args:
        content: N texts, or pictures of uint8 (H, W, 3).
        labels: The model's class numbers, int64 (N,).
        split: Its name: "test", "validation", or what `--split` says.
        origin: Where it came from.
        warnings: Lines to show to the user.
    """

    content: Sequence[str] | Pictures
    labels: np.ndarray
    split: str
    origin: str
    warnings: list[str]


class _Joined:
    """Pictures of several sources, one after the other."""

    def __init__(self, parts: Sequence[Pictures]):
        self.parts = parts
        self.ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, row: int) -> np.ndarray:
        place = int(np.searchsorted(self.ends, row, side="right"))
        return self.parts[place][row - int(self.ends[place]) + len(self.parts[place])]


def read_texts(words: Iterable[str], column: str | None = None, origins: Origins | None = None) -> Texts:
    """Reads texts in the order of the words; blank lines at the end of a file are none.

    Args:
        words: Each is a file (.txt: one text a line; .csv, .tsv, .jsonl, .parquet: a column), a folder of
            such files, "-" for the lines of standard input, or else itself a text.
        column: The files' column of texts; None: found by its usual names.
        origins: Receives where each text came from.

    Raises:
        BadInput: A word is empty, a text is unreadable, a file is missing or has none; names file and row.
    """
    found = Texts([], [])
    origins = Origins() if origins is None else origins
    for number, word in enumerate(words, start=1):
        path = Path(word)
        if word == "-":
            data = sys.stdin.buffer.read() if sys.stdin else b""
            found = _join(found, _read_lines("standard input", data, origins))
        elif _exists(word) and path.is_dir():
            for file in _files_below(word, (LINES, *TABLE_SUFFIXES), "texts"):
                found = _join(found, _read_text_file(file, column, origins))
        elif _exists(word):
            found = _join(found, _read_text_file(word, column, origins))
        else:
            found.texts.append(_checked_word(number, word))
            origins.add([number - 1], lambda row: f"text {row + 1} of the command line")
    return found


def _join(first: Texts, second: Texts) -> Texts:
    return Texts(first.texts + second.texts, first.warnings + second.warnings)


def read_pictures(
    words: Iterable[str],
    column: str | None = None,
    origins: Origins | None = None,
    *,
    image_dir: str | None = None,
    skip_bad: bool | None = False,
    background: str | None = None,
) -> NamedPictures:
    """Reads pictures in the order of the words; each is decoded once.

    Args:
        words: Each is a picture, a folder of pictures, a list of them (.csv, .tsv, .jsonl, .parquet), or
            "-" for the paths on the lines of standard input.
        column: The lists' column of pictures or their paths; None: found by its kind.
        origins: Receives where each picture came from.
        image_dir: The folder that the lists' paths start from; None: each list's own.
        skip_bad: See `check_pictures`.
        background: The model's, see `hftune.inference.load.Saved`.

    Raises:
        BadInput: A picture cannot be read, or there is none; names file and row.
    """
    room = room_for_pictures()
    found = []
    files, warnings = find_image_files(words)
    spare = bool(skip_bad) and len(files) > 1  # one of several may be unreadable as a whole
    for table, key in _picture_tables(files, column, spare):
        table, folder, told = locate_images(table, key, image_dir=image_dir, skip_bad=skip_bad)
        warnings += told
        checked = check_pictures(
            table,
            key,
            folder=folder,
            skip_bad=skip_bad,
            room=room,
            background=background,
            spare=spare,
        )
        room -= checked.bytes_held
        found.append(checked)
        if origins is not None:
            others = {name: values for name, values in table.columns.items() if name != key}
            origins.add(checked.rows.tolist(), table.place, others)
    names = [
        _picture_name(checked.pictures.table, checked.pictures.column, int(row))
        for checked in found
        for row in checked.rows
    ]
    warnings += [line for checked in found for line in checked.warnings]
    if not names:
        raise BadInput("none of the pictures can be read", warnings)
    return NamedPictures(names, _Joined([checked.pictures for checked in found]), warnings)


def read_labelled(
    settings: TextSettings | ImageSettings,
    labels: tuple[str, ...],
    *,
    test_file: str | None = None,
    test_dir: str | None = None,
    split: str | None = None,
) -> Labelled:
    """Reads one labelled split, checked as for training, its labels numbered as the model numbers them.

    Args:
        settings: Where the data are, unless `test_file` or `test_dir` say so; names of columns;
            `max_eval_samples`, which are the rows that a run of these settings would draw.
        labels: The model's class names.
        test_file: A file of rows.
        test_dir: A folder with one folder of pictures per class.
        split: Which split; None: test, else validation.

    Raises:
        BadInput: The data cannot be had or used, or have labels that the model does not know.
    """
    source, warnings = _find_source(settings, test_file, test_dir)
    if isinstance(settings, ImageSettings):
        kind, given = PICTURE, settings.image_column_name
    else:
        kind, given = TEXT, settings.text_column_name
    chosen, table, column, label = _pick(source, split, kind, given, settings.label_column_name)
    numbers = number_by_name(table, label, labels)
    content: Any
    if isinstance(settings, ImageSettings):
        skip_bad = settings.skip_bad_images
        table, folder, told = locate_images(
            table,
            column,
            image_dir=settings.image_dir,
            dataset_name=settings.dataset_name,
            split=chosen,
            skip_bad=skip_bad,
        )
        checked = check_pictures(
            table,
            column,
            folder=folder,
            skip_bad=skip_bad,
            room=room_for_pictures(),
            background=settings.transparent_background,
        )
        content, numbers, told = checked.pictures, numbers[checked.rows], [*told, *checked.warnings]
    else:
        content, told = check_texts(table, column, keep_blank=not source.files)
    limit = settings.max_eval_samples
    if limit is not None and limit < len(numbers):
        rows = choose_stratified(numbers, limit, 0, "sample", chosen, settings.data_seed)
        content, numbers = content.take(rows), numbers[rows]
    if kind is TEXT:
        content = content.to_pylist()
    told = [*warnings, *source.warnings, *table.warnings, *told]
    return Labelled(content, numbers, chosen, source.origin, list(dict.fromkeys(told)))


def number_by_name(table: Table, column: str, labels: tuple[str, ...]) -> np.ndarray:
    """Returns the model's class number of each row, int64 (N,).

    Numbers in the data mean the class of that name: "1" for 1, or LABEL_1 of a model without names.

    Args:
        table: Labelled rows.
        column: The label column.
        labels: The model's class names.

    Raises:
        BadInput: A label is missing, or the model does not know it; lists all such labels.
    """
    number = {name: place for place, name in enumerate(labels)}
    for place, name in enumerate(labels):
        if name == f"LABEL_{place}":
            number.setdefault(str(place), place)
    for place, name in enumerate(labels):  # one name, its accents coded in two ways
        for coding in ("NFC", "NFD"):
            number.setdefault(unicodedata.normalize(coding, name), place)
    words = label_words(table, column)
    unknown = {word: row for row, word in reversed(list(enumerate(words))) if word not in number}
    if "" in unknown:
        raise BadInput(
            f"{table.place(unknown[''])}: the label (column {column!r}) is missing; fill it in or remove "
            "the row"
        )
    if unknown:
        first, *more = sorted(unknown, key=lambda word: unknown[word])
        alike = [name for name in labels if canonical_label(name) == canonical_label(first)]
        hint = f"; it {difference(first, alike[0])} {quoted(alike[0])}" if alike else ""
        raise BadInput(
            f"{table.place(unknown[first])}: the model knows no label {quoted(first)} (it knows "
            f"{listed(labels)}){hint}",
            [f"{table.place(unknown[word])}: label {quoted(word)}" for word in more],
        )
    return np.array([number[word] for word in words], np.int64)


def _exists(word: str) -> bool:
    try:
        return bool(word.strip()) and Path(word).exists()
    except (OSError, ValueError):  # a text: too long for a file's name, or with a NUL
        return False


def _checked_word(number: int, word: str) -> str:
    if not word.strip():
        raise BadInput(f"text {number} of the command line is empty; write a text, a file or a folder")
    if len(word.split()) == 1 and Path(word).suffix.lower() in (LINES, *TABLE_SUFFIXES, *PICTURE_SUFFIXES):
        raise BadInput(f"{word} does not exist")
    try:
        word.encode()
    except UnicodeEncodeError:
        raise BadInput(f"text {number} of the command line is not UTF-8") from None
    return word


def _files_below(folder: str, suffixes: tuple[str, ...], noun: str) -> list[str]:
    found = [path for path in list_files(folder) if path.lower().endswith(suffixes)]
    if not found:
        raise BadInput(f"{folder}: a folder without {noun} ({', '.join(suffixes)})")
    return [os.path.join(folder, path) for path in found]


def _read_text_file(name: str, column: str | None, origins: Origins) -> Texts:
    if Path(name).suffix.lower() == LINES:
        return _read_lines(name, read_bytes(name, (LINES,)), origins)
    if Path(name).suffix.lower() not in TABLE_SUFFIXES:
        pipe = "" if Path(name).is_file() else "; a pipe's lines are read from standard input: pass -"
        raise BadInput(f"{name}: a file of texts must end with {LINES}, {', '.join(TABLE_SUFFIXES)}{pipe}")
    table = read_table(name, keep_blank=True)
    key = _content_column(table, TEXT, column)
    values = table.columns[key]
    cells = values if isinstance(values, list) else values.to_pylist()
    filled = [row for row, cell in enumerate(cells) if cell is not None and str(cell).strip()]
    if filled and len(filled) < len(cells):
        places = [table.place(row) for row in filled]
        taken = [cells[row] for row in filled] if isinstance(values, list) else values.take(pa.array(filled))
        texts, _ = check_texts(Table(name, {key: taken}, places=places), key, keep_blank=False)
    else:
        texts, _ = check_texts(table, key, keep_blank=False)
    answered: list[str | None] = [None] * len(cells)
    for row, text in zip(filled, texts.to_pylist(), strict=True):
        answered[row] = text
    origins.add(
        range(len(cells)), table.place, {other: of for other, of in table.columns.items() if other != key}
    )
    notes = [f"{name}: {note}" for note in table.notes]
    return Texts(answered, [*notes, *table.warnings, *_without_text(answered, table.place)])


def _read_lines(name: str, data: bytes, origins: Origins) -> Texts:
    text, notes = decode_text(name, data)
    lines = [line.rstrip("\n") for line in io.StringIO(text, newline=None)]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise BadInput(f"{name} is empty; write one text a line")
    texts = [line if line.strip() else None for line in lines]

    def place(row: int) -> str:
        return f"{name} line {row + 1}"

    origins.add(range(len(texts)), place)
    blank = _without_text(texts, place)
    return Texts(texts, [*(f"{name}: {note}" for note in notes), *blank])


def _without_text(texts: list[str | None], place: Callable[[int], str]) -> list[str]:
    rows = [row for row, text in enumerate(texts) if text is None]
    if not rows:
        return []
    which = (
        f"{place(rows[0])} has no text and is"
        if len(rows) == 1
        else f"{len(rows):,} rows have no text and are"
    )
    return [f"{which} answered with null" + (f" (first: {place(rows[0])})" if len(rows) > 1 else "")]


def _content_column(table: Table, kind: Content, given: str | None) -> str:
    """Finds the column of texts or pictures in a table that need not have labels."""
    flag, columns = f"--{kind.noun}_column_name", listed(table.columns)
    if given is not None:
        if given not in table.columns:
            raise BadInput(f"{table.name} has no column {given!r} ({flag}); it has {columns}")
        return given
    candidates = list(table.columns) if len(table.columns) == 1 else kind.candidates(table, "")
    if len(candidates) != 1:
        raise BadInput(
            f"{table.name}: which column holds the {kind.noun}s? Say it with {flag} ({columns}){table.advice}"
        )
    return candidates[0]


def _picture_tables(files: list[str], column: str | None, spare: bool) -> list[tuple[Table, str]]:
    """Returns tables, each with its column of pictures."""
    tables: list[tuple[Table, str]] = []
    loose: list[str] = []  # pictures of neighbouring words, checked together
    for file in files:
        if file.lower().endswith(TABLE_SUFFIXES):
            tables += _table_of_files(loose, spare)
            loose = []
            table = read_table(file)
            tables.append((table, _content_column(table, PICTURE, column)))
        else:
            loose.append(file)
    return tables + _table_of_files(loose, spare)


def _table_of_files(files: list[str], spare: bool) -> list[tuple[Table, str]]:
    if not files:
        return []
    if len(files) == 1 and not spare:  # what is wrong with it is all that there is to say
        try:
            with quiet():
                decode(files[0])
        except BadPicture as reason:
            raise BadInput(f"{printable(files[0])} {reason}") from None
    places = [printable(file) for file in files]
    return [(Table("the pictures", {"image": files}, places=places), "image")]


def _picture_name(table: Table, column: str, row: int) -> str:
    value: Any = table.columns[column][row]
    value = value.as_py() if isinstance(value, pa.Scalar) else value
    path = value.get("path") if isinstance(value, dict) else value
    return path if isinstance(path, str) else table.place(row)


def _find_source(
    settings: TextSettings | ImageSettings, test_file: str | None, test_dir: str | None
) -> tuple[Source, list[str]]:
    if test_file:
        table = read_table(test_file)
        columns = ("label_column_name", "text_column_name", "image_column_name")
        marked = follow_marks({"test": table}, None, [getattr(settings, name, None) for name in columns])
        return Source(marked.tables, table.origin, files=True), marked.warnings
    if test_dir:
        table, warnings = read_class_folders(test_dir, skip_bad=settings.skip_bad_images)  # type: ignore[union-attr]
        return Source({"test": table}, test_dir, files=True), warnings
    if isinstance(settings, ImageSettings):
        return find_pictures(settings)
    return find_source(settings, load_sample), []


def _pick(
    source: Source, split: str | None, kind: Content, content: str | None, label: str | None
) -> tuple[str, Table, str, str]:
    """Returns a split, its rows, and their columns of content and label."""
    for name in [split] if split else ["test", "validation"]:
        own = next((alias for alias in SPLIT_NAMES.get(name, (name,)) if alias in source.tables), None)
        if own is None:
            continue
        table = source.tables[own]
        columns = choose_columns(table, kind, content, label)
        if split or source.files or not is_unlabelled(table, columns[1]):
            return name, table, *columns
    splits = listed(source.tables)
    if split:
        raise BadInput(f"--split {split}: {source.origin} has no such split (splits: {splits})")
    raise BadInput(
        f"{source.origin} has no labelled test or validation split; name one with --split ({splits})"
    )
