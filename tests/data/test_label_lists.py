"""Several labels a row: what may be no label is told."""

from hftune.data.label_lists import multi_hot
from hftune.data.tables.table import Table


def test_a_word_that_tools_write_for_missing_is_told():
    cells = ["a|b", "NaN", "b|c", "NaN|a"]
    train = Table("train.csv", {"labels": cells}, [2, 3, 4, 5])
    names, _, warnings = multi_hot({"train": train}, "labels")
    assert names == ("NaN", "a", "b", "c")
    assert warnings == [
        "label 'NaN' (first: train.csv line 3) is what tools write for \"missing\", and is taken as a label; "
        "if it is none, leave its cells empty"
    ]
