"""Where rows to classify came from: their places, and what else stood in their tables."""

from collections.abc import Callable, Iterable
from typing import Any


class Origins:
    """Collects the places of rows, source by source, in their order.

    Attributes:
        rows: The number of each within its file, from 0.
        places: What each is called, such as "new.csv line 17".
        columns: The other columns of the tables by name; "" where a row has none.
    """

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.places: list[str] = []
        self.columns: dict[str, list[Any]] = {}

    def add(
        self, rows: Iterable[int], place: Callable[[int], str], columns: dict[str, Any] | None = None
    ) -> None:
        """Adds the rows of one source.

        Args:
            rows: Their numbers in the source.
            place: Says where the row of a number stands.
            columns: Columns of the whole source, Arrow's or lists, by name.
        """
        before, chosen = len(self.rows), list(rows)
        self.rows += chosen
        self.places += map(place, chosen)
        for name, values in (columns or {}).items():
            listed = values if isinstance(values, list) else values.to_pylist()
            cells = self.columns.setdefault(name, [""] * before)
            cells += ("" if listed[row] is None else listed[row] for row in chosen)
        for cells in self.columns.values():
            cells += [""] * (len(self.rows) - len(cells))
