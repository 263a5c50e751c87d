"""Texts to learn word vectors from, as lists of words, without those that a model will be tested on."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from tqdm import tqdm

from hftune.data.columns import TEXT
from hftune.data.inputs import content_column
from hftune.data.sources import Source, find_source
from hftune.data.tables.file_text import read_bytes
from hftune.data.tables.read import LINES, SUFFIXES, Table, names_file, read_table
from hftune.data.text.read import lines_of, refuse_other_file, texts_of
from hftune.data.text.sample import load_sample
from hftune.data.text.vocabulary import word_splitter
from hftune.errors import BadInput, listed
from hftune.settings.text import TextSettings

TEST = "test"  # the split that is never read unasked


class Corpus(NamedTuple):
    """Texts cut into words.

    Args:
        texts: The words of each text, as the vocabularies of the small models have them.
        notes: Lines that say what was read, and what was left out.
        warnings: Lines to show to the user.
    """

    texts: list[list[str]]
    notes: list[str]
    warnings: list[str]


def read_corpus(
    source: str,
    *,
    splits: Sequence[str] = ("train",),
    holdout: Sequence[str] = (),
    column: str | None = None,
    config: str | None = None,
) -> Corpus:
    """Reads texts, and leaves out those whose words are the same as those of a text that is held out.

    Args:
        source: A file (.txt: one text a line; .csv, .tsv, .jsonl, .parquet: a column), a folder that
            `datasets` reads, a Hub id, or "sample".
        splits: Its splits to read; a file without a column that names splits is one, train.
        holdout: Further splits of it, or files, with texts to leave out. Those of a split "test" are left
            out unless it is one of `splits`.
        column: The column of texts; None: found by its usual names.
        config: Configuration of the Hub data set.

    Raises:
        BadInput: A file, a split or a column is missing, or no text is left; names file and row.
    """
    found = _find(source, column, config)
    for split in splits:
        if split not in found.tables:
            raise BadInput(
                f"--split {split}: {found.origin} has no such split (splits: {listed(found.tables)})"
            )
        if split in holdout:
            raise BadInput(f"--split and --holdout are both {split}; a text is either learned from or not")
    unasked = [TEST] if TEST in found.tables and TEST not in splits else []
    held = dict.fromkeys([*unasked, *holdout])
    known: dict[str, tuple[str, str]] = {}  # words of a held text -> what it is in, and its place
    for name in held:
        table = found.tables[name] if name in found.tables else _held_file(name, found)
        known |= {" ".join(words): (name, table.place(row)) for row, words in _cut(table, column)}
    texts: list[list[str]] = []
    left_out: Counter[str] = Counter()
    first = ""
    for split in splits:
        table = found.tables[split]
        for row, words in _cut(table, column):
            if twin := known.get(" ".join(words)):
                left_out[twin[0]] += 1
                first = first or f"{table.place(row)} = {twin[1]}"
            else:
                texts.append(words)
    sizes = ", ".join(f"{found.tables[split].rows:,} {split}" for split in splits)
    others = [split for split in found.tables if split not in splits]
    notes = [
        f"data: {found.origin}, text column {content_column(found.tables[splits[0]], TEXT, column)!r}",
        f"rows: {sizes}" + (f"; not read: {', '.join(others)}" if others else ""),
        *_note_of_held(held, left_out, first),
    ]
    if blank := sum(found.tables[split].rows for split in splits) - left_out.total() - len(texts):
        notes.append(f"rows without a word, left out: {blank:,}")
    if not texts:
        raise BadInput(f"{found.origin}: no text is left to learn from ({'; '.join(notes[2:])})")
    warnings = [*found.warnings, *(line for split in splits for line in found.tables[split].warnings)]
    return Corpus(texts, notes, list(dict.fromkeys(warnings)))


def _find(source: str, column: str | None, config: str | None) -> Source:
    if not names_file(source):
        settings = TextSettings(dataset_name=source, dataset_config_name=config, text_column_name=column)
        return find_source(settings, load_sample)
    if config:
        raise BadInput(f"--dataset_config_name {config}: {source} is a file, which has none")
    suffix = Path(source).suffix.lower()
    if suffix == LINES:
        table = _read_file(source)
        return Source({"train": table}, table.origin, files=True)
    if suffix not in SUFFIXES:
        refuse_other_file(source)
    return find_source(TextSettings(train_file=source, text_column_name=column), load_sample)


def _read_file(name: str) -> Table:
    if Path(name).suffix.lower() != LINES:
        return read_table(name)
    lines, notes = lines_of(name, read_bytes(name, (LINES,)), "one text a line")
    texts = pa.chunked_array([pa.array(lines, pa.string())])
    return Table(name, {"text": texts}, list(range(1, len(lines) + 1)), notes=notes)


def _held_file(name: str, found: Source) -> Table:
    if Path(name).suffix.lower() not in (LINES, *SUFFIXES):
        splits = listed(found.tables)
        raise BadInput(f"--holdout {name}: neither a split of {found.origin} (splits: {splits}) nor a file")
    return _read_file(name)


def _cut(table: Table, column: str | None) -> Iterator[tuple[int, list[str]]]:
    """Yields row and words of each text of a table that has some."""
    split = word_splitter()
    texts = texts_of(table, content_column(table, TEXT, column))
    for row, text in enumerate(tqdm(texts, desc=f"reading {table.name}", disable=None, leave=False)):
        # One string for all occurrences of a word: a list of ten million takes 80 MB then, not 600.
        words = [sys.intern(word) for word in split(text or "")]
        if words:
            yield row, words


def _note_of_held(held: dict[str, None], left_out: Counter[str], first: str) -> list[str]:
    """Returns the line that says how many texts were left out as they stand in what is held out."""
    if not held:
        return ["nothing is held out: texts that a model will be tested on may be among these (--holdout)"]
    if not left_out:
        return [f"held out: {', '.join(held)}; none of its texts stands among these"]
    counts = ", ".join(f"{count:,} in {name}" for name, count in left_out.items())
    return [f"texts left out, as they stand in what is held out too: {counts} (first: {first})"]
