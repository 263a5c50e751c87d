"""From settings to texts by split, none of which stands in two splits; no labels are read."""

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa

from hftune.data.columns import TEXT, check_texts, with_names_of
from hftune.data.inputs import content_column
from hftune.data.sources import SPLIT_NAMES, Source, find_source
from hftune.data.splits import Splits, UsableContent, make_splits
from hftune.data.tables.file_text import decode_text, read_bytes, refuse_other_contents
from hftune.data.tables.read import Table, read_table
from hftune.data.text.sample import load_sample
from hftune.errors import BadInput
from hftune.settings.masked_lm import MaskedLMSettings

LINES = ".txt"  # one text a line


def load_splits(settings: MaskedLMSettings) -> Splits:
    """Loads, checks and splits the texts that the settings name.

    What stands in another split too, or twice in train, is left out before anything is drawn, so that
    validation rows which are cut off train have no copy there.

    Raises:
        BadInput: The data cannot be had or cannot be used; the message names file and row.
    """
    source = find_source(settings, load_sample, read=read_rows)
    source, column = choose_train(source, settings)
    source = without_copies(source, column)

    def check(split: str, table: Table) -> UsableContent:
        texts, warnings = check_texts(table, column, keep_blank=not source.files)
        return UsableContent(texts, None, warnings)

    # The task reads no labels; so the texts may stand in their place.
    return make_splits(source, settings, content=(column,), label=column, check=check, noun="text")


def read_rows(name: str) -> Table:
    """Reads a file of rows, or a .txt file of one text a line, whose blank lines are none.

    Raises:
        BadInput: See `hftune.data.tables.read.read_table`.
    """
    if not name.lower().endswith(LINES):
        return read_table(name)
    data = read_bytes(name, (LINES,))
    refuse_other_contents(name, LINES, data)
    text, notes = decode_text(name, data)
    numbered = enumerate(io.StringIO(text, newline=None), start=1)
    found = {number: line.strip() for number, line in numbered if line.strip()}
    texts = pa.chunked_array([pa.array(found.values(), pa.string())])
    return Table(name, {"text": texts}, list(found), notes=notes)


def choose_train(source: Source, settings: MaskedLMSettings) -> tuple[Source, str]:
    """Returns a source whose train rows are those of `--train_split`, and the column of its texts.

    Args:
        source: What was found.
        settings: `train_split` and `text_column_name` are read.

    Raises:
        BadInput: There is no such split, it is tested on, or it is not clear which column is meant.
    """
    chosen = list(dict.fromkeys(name.strip() for name in settings.train_split.split("+")))
    flag = f"--train_split {settings.train_split}"
    for name in chosen:
        if name in SPLIT_NAMES["test"]:
            raise BadInput(f"{flag}: the texts of {name} are tested on, and left out of the training")
        if name not in source.tables:
            there = ", ".join(name for name in source.tables if name not in SPLIT_NAMES["test"])
            raise BadInput(f"{flag}: {source.origin} has no split {name!r} to train on (it has {there})")
    column = content_column(source.tables[chosen[0]], TEXT, settings.text_column_name)
    others = {name: table for name, table in source.tables.items() if name not in (*chosen, "train")}
    unused = [] if "train" in chosen or "train" not in source.tables else ["train"]
    found = replace(
        source,
        tables={"train": _joined([source.tables[name] for name in chosen], column), **others},
        origin=source.origin if chosen == ["train"] else f"{source.origin}, trained on {'+'.join(chosen)}",
        columns=f", text column {column!r}",
        warnings=(*source.warnings, *(f"{source.origin}: splits not used: {name}" for name in unused)),
    )
    return found, column


def _joined(tables: list[Table], column: str) -> Table:
    """Returns the texts of several splits as those of one."""
    if len(tables) == 1:
        return tables[0]
    tables = [with_names_of(table, [column]) for table in tables]
    texts = [_texts(table, column) for table in tables]
    return Table(
        f"{tables[0].name} and {' and '.join(table.name.rpartition(' ')[2] for table in tables[1:])}",
        {column: pa.chunked_array([chunk for each in texts for chunk in each.chunks], pa.string())},
        places=[table.place(row) for table in tables for row in range(table.rows)],
        warnings=tuple(line for table in tables for line in table.warnings),
    )


def without_copies(source: Source, column: str) -> Source:
    """Leaves out texts of train that stand in the validation or test rows or came before, and tells how many.

    Texts of the validation rows that are tested on are left out too. All rows count, those as well that
    `--max_eval_samples` will leave out. Texts are compared as they are, byte by byte.

    Args:
        source: The tables.
        column: That of the texts.

    Raises:
        BadInput: No text is left to train on, or one is missing.
    """
    tables, warnings = dict(source.tables), list(source.warnings)
    standing: dict[str, tuple[str, Table, int]] = {}  # by text: where it stands
    for split in ("test", "validation", "train"):
        name = next((alias for alias in SPLIT_NAMES[split] if alias in tables), None)
        table = with_names_of(tables[name], [column]) if name else None
        if name is None or table is None or column not in table.columns:
            continue
        kept: list[int] = []
        copies: dict[str, list[tuple[int, str]]] = {}  # by the split that has the text
        own: dict[str, tuple[str, Table, int]] = {}
        for row, text in enumerate(_texts(table, column).to_pylist()):
            where = standing.get(text) or (own.get(text) if split == "train" else None)
            if where is None:
                kept.append(row)
                own.setdefault(text, (split, table, row))
            else:
                of, other, place = where
                copies.setdefault(of, []).append((row, other.place(place)))
        standing |= own
        for of, found in copies.items():
            first, first_place = found[0]
            also = "repeat an earlier one" if of == split else f"also stand in {of}"
            pair = f"{table.place(first)} = {first_place}"
            warnings.append(f"{len(found):,} {split} texts {also} and are left out (first: {pair})")
        if not kept:
            raise BadInput(f"{table.name}: every text also stands in another split; nothing is left")
        tables[name] = table.take(np.array(kept)) if copies else table
    return replace(source, tables=tables, warnings=tuple(warnings))


def _texts(table: Table, column: str) -> pa.ChunkedArray:
    if column not in table.columns:
        raise BadInput(f"{table.name} has no column {column!r}, as the first split has ({table.column_list})")
    return check_texts(table, column, keep_blank=True)[0]
