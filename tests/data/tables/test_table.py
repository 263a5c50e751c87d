"""What a table advises where no column is what is looked for."""

import pyarrow as pa
import pytest

from hftune.data.tables.table import Table


def table(name: str, columns: dict[str, list]) -> Table:
    return Table(name, {key: pa.chunked_array([pa.array(values)]) for key, values in columns.items()})


@pytest.mark.parametrize(
    ("columns", "advice"),
    [
        ({"id": [1], "data": [{"text": "a"}]}, """; data hold objects: write what is in them as columns, """),
        ({f"pixel{n}": ["0"] for n in range(784)}, "; 784 columns hold numbers, as of images with one col"),
        ({"I loved it": ["so so"], "1": ["0"]}, "; is the header line missing?"),
        ({"title": ["so so"], "note": ["0"]}, ""),
    ],
)  # fmt: skip
def test_advice_fits_what_the_columns_hold(columns, advice):
    assert table("x.jsonl" if "data" in columns else "x.csv", columns).advice[: len(advice) or None] == advice
    assert len(table("x.csv", columns).column_list) < 100


def test_objects_of_a_parquet_file_may_be_images():
    assert table("x.parquet", {"image": [{"bytes": b"", "path": "a.png"}], "id": [1]}).advice == ""


def test_only_files_with_a_header_line_can_lack_it():
    columns = {"I loved it": ["so so"], "1": ["0"]}
    assert table("x.jsonl", columns).advice == table("x.parquet", columns).advice == ""
