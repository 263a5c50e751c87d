"""Reads files with a word and its tag on each line and an empty line after each sentence (CoNLL).

    EU      NNP  B-NP  B-ORG
    rejects VBZ  B-VP  O

The first column is the word, the last one its tag, as in the shared tasks of CoNLL. Lines of `-DOCSTART-` and
comments (`# id = 1`) are no words. Columns are separated by tabs where the first line has one, else by
blanks.
"""

import io
import re

import pyarrow as pa

from hftune.data.tables.table import Table
from hftune.errors import BadInput

SUFFIXES = (".conll", ".iob", ".iob2", ".bio", ".bioes")
DOCUMENT = "-DOCSTART-"
COMMENT = re.compile(r"#\s")  # a line that begins with it and has not the usual number of columns


def read_conll(name: str, text: str, notes: tuple[str, ...] = ()) -> Table:
    """Reads sentences into the columns `tokens` and `tags`, lists of equal length.

    Args:
        name: The file.
        text: What it holds.
        notes: How it was decoded, if not in the usual way.

    Returns:
        A row for each sentence; the line of a row is that of its first word.

    Raises:
        BadInput: A line has another number of columns than the first one, or only one; the line is named.
    """
    sentences: list[list[tuple[str, str]]] = [[]]
    lines: list[int] = []
    separator, columns, first = None, 0, 0
    for number, raw in enumerate(io.StringIO(text, newline=None), start=1):
        line = raw.rstrip("\n")
        if not line.strip():
            if sentences[-1]:
                sentences.append([])
            continue
        if not columns:
            separator = "\t" if "\t" in line else None
        cells = line.rstrip("\r").split(separator) if separator else line.split()
        if cells[0] == DOCUMENT or (COMMENT.match(line) and len(cells) != columns):
            continue
        if not columns:
            columns, first = len(cells), number
            if columns < 2:
                raise BadInput(f"{name} line {number}: one column; expected a word and, last, its tag")
        if len(cells) != columns or not cells[0].strip() or not cells[-1].strip():
            raise BadInput(
                f"{name} line {number}: {len(cells)} columns, but line {first} has {columns}; each line has "
                "a word first and its tag last"
            )
        if not sentences[-1]:
            lines.append(number)
        sentences[-1].append((cells[0].strip(), cells[-1].strip()))
    found = [sentence for sentence in sentences if sentence]
    if not found:
        raise BadInput(f"{name} holds no words; expected a word and its tag on each line")
    tokens, tags = ([[pair[place] for pair in sentence] for sentence in found] for place in (0, 1))
    if columns > 2:
        notes = (*notes, f"tags of the last of {columns} columns")
    return Table(
        name,
        {"tokens": pa.chunked_array([pa.array(tokens)]), "tags": pa.chunked_array([pa.array(tags)])},
        lines,
        notes=notes,
    )
