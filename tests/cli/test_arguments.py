"""What the commands replace: their own --output, and never what they read or what a model consists of."""

from pathlib import Path

import pytest

from hftune.cli.arguments import output_file, refuse_to_replace
from hftune.errors import BadInput

ANY = (".csv", ".jsonl", ".json", ".md", ".py")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("run/config.json", "run/README.md", "reviews.csv", "old.jsonl"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("mine")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("reviews.csv", "is what is read"),
        ("run/../reviews.csv", "is what is read"),
        ("run/README.md", "of the run or model there"),
        ("run/config.json", "of the run or model there"),
        ("run/all_results.json", "of the run or model there"),
        ("run/my_model.py", "of the run or model there"),
    ],
)
def test_what_is_read_and_files_of_a_model_are_not_written_over(output, message):
    with pytest.raises(BadInput, match=message):
        output_file({"output": output}, ANY, reads=["run", "reviews.csv", None, "x" * 9999])


@pytest.mark.parametrize("output", ["old.jsonl", "new.jsonl", "run/answers.jsonl"])
def test_any_other_file_is(output):
    assert output_file({"output": output}, ANY, reads=["run", "reviews.csv"]) == Path(output)
    assert output_file({}, ANY, reads=["run"]) is None


def test_an_ending_that_is_not_written_is_refused():
    with pytest.raises(BadInput, match=r"--output new\.xlsx: its name must end in one of \.csv, \.json"):
        output_file({"output": "new.xlsx"}, (".csv", ".json"))


def test_a_image_of_the_users_is_not_drawn_over():
    from matplotlib.figure import Figure

    Figure().savefig("augment.png")
    refuse_to_replace(Path("augment.png"), "augment.png")
    refuse_to_replace(Path("none.png"), "none.png")
    Path("augment.png").write_bytes(b"\x89PNG of somebody")
    with pytest.raises(BadInput, match=r"augment\.png is there, and not of hftune"):
        refuse_to_replace(Path("augment.png"), "augment.png")
