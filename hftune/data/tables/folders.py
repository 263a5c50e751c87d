"""Reads a folder of tables: which file is which split, by the names of files or of their folders."""

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from hftune.data.columns import with_names_of
from hftune.data.split_names import (
    SPLITS,
    UNCLEAR,
    find_splits,
    is_split_elsewhere,
    mentions_split,
    split_of_name,
    without_common_words,
)
from hftune.data.tables.read import SUFFIXES, Table, read_table
from hftune.errors import BadInput, listed

_BY_DATASETS = (
    ".arrow",
    ".gz",
    ".zip",
    ".tar",
    ".bz2",
    ".xz",
    ".zst",
    ".webdataset",
    ".h5",
    ".lance",
    ".xml",
)
_NOT_READ = (".xlsx", ".xls", ".ods", ".txt", ".feather", ".pkl", ".orc", ".avro", ".db")
_SHARD = re.compile(r"-\d+-of-\d+.*")
_ADVICE = "call the files train, validation and test, or pass each with its flag, such as --test_file"


class Files(NamedTuple):
    """The files of a folder by split, and warnings about those that are not used."""

    splits: dict[str, list[str]]
    warnings: list[str]


def find_files(name: str) -> Files | None:
    """Sorts the tables of a folder into splits.

    A file is a split by its own name or by that of the folder it is in; words that all names share do not
    count, so that reviews_train.csv and reviews_test.csv are two splits. Numbered files of one name are one
    split. Where no name means a split, all files are train. A folder around all others is looked into.

    Args:
        name: The folder as the user wrote it.

    Returns:
        None where it holds no tables, or what only `datasets` reads: a card with configurations, a saved
        data set, archives, images with a metadata file.

    Raises:
        BadInput: A name means a split, but not which, or two names mean the same.
    """
    root = Path(name).expanduser()
    if _is_for_datasets(root):
        return None
    here = _tables_in(root)
    below = {
        path.name: files
        for path in sorted(root.iterdir())
        if path.is_dir() and not _is_hidden(path)
        if (files := sorted(file for inner in _walk(path) for file in _tables_in(inner)))
    }
    if not here and len(below) == 1 and not find_splits(below):
        return find_files(os.path.join(name, *below))
    if here:
        splits, rest = _sort(name, {str(path): _SHARD.sub("", path.stem) for path in here})
        rest += [str(root / folder) for folder in below]
        if folders := [f for f in below if mentions_split(f) or is_split_elsewhere(f)]:
            raise BadInput(f"{name} holds files and the folder {folders[0]}, which means a split; {_ADVICE}")
    elif below:
        found, rest = _sort(name, {str(root / folder): folder for folder in below})
        splits = {
            split: [str(file) for folder in folders for file in below[Path(folder).name]]
            for split, folders in found.items()
        }
    else:
        return None
    shown = {split: [_shown(name, root, path) for path in paths] for split, paths in splits.items()}
    left = [os.path.relpath(path, root) for path in rest]
    warnings = [f"{name}: not used, as their names mean no split: {listed(left)}"] if left else []
    unread = [path for path in sorted(root.iterdir()) if path.suffix.lower() in _NOT_READ]
    if others := [path.name for path in unread if mentions_split(path.stem) and not _is_hidden(path)]:
        warnings.append(f"{name}: not read, as they are no {', '.join(SUFFIXES)}: {listed(others)}")
    return Files(shown, warnings)


def read_files(files: Files) -> dict[str, Table]:
    """Reads the files of each split, one below the other.

    Raises:
        BadInput: A file cannot be read, or those of one split differ in their classes.
    """
    return {split: joined([read_table(path) for path in paths]) for split, paths in files.splits.items()}


def _shown(name: str, root: Path, path: str) -> str:
    return os.path.join(name, os.path.relpath(path, root))


def _is_hidden(path: Path) -> bool:
    return path.name.startswith((".", "__"))


def _walk(folder: Path) -> list[Path]:
    below = [path for path in sorted(folder.iterdir()) if path.is_dir() and not _is_hidden(path)]
    return [folder, *(inner for path in below for inner in _walk(path))]


def _tables_in(folder: Path) -> list[Path]:
    paths = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES)
    return [path for path in paths if not _is_hidden(path) and path.is_file()]


