"""Row groups: ids and places, an order that reads each group once, and files that cannot be read."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hftune.data.tables.row_groups import AT_ONCE, RowGroups, groups_at_once, mixed_order
from hftune.errors import BadInput


def write(name: str, columns: dict, rows: int = 3, **options) -> None:
    pq.write_table(pa.table(columns), name, row_group_size=rows, **options)


def groups_of(*names: str) -> RowGroups:
    return RowGroups({name: name for name in names})


@pytest.fixture
def two_files(here):
    """Files of 7 and 5 rows in groups of 3; each text says where it stands."""
    for name, rows in (("a.parquet", 7), ("b.parquet", 5)):
        texts = [f"{name} row {row}" for row in range(rows)]
        write(name, {"text": texts, "label": [row % 2 for row in range(rows)], "extra": [0.5] * rows})
    return groups_of("a.parquet", "b.parquet")


def test_an_id_says_the_place_and_the_group_of_a_row(two_files):
    assert len(two_files) == 12
    assert two_files.starts.tolist() == [0, 3, 6, 7, 10, 12]
    for row in range(12):
        group = two_files.group_of(row)
        text = two_files.read(group, ["text"])["text"][row - int(two_files.starts[group])].as_py()
        assert text == two_files[row]
    assert two_files.name == "a.parquet and 1 more"


def test_columns_are_read_by_name_and_equal_texts_are_held_once(two_files, here):
    assert two_files.read(0, ["label", "text"]).column_names == ["label", "text"]
    table = two_files.table(["label"])
    assert table.columns["label"].to_pylist() == [0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0]
    assert table.place(8) == "b.parquet row 1"
    write("words.parquet", {"label": ["".join(["p", "os"]), None, "neg", "pos", "pos"]})
    words = groups_of("words.parquet").table(["label"]).columns["label"]
    assert words == ["pos", None, "neg", "pos", "pos"]
    assert words[0] is words[3] is words[4]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 5), st.integers(0, 3))
def test_an_epoch_has_every_row_once_and_a_window_few_groups(sizes, window, epoch):
    starts = np.concatenate([[0], np.cumsum(sizes)])
    order = mixed_order(starts, window, 42, epoch)
    assert sorted(order) == list(range(sum(sizes)))
    of_row = np.searchsorted(starts, order, side="right") - 1
    held: list[int] = []  # those that were asked for last
    reads = 0
    for group in of_row.tolist():
        reads += group not in held
        held = [group, *(other for other in held if other != group)][:window]
    assert reads == np.count_nonzero(sizes)


def test_epochs_and_seeds_differ_and_an_address_does_not():
    starts = np.arange(0, 101, 10)
    orders = [mixed_order(starts, 3, seed, epoch).tolist() for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    assert len(set(map(tuple, orders))) == 3
    assert orders[0] == mixed_order(starts, 3, 1, 0).tolist()
    first = orders[0][:30]  # the first window
    assert len({row // 10 for row in first}) == 3
    assert any(abs(a - b) > 9 for a, b in pairwise(first))  # and its rows are mixed


@pytest.mark.parametrize(("size", "window"), [(AT_ONCE, 2), (AT_ONCE // 5, 5), (1, 100), (0, 100)])
def test_what_is_held_together_is_bounded(size, window):
    assert groups_at_once(np.full(100, size)) == window


def test_missing_texts_are_named_by_the_footers(here):
    write("a.parquet", {"text": ["one", "two", "three", "four", None, None]})
    with pytest.raises(
        BadInput, match=r"a.parquet row 4: the text \(column 'text'\) is missing \(and 1 more\)"
    ):
        groups_of("a.parquet").refuse_missing("text")
    write("b.parquet", {"text": ["one"], "other": [None]})
    groups_of("b.parquet").refuse_missing("text")


def test_files_that_cannot_be_streamed(here):
    write("a.parquet", {"text": ["one"], "label": [1]})
    write("b.parquet", {"text": ["one"], "label": ["x"]})
    write("c.parquet", {"text": ["one"]})
    write("empty.parquet", {"text": pa.array([], pa.string())})
    (here / "torn.parquet").write_bytes(b"PAR1 no more")
    (here / "rows.csv").write_text("text,label\n")
    for names, problem in {
        ("rows.csv",): r"reads parquet, not rows.csv",
        ("gone.parquet",): r"gone.parquet does not exist",
        ("torn.parquet",): r"torn.parquet is a damaged parquet file",
        ("empty.parquet",): r"empty.parquet has columns \(text\) but no rows",
    }.items():
        with pytest.raises(BadInput, match=problem):
            groups_of(*names)
    with pytest.raises(BadInput, match=r"b.parquet: column 'label' holds string, but int64 in a.parquet"):
        groups_of("a.parquet", "b.parquet").table(["label"])
    with pytest.raises(BadInput, match=r"c.parquet has no column 'label', but a.parquet has \(text\)"):
        groups_of("a.parquet", "c.parquet").table(["label"])


def test_a_file_that_is_damaged_later_is_named(two_files, here):
    (here / "b.parquet").write_bytes(b"PAR1")
    two_files.read(0, ["text"])
    with pytest.raises(BadInput, match=r"b.parquet is a damaged parquet file"):
        two_files.read(4, ["text"])


def test_texts_that_are_no_utf8_are_named(here):
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    )
    write("a.parquet", {"text": bad})
    with pytest.raises(BadInput, match=r"a.parquet is a damaged parquet file.*UTF-?8"):
        groups_of("a.parquet").read(0, ["text"])
