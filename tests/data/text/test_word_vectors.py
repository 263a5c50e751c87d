import gzip
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hftune.data.text.word_vectors import (
    Vectors,
    coverage,
    fill_embedding,
    read_vectors,
    read_words,
    write_vectors,
)
from hftune.errors import BadInput

SHARED = Path(__file__).resolve().parents[4] / "shared"
GLOVE = SHARED / "models" / "glove_6b_50d_5k" / "glove.6B.50d.5k.txt"

TEXT = "the 0.5 -1.25 2e-1\nfilm 1 2 3\nNew York 7 8 9\nfilm 0 0 0\ncaf\u00e9\u00a0noir 4 5 6\n"
WORDS = ["film", "Film", "New York", "caf\u00e9\u00a0noir", "unseen"]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def zipped(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.txt", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("glove.txt", TEXT),
        ("word2vec.txt", "5 3\n" + TEXT),
        ("fasttext.vec", "5 3\n" + TEXT.replace("\n", " \n") + "\n"),
        ("windows.txt", TEXT.replace("\n", "\r\n")),
        ("tabs.txt", "film\t1\t2\t3\nNew York\t7\t8\t9\ncaf\u00e9\u00a0noir\t4\t5\t6\n"),
        ("glove.txt.gz", gzip.compress(TEXT.encode(), mtime=0)),
        ("glove.zip", zipped(glove=TEXT)),
    ],
)
def test_every_format_gives_the_same_vectors(tmp_path, name, content):
    vectors = read_vectors(write(tmp_path / name, content), WORDS)
    assert vectors.dim == 3
    assert {word: row.tolist() for word, row in vectors.rows.items()} == {
        "film": [1, 2, 3],  # the first of two
        "Film": [1, 2, 3],  # by lower case
        "New York": [7, 8, 9],
        "caf\u00e9\u00a0noir": [4, 5, 6],
    }
    assert all(row.dtype == np.float32 for row in vectors.rows.values())


def test_what_is_written_is_read_again(tmp_path):
    words = ["film", "50%", "été", "电"]
    values = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32) * [[1e-9], [1], [1e5], [0]]
    write_vectors(tmp_path / "own.vec", words, values)
    assert [*read_words(tmp_path / "own.vec")] == words
    read = read_vectors(tmp_path / "own.vec", words)
    np.testing.assert_allclose(np.stack([read.rows[word] for word in words]), values, rtol=1e-5)
    assert (tmp_path / "own.vec").read_text().startswith("4 3\nfilm ")


def test_exact_spelling_comes_before_lower_case(tmp_path):
    path = write(tmp_path / "v.txt", "may 1 1\nMay 2 2\n")
    rows = read_vectors(path, {"May": 0, "may": 1, "MAY": 2}).rows
    assert {word: row[0] for word, row in rows.items()} == {"May": 2, "may": 1, "MAY": 1}


def test_words_that_are_not_utf8_do_no_harm_where_nobody_wants_them(tmp_path):
    path = write(tmp_path / "v.txt", b"the 1 2\n\xff\xfe 3 4\nfilm 5 6\n")
    assert read_vectors(path, ["film"]).rows["film"].tolist() == [5, 6]


def test_a_zip_of_several_files_is_refused(tmp_path):
    path = write(tmp_path / "glove.zip", zipped(small="film 1 2\n", large="film 1 2 3\n"))
    with pytest.raises(BadInput, match="2 files in it") as error:
        read_vectors(path, ["film"])
    assert error.value.details == ["small.txt", "large.txt"]


