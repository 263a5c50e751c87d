"""The one door to a file of rows: csv, tsv, json, parquet or CoNLL, decided by its ending.

Rules of reading, each with its reason, stand where they are kept: what is a file and what is text in
`file_text`, csv and tsv in `csv` and `csv_quotes`, json in `json`, words with tags in `conll`. For all of
them: nothing is guessed that could shift or merge values in silence, whole numbers stay whole numbers, and
what was read in another way than the usual one is said.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hftune.data.tables import conll
from hftune.data.tables.csv import read_csv
from hftune.data.tables.file_text import decode_text, read_bytes, refuse_other_contents
from hftune.data.tables.json import read_json
from hftune.data.tables.table import Table
from hftune.errors import BadInput, listed, shown

__all__ = ["LINES", "SUFFIXES", "Table", "class_names", "names_file", "read_table", "refuse_duplicates"]

LINES = ".txt"  # one text a line: no table, but a file of rows as well
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", *conll.SUFFIXES)


def read_table(name: str, *, keep_blank: bool = False) -> Table:
    """Reads a file by its extension.

    Args:
        name: Path of a .csv, .tsv, .jsonl (one object a line), .json (lines as well, an array of objects, or
            one object with them under one key), .parquet or CoNLL file (.conll, .iob, ...); `~` is the home
            folder. Messages name it as it is written here.
        keep_blank: Keep rows of csv and tsv without content that others follow, as where each row is to be
            answered.

    Returns:
        The table; csv and tsv cells are strings, empty ones missing.

    Raises:
        BadInput: The file is missing, not what its name says, or has a row that cannot be read.
    """
    data = read_bytes(name, SUFFIXES)
    suffix = Path(name).suffix.lower()
    refuse_other_contents(name, suffix, data)
    if suffix == ".parquet":
        return _read_parquet(name, data)
    text, notes = decode_text(name, data)
    if suffix.startswith(".json"):
        return read_json(name, text, notes)
    if suffix in conll.SUFFIXES:
        return conll.read_conll(name, text, notes)
    return read_csv(name, text, "\t" if suffix == ".tsv" else ",", notes, keep_blank=keep_blank)


def names_file(source: str) -> bool:
    """Says whether a source is a file, or is called like one of rows, and so no folder or Hub id."""
    return os.path.isfile(os.path.expanduser(source)) or source.lower().endswith((LINES, *SUFFIXES))


def _read_parquet(name: str, data: bytes) -> Table:
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        refuse_duplicates(name, file.schema_arrow.names)
        table = file.read()
        table.validate(full=True)  # Arrow itself does not look whether strings are UTF-8
    except (pa.ArrowException, OSError) as error:
        reason = shown(str(error).splitlines()[0], 200)
        raise BadInput(f"{name} is a damaged parquet file; write or download it again ({reason})") from None
    if not table.num_rows:
        raise BadInput(f"{name} has columns ({listed(table.column_names)}) but no rows")
    return Table(
        name, dict(zip(table.column_names, table.columns, strict=True)), None, class_names(table.schema)
    )


def refuse_duplicates(name: str, columns: Iterable[str]) -> None:
    """Raises `BadInput` where two columns of a file have one name."""
    seen: set[str] = set()
    for column in columns:
        if column in seen:
            raise BadInput(f"{name} has two columns called {shown(column)!r}; rename one")
        seen.add(column)


def class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Returns the class names that `datasets` stores beside the columns of its parquet files."""
    stored = (schema.metadata or {}).get(b"huggingface")
    features = json.loads(stored).get("info", {}).get("features", {}) if stored else {}
    of_cells = {
        column: feature.get("feature", feature)  # of a list, that of its elements
        for column, feature in features.items()
        if isinstance(feature, dict)
    }
    return {
        column: feature["names"]
        for column, feature in of_cells.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