def is_configured(root: Path) -> bool:
    """Returns whether a folder's card says which files are which split, as those of Hub data sets do."""
    try:
        card = (root / "README.md").read_bytes()
    except OSError:
        return False
    head = re.match(rb"---\s*\n(.*?)\n---", card, re.DOTALL)
    return bool(head and re.search(rb"^(configs|data_files):", head[1], re.MULTILINE))


def _is_for_datasets(root: Path) -> bool:
    if is_configured(root):
        return True
    files = [path for folder in _walk(root) for path in folder.iterdir() if path.is_file()]
    saved = {"dataset_dict.json", "dataset_info.json", "state.json"}
    return any(
        path.name in saved or path.stem == "metadata" or path.suffix.lower() in _BY_DATASETS for path in files
    )


def _sort(name: str, names: dict[str, str]) -> tuple[dict[str, list[str]], list[str]]:
    """Returns paths by split, and those that mean none; `names` are what counts of each path."""
    plain = dict(zip(names, without_common_words(names.values()), strict=True))
    found = find_splits(dict.fromkeys(plain.values()))
    splits = {split: [path for path in plain if plain[path] in words] for split, words in found.items()}
    rest = [path for path in plain if not any(path in paths for paths in splits.values())]
    elsewhere = [path for path in rest if is_split_elsewhere(plain[path])] if len(plain) > 1 else []
    unclear = splits.pop(UNCLEAR, []) + [path for path in rest if mentions_split(plain[path])] + elsewhere
    if len(plain) == 1 and unclear and unclear == rest and _is_train_alone(*plain.values()):
        return {"train": rest}, []
    if unclear:
        raise BadInput(
            f"{name}: the name of {os.path.basename(unclear[0])} means a split, but not which; {_ADVICE}"
        )
    for split, paths in splits.items():
        kinds = {(re.sub(r"[\W\d_]+", "", plain[path].casefold()), Path(path).suffix): path for path in paths}
        if len(kinds) > 1:
            first, second = (os.path.basename(path) for path in [*kinds.values()][:2])
            raise BadInput(f"{name}: {first} and {second} are both the {split} split; remove one")
    if not splits:
        return {"train": rest}, []
    return {split: splits[split] for split in SPLITS if split in splits}, rest


def _is_train_alone(name: str) -> bool:
    """Tells whether the only split that a name's words mean is train, as in "reviews train small"."""
    return {split_of_name(word) for word in name.split()} - {None} == {"train"}


def joined(tables: list[Table]) -> Table:
    """Returns the rows of some tables, one below the other, under the columns that all of them have.

    Raises:
        BadInput: They differ in their classes, or share no columns.
    """
    first = tables[0]
    if len(tables) == 1:
        return first
    for other in tables[1:]:
        if other.class_names != first.class_names:
            raise BadInput(f"{other.name} has other classes than {first.name}; make them alike")
    tables = [first, *(with_names_of(other, first.columns) for other in tables[1:])]
    columns = [column for column in first.columns if all(column in table.columns for table in tables)]
    apart = [column for column in first.columns if column not in columns]
    if apart and len(columns) < 2:
        other = min(tables, key=lambda table: len({*first.columns} & {*table.columns}))
        lacking = next(column for column in first.columns if column not in other.columns)
        raise BadInput(
            f"{other.name} has no column {lacking!r}, but {first.name} has; name the columns alike "
            f"({other.column_list})"
        )
    warnings = [line for table in tables for line in table.warnings]
    if apart:
        warnings.append(f"{first.name}: not read, as other files of the split lack them: {listed(apart)}")
    return replace(
        first,
        warnings=tuple(dict.fromkeys(warnings)),
        columns={column: _below([table.columns[column] for table in tables]) for column in columns},
        lines=None,
        places=[table.place(row) for table in tables for row in range(table.rows)],
    )


def _below(parts: list[pa.ChunkedArray | list[Any]]) -> pa.ChunkedArray | list[Any]:
    arrow = [part for part in parts if not isinstance(part, list)]
    if len(arrow) == len(parts) and len({part.type for part in arrow}) == 1:
        return pa.chunked_array([chunk for part in arrow for chunk in part.chunks], arrow[0].type)
    return [value for part in parts for value in (part if isinstance(part, list) else part.to_pylist())]
