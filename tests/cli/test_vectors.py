"""`hftune vectors`: from texts to a file that a recipe reads; or one error, and no file."""

from pathlib import Path

import pytest

from hftune.data.text.word_vectors import read_words
from hftune.recipes import imdb_bag, imdb_textcnn
from hftune.storage import files
from tests.cli.test_cli import hftune
from tests.runs import run_recipe, small_textcnn, write

pytestmark = pytest.mark.usefixtures("here", "quick_disk")


def lines(count: int) -> str:
    return "".join(f"a good film of number {row % 7}\nno bad film, really\n" for row in range(count))


def test_a_recipe_starts_from_the_vectors_of_its_own_texts(reviews, monkeypatch, capsys):
    words = ("vectors", reviews / "train.csv", "--holdout", reviews / "test.csv", "--vector_size", 8)
    assert hftune(monkeypatch, *words, "--output", "own.vec", "--min_frequency", 1) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [f"data: {reviews / 'train.csv'}, text column 'text'", "rows: 90 train"]
    assert said[2].startswith(f"held out: {reviews / 'test.csv'}; none")
    flags = f"--train_file {reviews / 'train.csv'} --embeddings own.vec"
    assert said[-1] == f"use it: hftune run imdb_textcnn {flags}"
    flags = small_textcnn(reviews, embeddings="own.vec", max_steps=1, save_strategy="epoch")
    run_recipe(imdb_textcnn.recipe, flags, Path("run"))
    log = capsys.readouterr()
    # Padding and unknown are no words of a text.
    found = len([*read_words("own.vec")])
    assert f"own.vec: {found} of {found + 2} words" in log.out + log.err


def test_the_same_command_writes_the_same_bytes(monkeypatch, capsys):
    write("own.txt", lines(40))
    for name in ("a.vec", "b.vec"):
        assert hftune(monkeypatch, "vectors", "own.txt", "--output", name) == 0
    assert Path("a.vec").read_bytes() == Path("b.vec").read_bytes()
    page = capsys.readouterr().out
    assert "a.vec: 16 words with vectors of 100 numbers from 80 texts of 440 words" in page
    assert "--train_file FILE.csv --embeddings b.vec" in page  # lines have no labels
    assert hftune(monkeypatch, "vectors", "own.txt", "--output", "c.vec", "--method", "cbow") == 0
    assert Path("a.vec").read_bytes() != Path("c.vec").read_bytes()


def test_an_encoders_vectors_are_for_the_bag(encoder, reviews, monkeypatch, capsys):
    flags = ("--model_name_or_path", encoder, "--vector_size", 6)
    assert hftune(monkeypatch, "vectors", *flags, "--output", "own.vec") == 0
    assert "use it: hftune run imdb_bag --embeddings own.vec" in capsys.readouterr().out
    assert hftune(monkeypatch, "vectors", reviews / "train.csv", *flags, "--output", "texts.vec") == 0
    own, of_texts = ({*read_words(name)} for name in ("own.vec", "texts.vec"))
    assert "superb" in of_texts - own  # whole, though the encoder has no such piece
    changes = {"config_overrides": "num_buckets=50", "max_steps": 1, "save_strategy": "epoch"}
    run_recipe(imdb_bag.recipe, small_textcnn(reviews, embeddings="texts.vec", **changes), Path("run"))
    log = capsys.readouterr()
    assert "texts.vec: " in log.out + log.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "hftune vectors needs one source of texts"),
        (["own.txt", "more.txt"], "hftune vectors needs one source of texts"),
        (["missing.csv"], "missing.csv does not exist"),
        (["nothing"], "nothing: no such folder, and a data set's id is OWNER/NAME on the Hub"),
        (["own.txt", "--epochs", 0], "--epochs 0: must be at least 1"),
        (["own.txt", "--seed", 2**32], "--seed 4294967296: must be at most 4294967295"),
        (["own.txt", "--method", "glove"], "--method: expected one of skipgram, cbow, fasttext"),
        (["own.txt", "--min_frequency", 1000], "--min_frequency 1000: no word of the texts occurs so often"),
        (["own.txt", "--holdout", "elsewhere"], "--holdout elsewhere: neither a split"),
        (["own.txt", "--model_name_or_path", "x/y", "--window", 3], "--window: an encoder's vectors are not"),
        (["--model_name_or_path", "x/y", "--split", "train"], "--split needs texts: hftune vectors SOURCE"),
        (["own.txt", "--output", "there.vec"], "--output there.vec: is there already"),
        (["own.txt", "--output", "own.txt"], "--output own.txt is what is read"),
        (["own.txt", "--output", "own.csv"], "--output own.csv: its name must end in one of .vec, .txt"),
        (["own.txt", "--output", "no/own.vec"], "--output no/own.vec: there is no folder no"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(words, message, monkeypatch, capsys):
    write("own.txt", lines(3))
    write("there.vec", "mine")
    given = words if "--output" in words else [*words, "--output", "own.vec"]
    if words == ["nothing"]:  # which asks the Hub
        monkeypatch.setattr("hftune.cli.vectors.ensure_reachable", lambda *names: None)
    assert hftune(monkeypatch, "vectors", *given) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert {path.name for path in Path().iterdir()} == {"own.txt", "there.vec"}
    assert Path("there.vec").read_text() == "mine"


def test_without_an_output_nothing_is_read(monkeypatch, capsys):
    assert hftune(monkeypatch, "vectors", "missing.csv") == 2
    assert capsys.readouterr().err.startswith("error: hftune vectors needs a file to write: --output own.vec")


def test_a_full_disk_leaves_no_half_file(monkeypatch, capsys):
    write("own.txt", lines(40))

    def full(path, chunks):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_synced", full)
    assert hftune(monkeypatch, "vectors", "own.txt", "--output", "own.vec") == 4
    assert "No space left" in capsys.readouterr().err
    assert [path.name for path in Path().iterdir()] == ["own.txt"]