BINARY = b"2 3\nthe " + struct.pack("<3f", 0.25, -1.5, 3.0) + b"\nfilm " + struct.pack("<3f", 1, 2, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("film 1 2 3\nthe 1 2\n", "line 2: 3 fields, expected a word and 3 numbers"),
        ("film 1 2 3\nthe 1.25 2.25 3.25 4.25\n", "line 2: more than 3 numbers"),
        ("2 4\nfilm 1 2 3\n", "line 2: 4 fields, expected a word and 4 numbers"),
        ("the 1 2\nfilm 1 two\n", "line 2: 'two' is not a number"),
        ("the 1 2\nfilm 1 nan\n", "line 2: a number is infinite"),
        ("word,a,b\nfilm,1,2\n", "line 1: 1 fields, expected a word and its numbers"),
        ("version https://x.org/spec/v1\nfilm 1\n", "line 1: 'https://x.org/spec/v1' is not a number"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        (BINARY, "is binary"),
        ("\n<!DOCTYPE html>\n<p>Sign in</p>\n", "is an HTML page, not word vectors"),
        ("le 1 2\nla 3 4\n", "none of the 2 wanted words"),
        (gzip.compress(TEXT.encode() * 9, mtime=0)[:-30], "cut off or damaged"),
    ],
)
def test_what_is_not_word_vectors_is_named(tmp_path, content, message):
    path = write(tmp_path / "vectors.txt", content)
    with pytest.raises(BadInput) as error:
        read_vectors(path, ["film", "the"])
    assert message in error.value.message
    assert error.value.message.startswith(str(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_vectors(tmp_path / "gone.txt", ["film"])


def test_filled_rows_are_the_vectors_and_the_rest_has_their_spread():
    torch.manual_seed(0)
    vocabulary = {"[PAD]": 0, "[UNK]": 1} | {f"w{row}": row for row in range(2, 500)}
    values = np.random.default_rng(0).normal(0, 0.6, (200, 16)).astype(np.float32)
    vectors = Vectors("v.txt", 16, {f"w{row}": values[row - 2] for row in range(2, 202)})
    embedding = nn.Embedding(500, 16, padding_idx=0)
    before = embedding.weight.detach().clone()
    with torch.no_grad():
        embedding.weight[0] = 3  # as an initialisation that forgets the padding would leave it
    fill_embedding(embedding, vectors, vocabulary)
    after = embedding.weight.detach()
    assert torch.equal(after[2:202], torch.from_numpy(values))
    assert not after[0].any()
    rest = [1, *range(202, 500)]
    assert after[rest].std().item() == pytest.approx(values.std(), rel=1e-3)
    assert torch.allclose(after[rest] / before[rest], after[1, 0] / before[1, 0])  # rescaled, not redrawn
    assert embedding.weight.requires_grad


def test_a_word_at_the_padding_row_leaves_it_zero():
    embedding = nn.Embedding(2, 2, padding_idx=0)
    fill_embedding(embedding, Vectors("v.txt", 2, {"pad": np.ones(2, np.float32)}), {"pad": 0, "x": 1})
    assert not embedding.weight[0].any()


def test_an_embedding_of_another_width_is_refused():
    with pytest.raises(BadInput, match=r"v\.txt has vectors of 2 numbers, the embedding of 3"):
        fill_embedding(nn.Embedding(4, 3), Vectors("v.txt", 2, {"a": np.ones(2, np.float32)}), {"a": 0})


def test_coverage_counts_words_and_running_tokens():
    vectors = Vectors("v.txt", 2, {"film": np.ones(2, np.float32)})
    vocabulary = {"[UNK]": 0, "film": 1, "zyx": 2, "qqq": 3}
    line = coverage(vectors, vocabulary, np.array([10, 80, 6, 4]))
    assert line == "v.txt: 1 of 4 words (25.0 %), 80.0 % of running tokens, 2 dimensions"


@pytest.mark.shared
@pytest.mark.skipif(not GLOVE.exists(), reason="needs the shared GloVe vectors")
def test_real_glove_vectors_know_their_neighbours():
    words = ["film", "movie", "tuesday", "river"]
    vectors = read_vectors(GLOVE, words)
    assert vectors.dim == 50
    film, *others = (vectors.rows[word] / np.linalg.norm(vectors.rows[word]) for word in words)
    movie, tuesday, river = (film @ other for other in others)
    assert movie > 0.9 > max(tuesday, river)
