"""Two runs compared on the same test rows, from their predictions alone."""

import numpy as np
import pytest

from benchmarks.paired import compare
from hftune.errors import BadInput
from hftune.tasks.intervals import difference_of_shares


def write(folder, rows) -> None:
    folder.mkdir()
    lines = [f'{row},"a, text",{label},{prediction}' for row, label, prediction in rows]
    (folder / "test_predictions.csv").write_text("\n".join(["row,text,label,prediction", *lines, ""]))


def test_rows_are_paired_by_their_number(tmp_path):
    write(tmp_path / "a", [(0, "good", "good"), (1, "bad", "bad"), (2, "bad", "bad"), (9, "bad", "good")])
    write(tmp_path / "b", [(2, "bad", "good"), (1, "bad", "bad"), (0, "good", "bad")])
    _, low, high = difference_of_shares(np.array([True] * 3), np.array([False, True, False]))
    expected = f"accuracy 1.0000 and 0.3333 on 3 rows (1 left out): +0.6667 [{low:+.4f}, {high:+.4f}]"
    assert compare(tmp_path / "a", tmp_path / "b") == expected


def test_other_rows_are_refused(tmp_path):
    write(tmp_path / "a", [(0, "good", "good")])
    write(tmp_path / "b", [(0, "bad", "good")])
    with pytest.raises(BadInput, match="not scored on the same rows"):
        compare(tmp_path / "a", tmp_path / "b")
