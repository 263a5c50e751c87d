"""From a table to its tagged words, whatever form it has them in.

* A column of words and one of tags, names or ids: sets of the Hub, CoNLL files, parquet.
* A text and the marked pieces of it: json lines of Doccano, Prodigy, spaCy and Label Studio.

What comes out has the columns `TEXT` and `TAGS`, or `WORDS` where there are no tags; the rest of hftune knows
no other form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from hftune.data.columns import kind_of
from hftune.data.sources import Source
from hftune.data.tables.table import Table
from hftune.data.tokens.spans import Marked, read_marks, tag_words
from hftune.data.tokens.tagged import TaggedText
from hftune.errors import BadInput, listed, shown

TEXT, TAGS, WORDS = "text", "tags", "words"  # of the tables that are made here
WORDS_NAMES = ("tokens", "words")
TAGS_NAMES = ("ner_tags", "tags", "ner", "labels", "label", "tag")
MARKS_NAMES = ("spans", "entities", "label", "labels")

_Read = Callable[[int], tuple[TaggedText | None, list[Marked]]]


def tagged_source(source: Source, words: str | None, tags: str | None) -> Source:
    """Reads the words and tags of every split.

    Args:
        source: What was found.
        words: The column of words or texts; None: found by its usual names.
        tags: The column of tags or marks; None: likewise.

    Raises:
        BadInput: A row cannot be used; names it.
    """
    used = ""
    tables = {}
    for split, table in source.tables.items():
        first, second = find_columns(table, words, tags)
        used = used or (f", columns {first!r} and {second!r}" if second else "")
        tables[split] = tagged_table(table, first, second)
    return replace(source, tables=tables, columns=used)


def find_columns(table: Table, words: str | None, tags: str | None) -> tuple[str, str | None]:
    """Returns the columns of words (or texts) and of tags (or marks); None where there are no tags.

    Raises:
        BadInput: A given name is missing, or no column holds words.
    """
    for given, flag in ((words, "text"), (tags, "label")):
        if given is not None and given not in table.columns:
            raise BadInput(
                f"{table.name} has no column {given!r} (--{flag}_column_name); {table.column_list}"
            )
    if words is None and _is_label_studio(table):
        return "data", "annotations"
    if words is None:
        words = next(
            (name for name in WORDS_NAMES if name in table.columns and not _objects(table, name)), None
        )
    if words is None:
        words = next((name for name in ("text", "sentence") if name in table.columns), None)
    if words is None:
        raise BadInput(
            f"{table.name} has no column of words ({', '.join(WORDS_NAMES)}) or text; name it with "
            f"--text_column_name ({table.column_list})"
        )
    if words in WORDS_NAMES and not _holds_lists(table, words):
        raise BadInput(
            f"{table.name}: column {words!r} holds {kind_of(_first(table, words))}, not lists of words; "
            "write the rows as json lines, parquet or CoNLL"
        )
    if tags is None:
        names = TAGS_NAMES if _holds_lists(table, words) else MARKS_NAMES
        tags = next((name for name in names if name in table.columns and name != words), None)
    return words, tags


def tagged_table(table: Table, words: str, tags: str | None) -> Table:
    """Reads a table's words and tags; a row without any word is left out.

    Args:
        table: The rows.
        words: The column of words or texts.
        tags: The column of tags or marks; None: there are none.

    Returns:
        A table with the columns `TEXT`, strings, and `TAGS` or else `WORDS`, each a list of `TaggedText`.

    Raises:
        BadInput: A row cannot be used; names it.
    """
    read = _reader(table, words, tags)
    found: list[TaggedText] = []
    kept: list[int] = []
    empty: list[int] = []
    unmarked: list[int] = []
    snapped: list[tuple[int, Marked]] = []
    for row in range(table.rows):
        sentence, moved = read(row)
        if sentence is None:
            unmarked.append(row)
        elif not len(sentence):
            empty.append(row)
        else:
            found.append(sentence)
            kept.append(row)
            snapped += [(row, mark) for mark in moved]
    if not found:
        raise BadInput(f"{table.name} has no row with a word")
    warnings = list(table.warnings)
    for rows, what in ((empty, "have no word"), (unmarked, "are not annotated yet")):
        if rows:
            warnings.append(
                f"{table.name}: {len(rows):,} rows {what} and are left out (first: {table.place(rows[0])})"
            )
    if snapped:
        row, mark = snapped[0]
        warnings.append(
            f"{table.name}: {len(snapped):,} marks begin or end inside a word and were widened to whole "
            f"words (first: {table.place(row)}, [{mark.start}, {mark.end}, {mark.label!r}])"
        )
    texts = pa.chunked_array([pa.array([sentence.text for sentence in found], pa.string())])
    return Table(
        table.name,
        {TEXT: texts, TAGS if tags else WORDS: found},
        None if table.lines is None else [table.lines[row] for row in kept],
        {TAGS: names} if (names := table.class_names.get(tags or "")) else {},
        places=[table.place(row) for row in kept],
        notes=table.notes,
        warnings=tuple(warnings),
        taken=table.of_user(np.array(kept, np.int64)),
    )


def _reader(table: Table, words: str, tags: str | None) -> _Read:
    if words == "data" and tags == "annotations":
        return _label_studio(table)
    if _holds_lists(table, words):
        return _of_words(table, words, tags)
    return _of_marks(table, words, tags)


def _of_words(table: Table, words: str, tags: str | None) -> _Read:
    every, given = _cells(table, words), None if tags is None else _cells(table, tags)
    names = table.class_names.get(tags or "")

    def read(row: int) -> tuple[TaggedText, list[Marked]]:
        cell = every[row]
        if cell is None:
            cell = []
        odd = next((word for word in cell if not isinstance(word, str)), None)
        if odd is not None:
            raise BadInput(f"{table.place(row)}: column {words!r} holds {kind_of(odd)}, not words")
        if given is None:
            return TaggedText.of_words(list(cell)), []
        of_row = given[row]
        if not isinstance(of_row, (list, tuple)):
            raise BadInput(f"{table.place(row)}: column {tags!r} holds {kind_of(of_row)}, not a list of tags")
        if len(of_row) != len(cell):
            raise BadInput(
                f"{table.place(row)}: {len(cell):,} words (column {words!r}), but {len(of_row):,} tags "
                f"(column {tags!r})"
            )
        try:
            return TaggedText.of_words(list(cell), tuple(_tag_name(tag, names) for tag in of_row)), []
        except ValueError as problem:
            raise BadInput(f"{table.place(row)}: {problem} (column {tags!r})") from None

    return read


def _tag_name(tag: Any, names: list[str] | None) -> str:
    if isinstance(tag, str) and tag.strip():
        return tag.strip()
    if isinstance(tag, int) and not isinstance(tag, bool):
        if names is None:
            return str(tag)
        if 0 <= tag < len(names):
            return names[tag]
        raise ValueError(f"tag {tag} is no id of the {len(names)} tags")
    raise ValueError(f"a tag is {shown(repr(tag))}, not a name or an id")


def _of_marks(table: Table, text: str, marks: str | None) -> _Read:
    texts = _cells(table, text)
    given = [None] * table.rows if marks is None else _cells(table, marks)
    words = _cells(table, "tokens") if "tokens" in table.columns else [None] * table.rows

    def read(row: int) -> tuple[TaggedText | None, list[Marked]]:
        return _tagged(table, row, texts[row], given[row], _offsets(words[row]))

    return read


def _label_studio(table: Table) -> _Read:
    documents, annotations = _cells(table, "data"), _cells(table, "annotations")

    def read(row: int) -> tuple[TaggedText | None, list[Marked]]:
        done = [one for one in annotations[row] or [] if not one.get("was_cancelled")]
        if not done:
            return None, []
        texts = [value for value in documents[row].values() if isinstance(value, str)]
        text = documents[row].get("text", texts[0] if len(texts) == 1 else None)
        marks = [one for one in done[0].get("result") or [] if (one.get("type") or "labels") == "labels"]
        return _tagged(table, row, text, marks, None)

    return read


def _tagged(
    table: Table, row: int, text: Any, marks: Any, words: list[tuple[int, int]] | None
) -> tuple[TaggedText, list[Marked]]:
    if not isinstance(text, str):
        raise BadInput(f"{table.place(row)}: the text is {kind_of(text)}, not a string")
    try:
        return tag_words(text, read_marks(marks), words)
    except ValueError as problem:
        raise BadInput(f"{table.place(row)}: {problem}") from None


def _offsets(tokens: Any) -> list[tuple[int, int]] | None:
    """Returns where the words begin and end that Prodigy cut a text into."""
    if not tokens or not all(isinstance(one, Mapping) and {"start", "end"} <= one.keys() for one in tokens):
        return None
    return [(one["start"], one["end"]) for one in tokens]


def _is_label_studio(table: Table) -> bool:
    return {"data", "annotations"} <= set(table.columns)


def _cells(table: Table, column: str) -> list[Any]:
    values = table.columns[column]
    return values if isinstance(values, list) else values.to_pylist()


def _first(table: Table, column: str) -> Any:
    values = table.columns[column]
    cells = values if isinstance(values, list) else values.slice(0, 100).to_pylist()
    return next((cell for cell in cells if cell is not None), None)


def _holds_lists(table: Table, column: str) -> bool:
    return isinstance(_first(table, column), (list, tuple))


def _objects(table: Table, column: str) -> bool:
    first = _first(table, column)
    return bool(first) and isinstance(first, (list, tuple)) and isinstance(first[0], dict)


def holds_words(table: Table, words: str | None) -> bool:
    """Returns whether a table has a column of lists of words: the one that is named, or a usual one."""
    names = [words] if words else [name for name in WORDS_NAMES if name in table.columns]
    return any(name in table.columns and _holds_lists(table, name) for name in names)


def refuse_without_tags(source: Source) -> None:
    """Raises `BadInput` where the training table has no tags."""
    if not source.columns:
        table = source.train
        raise BadInput(
            f"{table.name} has no column of tags ({', '.join(TAGS_NAMES)}) or marks "
            f"({', '.join(MARKS_NAMES)}); name it with --label_column_name ({listed(table.columns)})"
        )
