"""Columns of numbers, however they are written, and what is no number, by file and row."""

from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from hftune.data.numbers import read_numbers
from hftune.data.tables.table import Table
from hftune.errors import BadInput


def table(cells, **changes) -> Table:
    return Table("train.csv", {"price": cells}, list(range(2, 2 + len(cells))), **changes)


@pytest.mark.parametrize(
    "cells",
    [
        [3.8, -1.0, 0.5],
        ["3.8", " -1", ".5"],
        ["+3.80", "-1e0", "5E-1"],
        [Decimal("3.8"), -1, 0.5],
        pa.chunked_array([pa.array([3.8, -1.0]), pa.array([0.5])]),
        pa.chunked_array([pa.array([3.8, -1.0, 0.5], pa.float32())]),
        pa.chunked_array([pa.array(["3.8", "-1", "0.5"])]),
    ],
)
def test_numbers_are_read_as_they_were_written(cells):
    found, warnings = read_numbers(table(cells), "price")
    assert found.dtype == np.float64
    assert found.tolist() == [3.8, -1.0, 0.5]
    assert warnings == []


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("4,5", r"'4,5', which is none \(a decimal point is needed\)"),
        ("four", "'four', which is none"),
        ("1_000", "'1_000', which is none"),
        ("0x10", "'0x10', which is none"),
        ("", "missing"),
        ("N/A", "missing ('N/A')"),
        ("nan", "missing ('nan')"),
        ("inf", "'inf', which is none"),
        (None, "missing"),
        (float("nan"), "missing"),
        (float("inf"), "inf, infinite"),
        ("1e39", "1e+39, beyond float32"),
        (10**400, "beyond float32"),
        (True, "True, true or false"),
        ([4.5], r"[4.5], a list"),
    ],
)
def test_what_is_no_number_is_named_by_its_row(cell, problem):
    with pytest.raises(BadInput) as raised:
        read_numbers(table([1.0, cell, 2.0]), "price")
    said = raised.value.message
    assert said.startswith("train.csv line 3: the number (column 'price') is ")
    assert problem.replace("\\", "") in said
    assert said.endswith("; write all of them as numbers, such as 4.5, or remove the row")


def test_every_such_row_is_listed():
    with pytest.raises(BadInput) as raised:
        read_numbers(table(["a", 1, "b", "c"]), "price")
    assert [line.partition(":")[0] for line in raised.value.details] == [
        "train.csv line 4",
        "train.csv line 5",
    ]


def test_class_names_that_are_numbers_count_as_such():
    names = {"price": ["1", "2.5", "10"]}
    assert read_numbers(table([2, 0, 1], class_names=names), "price")[0].tolist() == [10, 1, 2.5]
    found, (warning,) = read_numbers(table([2, 0], class_names={"price": ["bad", "so-so", "good"]}), "price")
    assert found.tolist() == [2, 0]
    assert "(bad, so-so, good) count as the class ids 0 to 2" in warning
