"""Rows within one cell are found wherever the quotes stand; texts of several lines pass."""

import csv
import io
import random

import pytest

from hftune.data.tables.csv import read_csv
from hftune.errors import BadInput

WORDS = ["the", "a", "garden", "film", "tea", "quiet", "never", "again", "street", "wet", "bread", "music"]


def make_rows(count: int, seed: int) -> list[dict[str, str]]:
    draw = random.Random(seed)
    return [
        {
            "id": str(number),
            "text": " ".join(draw.choices(WORDS, k=draw.randint(3, 12))) + f" {number}",
            "label": draw.choice(["neg", "pos"]),
        }
        for number in range(count)
    ]


def unquoted(rows: list[dict[str, str]], names: tuple[str, ...], separator: str, end: str = "\n") -> str:
    """Joins cells as exports without quoting do."""
    return (
        end.join(separator.join(cells) for cells in [names, *([row[n] for n in names] for row in rows)]) + end
    )


def quoted(rows: list[dict[str, str]], names: tuple[str, ...], separator: str = ",") -> str:
    page = io.StringIO(newline="")
    writer = csv.writer(page, delimiter=separator)
    writer.writerows([names, *([row[name] for name in names] for row in rows)])
    return page.getvalue()


ORDERS = [("text", "label"), ("label", "text"), ("id", "text", "label"), ("label", "id", "text")]


@pytest.mark.parametrize("names", ORDERS)
@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("distance", [1, 2, 20])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_rows_within_a_cell_are_an_error_that_names_both_quotes(names, separator, distance, end):
    rows = make_rows(40, seed=distance)
    rows[5]["text"] = '"' + rows[5]["text"]
    rows[5 + distance]["text"] += '"'
    with pytest.raises(BadInput) as caught:
        read_csv("x.csv", unquoted(rows, names, separator, end), separator)
    assert 'x.csv line 7: a quote (") opens here and closes only in line ' in str(caught.value)
    assert f"in line {7 + distance}, and these {distance + 1} lines" in str(caught.value)
    assert ("without quoting" in str(caught.value)) == (separator == "\t")


@pytest.mark.parametrize(("opens", "closes"), [("a", "b"), ("b", "a")])
def test_quotes_in_two_columns_are_found_though_the_width_is_wrong(opens, closes):
    rows = [
        {"a": f"one text {n}", "label": "pos" if n % 3 else "neg", "b": f"other text {n}"} for n in range(30)
    ]
    rows[3][opens] = '"' + rows[3][opens]
    rows[9][closes] += '"'
    with pytest.raises(BadInput, match=r"line 5: a quote .* closes only in line 11"):
        read_csv("x.csv", unquoted(rows, ("a", "label", "b"), ","), ",")


@pytest.mark.parametrize("count", [6, 24])
def test_a_cell_that_swallows_the_whole_file_is_found(count):
    rows = make_rows(count, seed=1)
    rows[0]["text"], rows[-1]["text"] = '"' + rows[0]["text"], rows[-1]["text"] + '"'
    with pytest.raises(BadInput, match=rf"line 2: a quote .* closes only in line {count + 1}"):
        read_csv("x.csv", unquoted(rows, ("text", "label"), "\t"), "\t")


def test_unlabelled_rows_are_told_by_their_numbers():
    rows = make_rows(30, seed=2)
    rows[4]["text"], rows[9]["text"] = '"' + rows[4]["text"], rows[9]["text"] + '"'
    with pytest.raises(BadInput, match="line 6: a quote"):
        read_csv("x.csv", unquoted(rows, ("id", "text"), ","), ",")


def test_a_missing_closing_quote_is_a_warning_at_least():
    rows = make_rows(30, seed=3)
    text = unquoted(rows, ("text", "label"), ",").splitlines()
    text[4] = '"so they said, and left,pos'
    text[9] = 'and that, again, was it",neg'
    table = read_csv("x.csv", "\n".join(text), ",")
    assert table.warnings[0].startswith(
        "x.csv line 5: the quoted cell that opens here and closes in line 10 has"
    )
    assert "such as line 6;" in table.warnings[0]


def test_words_that_are_as_long_as_names_are_a_doubt_only():
    rows = [{"name": f"{n:03}abcd", "text": f"some text {n}"} for n in range(40)]
    rows[9]["text"] = "all is,welcome\nto all"
    table = read_csv("x.csv", quoted(rows, ("text", "name")), ",")
    assert len(table.lines) == 40


TRUE_TEXTS = [
    "Well,I tried it\nOh no",
    "Well, I tried\nOh no",
    "Oh no\nWell, I tried\nnever, again",
    "first\n\nsecond, third\n",
    "Roses are red, my love\nViolets are blue, my love\nTea is wet, my love",
    "shopping:\nmilk, 2\neggs, 12\nbread, 1",
    "shopping:\nmilk,2\neggs,12\nbread,1",
    'she said "hi, you"\nand left',
    "pos\nneg, pos\npos",
    "a,b,c\nd,e,f",
    "tab\there\nand\tthere",
    '5" disc, old\n3.5" disc, new',
]


@pytest.mark.parametrize("names", ORDERS)
@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_true_texts_of_several_lines_pass_without_a_word(names, separator):
    rows = make_rows(60, seed=4)
    texts = [*TRUE_TEXTS, *(text.replace("\n", "\r\n") for text in TRUE_TEXTS)]
    for row, text in zip(rows[5:], texts, strict=False):
        row["text"] = text
    table = read_csv("x.csv", quoted(rows, names, separator), separator)
    assert table.columns["text"].to_pylist() == [row["text"] for row in rows]
    assert table.warnings == ()


def test_a_list_with_labels_numbered_as_its_items_is_no_error():
    rows = [row | {"label": str(n % 5 + 1)} for n, row in enumerate(make_rows(60, seed=5))]
    rows[7]["text"] = "what I bought:\nfresh milk,2\nbrown eggs,3\ngreen tea,1\nwhite bread"
    table = read_csv("x.csv", quoted(rows, ("text", "label")), ",")
    assert len(table.lines) == 60
    assert table.warnings[0].startswith("x.csv line 9: the quoted cell")  # a doubt, said once


def test_lists_with_blanks_pass_in_a_file_of_few_rows():
    rows = [row | {"date": f"2020-01-{n + 10}"} for n, row in enumerate(make_rows(2, seed=6))]
    rows[0]["text"] = "\n".join(f"one{n}, two{n}, three{n}" for n in range(10))
    rows[1]["text"] = ""
    assert read_csv("x.csv", quoted(rows, ("label", "text", "date")), ",").warnings == ()


def test_quotes_within_a_cell_are_ordinary_signs():
    text = 'text,label\na 5" disc,pos\nthe "best" one,neg\n'
    assert read_csv("x.csv", text, ",").columns["text"].to_pylist() == ['a 5" disc', 'the "best" one']


def test_in_a_file_of_one_column_each_row_of_several_lines_may_be_several_and_is_told():
    found = read_csv("x.csv", 'text\n"one\ntwo"\nthree\n"four\nfive\nsix"\n', ",")
    assert found.rows == 3
    assert found.warnings == (
        "x.csv: 2 rows take several lines, as quotes open and close there (the first: lines 2 to 3); if each "
        "line is a row, double the quotes that belong to the text",
    )
    assert read_csv("x.csv", 'text\n"one, two"\nthree\n', ",").warnings == ()
