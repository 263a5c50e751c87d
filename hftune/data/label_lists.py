"""From cells that hold several labels, or columns of 0 and 1, to rows of 0 and 1, alike in all splits."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from hftune.data.label_values import (
    MISSING_WORDS,
    canonical_label,
    is_number,
    label_name,
    quoted,
    written_collection,
)
from hftune.data.tables.table import Table
from hftune.errors import BadInput, listed

SEPARATORS = ("|", ";", ",")  # of labels in one cell; the first of them that train has
BITS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def join_columns(table: Table, column: str | None) -> Table:
    """Makes one column of lists of columns of 0 and 1, where `--label_column_name` names several: a,b,c.

    Raises:
        BadInput: A cell of them is neither 0 nor 1.
    """
    names = [name.strip() for name in (column or "").split(",")]
    if column is None or column in table.columns or len(names) < 2 or not {*names} <= {*table.columns}:
        return table
    lists: list[Any] = [[] for _ in range(table.rows)]
    for name in names:
        for row, value in enumerate(_cells(table, name)):
            bit = BITS.get(str(value).strip().casefold())
            if bit is None:
                raise BadInput(f"{table.place(row)}: column {name!r} is {quoted(value)}, expected 0 or 1")
            if bit:
                lists[row].append(name)
    others = {name: values for name, values in table.columns.items() if name not in names}
    return replace(table, columns={**others, column: lists})


def are_joined(table: Table, column: str) -> bool:
    """Returns whether a column is one that `join_columns` made."""
    names, cells = {name.strip() for name in column.split(",")}, table.columns[column]
    if len(names) < 2 or not isinstance(cells, list):
        return False
    return all(isinstance(cell, list) and names.issuperset(map(str, cell)) for cell in cells)


def first_several(table: Table, column: str) -> tuple[int, list[str]]:
    """Returns the first row whose cell is a list of several labels, and these.

    (0, []) where no cell is one, and where lists hold something else: a 0 or 1 for each class, or objects.
    """
    brought = table.class_names.get(column)
    lists = {row: held for row, cell in enumerate(_cells(table, column)) if (held := _list(cell)) is not None}
    values = [value for held in lists.values() for value in held]
    if any(isinstance(value, bool) or not isinstance(value, str | int | float) for value in values):
        return 0, []
    one_size = len({len(held) for held in lists.values()}) == 1
    if not brought and one_size and {str(value).strip() for value in values} <= BITS.keys():
        return 0, []
    row = next((row for row, held in lists.items() if len(held) > 1), 0)
    return row, _labels(lists[row], None, brought) if len(lists.get(row, ())) > 1 else []


def _list(cell: Any) -> Any:
    """Returns the list or set that a cell is or has in writing; None for any other."""
    held = written_collection(cell) if isinstance(cell, str) else cell
    return held if isinstance(held, list | tuple | set | frozenset) else None


def multi_hot(
    tables: Mapping[str, Table], column: str
) -> tuple[tuple[str, ...], dict[str, np.ndarray], list[str]]:
    """Reads the labels of each row: a list, a text such as "a|b" or '["a", "b"]', or one label.

    Args:
        tables: Tables by split; "train" is one of them.
        column: The label column. Names that the data bring are kept in their order, others are sorted; an
            empty or missing cell is a row without labels.

    Returns:
        The C names, rows of 0 and 1 by split (float32 (N, C)), and warnings.

    Raises:
        BadInput: A label is not in train, is spelt in two ways, or there are fewer than two.
    """
    train = tables["train"]
    cells = {split: _cells(table, column) for split, table in tables.items()}
    separator = _separator(cells["train"])
    brought = train.class_names.get(column)
    rows = {split: [_labels(cell, separator, brought) for cell in found] for split, found in cells.items()}
    present = {name for labels in rows["train"] for name in labels}
    _check(train, column, present)
    numbers = all(map(is_number, present))
    names = brought or sorted(present, key=(lambda name: float(name)) if numbers else None)
    number = {name: place for place, name in enumerate(names)}
    targets = {}
    for split, table in tables.items():
        targets[split] = np.zeros((len(rows[split]), len(names)), np.float32)
        for row, labels in enumerate(rows[split]):
            for name in labels:
                if name not in present:
                    problem = f"label {quoted(name)} does not occur in {train.name}"
                    raise BadInput(f"{table.place(row)}: {problem}, so it cannot be learned")
                targets[split][row, number[name]] = 1
    none = np.flatnonzero(~targets["train"].any(1))
    first = f" (first: {train.place(int(none[0]))})" if len(none) else ""
    warnings = [f"{train.name}: {len(none):,} rows have no label{first}"] if len(none) else []
    if missing := [name for name in names if name.casefold() in MISSING_WORDS]:
        row = next(number for number, labels in enumerate(rows["train"]) if missing[0] in labels)
        warnings.append(
            f'label {quoted(missing[0])} (first: {train.place(row)}) is what tools write for "missing", '
            "and is taken as a label; if it is none, leave its cells empty"
        )
    if absent := [name for name in names if name not in present]:
        warnings.append(f"{train.name}: no row has the label {listed(absent)}")
    return tuple(names), targets, warnings


def match_lists(table: Table, column: str, names: tuple[str, ...]) -> np.ndarray:
    """Reads the labels of each row for a model that knows them by name, float32 (N, C) of 0 and 1.

    Args:
        table: Labelled rows.
        column: The label column, written as for `multi_hot`.
        names: The model's C labels.

    Raises:
        BadInput: The model does not know a label.
    """
    cells, brought = _cells(table, column), table.class_names.get(column)
    separator = _separator(cells)
    targets = np.zeros((len(cells), len(names)), np.float32)
    for row, cell in enumerate(cells):
        for name in _labels(cell, separator, brought):
            if name not in names:
                unknown = f"the model knows no label {quoted(name)} (it knows {listed(names)})"
                raise BadInput(f"{table.place(row)}: {unknown}")
            targets[row, names.index(name)] = 1
    return targets


def _separator(cells: list[Any]) -> str | None:
    texts = [cell for cell in cells if isinstance(cell, str) and written_collection(cell) is None]
    return next((sign for sign in SEPARATORS if any(sign in text for text in texts)), None)


def _cells(table: Table, column: str) -> list[Any]:
    values = table.columns[column]
    return values if isinstance(values, list) else values.to_pylist()


def _labels(cell: Any, separator: str | None, brought: list[str] | None) -> list[str]:
    """Returns the names of one cell's labels."""
    if isinstance(cell, str):
        held = written_collection(cell)
        cell = (cell.split(separator) if separator else [cell]) if held is None else held
    values = cell if isinstance(cell, (list, tuple, set, frozenset)) else [cell]
    known = [value for value in values if value is not None and value == value and str(value).strip()]
    return [_name(value, brought) for value in known]


def _name(value: Any, brought: list[str] | None) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return brought[value] if brought and whole and 0 <= value < len(brought) else label_name(value)


def _check(train: Table, column: str, present: set[str]) -> None:
    """Raises `BadInput` for fewer than two labels, ids, and labels that look alike."""
    if len(present) < 2:
        raise BadInput(f"{train.name}: {len(present)} labels (column {column!r}); training needs two or more")
    if len(present) > 100 and 2 * len(present) > train.rows:
        raise BadInput(
            f"{train.name}: {len(present):,} different labels in {train.rows:,} rows are not labels to learn "
            f"(column {column!r}); name the label column with --label_column_name"
        )
    seen: dict[str, str] = {}
    for name in sorted(present):
        other = seen.setdefault(canonical_label(name), name)
        if other != name:
            raise BadInput(
                f"{train.name}: labels {quoted(other)} and {quoted(name)} (column {column!r}) look alike; "
                "write both alike"
            )
