"""Says what to do with a table whose columns are classes."""

from typing import Any

import pyarrow as pa

from hftune.data.tables.read import Table
from hftune.errors import BadInput

_ROWS = 1000  # rows that are looked at
_ZERO_OR_ONE = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}


def refuse_one_hot(table: Table) -> None:
    """Raises `BadInput` with what to do where columns of 0 and 1 stand for the classes; else does nothing."""
    columns = {name: _zeros_and_ones(values) for name, values in table.columns.items()}
    classes = {name: values for name, values in columns.items() if values and 1 in values}
    if len(classes) < 2:
        return
    sums = [sum(row) for row in zip(*classes.values(), strict=True)]
    quoted = ", ".join(map(repr, list(classes)[:5])) + (", ..." if len(classes) > 5 else "")
    if max(sums) > 1:
        first = next(row for row, total in enumerate(sums) if total > 1)
        raise BadInput(
            f"{table.place(first)}: several of the columns {quoted} are 1; only one label a row can "
            "be learned. Is one of them the label? Name it with --label_column_name"
        )
    if min(sums) == 1:
        raise BadInput(
            f"{table.name} has no label column, but of {quoted} one is 1 in each row; make a label of them, "
            f"with pandas: table['label'] = table[[{quoted}]].idxmax(axis=1)"
        )


def _zeros_and_ones(values: pa.ChunkedArray | list[Any]) -> list[int] | None:
    """Returns the first values of a column as numbers, or nothing where others are among them."""
    head = values[:_ROWS] if isinstance(values, list) else values.slice(0, _ROWS).to_pylist()
    found = [_ZERO_OR_ONE.get(str(value).strip().casefold(), -1) for value in head]
    return None if -1 in found else found
