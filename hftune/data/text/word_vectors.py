"""Reads pretrained word vectors from text files, puts them into an embedding, and writes such files.

Formats: GloVe text (one "word v1 ... vD" a line), word2vec text and fastText .vec (the same under a header
"N D"), each also gzipped, or alone in a zip. The file is streamed: only wanted words are decoded and kept.

    vectors = read_vectors("glove.6B.50d.txt", vocabulary)
    fill_embedding(model.get_input_embeddings(), vectors, vocabulary)
"""

import gzip
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import nn

from hftune.data.failed_download import failed_download
from hftune.errors import BadInput
from hftune.storage.files import write_text

HEADER = re.compile(rb"\d+ (\d+)")  # N words, D numbers each
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")  # bytes that no line of text holds
ONE_TOO_MANY = re.compile(rb" [-+]?\d*\.\d{2,}(e[-+]?\d+)?$", re.IGNORECASE)  # a word does not end like this
PEEK = 4096  # bytes


@dataclass(frozen=True)
class Vectors:
    """The pretrained vectors of the wanted words.

    Args:
        name: The file's name.
        dim: D, numbers in a vector.
        rows: Vectors (D,), float32, under the words as they were wanted.
    """

    name: str
    dim: int
    rows: dict[str, np.ndarray]


def read_vectors(path: str | Path, words: Iterable[str]) -> Vectors:
    """Reads the vectors of the wanted words; a word that is not in the file gets its lower case's.

    Args:
        path: A text file of vectors in UTF-8, plain, gzipped, or alone in a zip.
        words: Wanted words, or a mapping with them as keys.

    Returns:
        What was found; of a word that the file repeats, the first vector.

    Raises:
        BadInput: No such file; not vectors as text; a line with the wrong number of fields or with
            something else in place of a number; none of the words is in the file.
    """
    path = Path(path)
    wanted = {word: (word.encode(), word.lower().encode()) for word in words}
    keep = {spelling for spellings in wanted.values() for spelling in spellings}
    kept: dict[bytes, np.ndarray] = {}
    dim = 0
    with _open(path) as stream:
        for number, line, dim in _lines(path, stream):
            word = line[: line.index(b" ")]
            if line.count(b" ") > dim:  # the word holds spaces, or there are too many numbers
                word = _fields(path, number, line, dim)[0]
            if word in keep and word not in kept:
                kept[word] = _numbers(path, number, line, dim)
    rows = {
        word: kept[exact if exact in kept else lower]
        for word, (exact, lower) in wanted.items()
        if exact in kept or lower in kept
    }
    if not rows:
        raise BadInput(f"{path} has none of the {len(wanted):,} wanted words; is it of the texts' language?")
    return Vectors(path.name, dim, rows)


def read_words(path: str | Path) -> Iterator[str]:
    """Yields the words of a file of vectors in its order, which is that of their frequency for most.

    Raises:
        BadInput: See `read_vectors`.
    """
    path = Path(path)
    with _open(path) as stream:
        for number, line, dim in _lines(path, stream):
            yield _fields(path, number, line, dim)[0].decode(errors="replace")


def write_vectors(path: Path, words: Sequence[str], vectors: np.ndarray) -> None:
    """Writes vectors in word2vec's text format, with six digits of each number, whole or not at all.

    Args:
        path: The file.
        words: N words without blanks.
        vectors: Theirs, float (N, D).

    Raises:
        BadInput: The place cannot be written.
        ResourceError: The disk has no room or fails.
    """
    line = "%s" + " %.6g" * vectors.shape[1]
    lines = [f"{len(words)} {vectors.shape[1]}"]
    lines += [line % (word, *vector.tolist()) for word, vector in zip(words, vectors, strict=True)]
    write_text(path, "\n".join(lines) + "\n")


def fill_embedding(embedding: nn.Embedding, vectors: Vectors, vocabulary: Mapping[str, int]) -> None:
    """Copies vectors into an embedding, in place.

    Rows without a vector keep their random start, rescaled to the standard deviation of the found
    vectors, so that neither kind drowns the other. The padding row becomes zero.

    Args:
        embedding: Weights (V, D) of any float dtype.
        vectors: What `read_vectors` found for the vocabulary.
        vocabulary: Word to row.

    Raises:
        BadInput: The embedding's vectors are longer or shorter than the file's.
    """
    if embedding.embedding_dim != vectors.dim:
        raise BadInput(
            f"{vectors.name} has vectors of {vectors.dim} numbers, the embedding of {embedding.embedding_dim}"
        )
    words = [word for word in vocabulary if word in vectors.rows]
    found = torch.tensor([vocabulary[word] for word in words])
    values = torch.from_numpy(np.stack([vectors.rows[word] for word in words]))  # (found, D)
    weight = embedding.weight
    random = torch.ones(len(weight), dtype=torch.bool)  # (V,)
    random[found] = False
    if embedding.padding_idx is not None:
        random[embedding.padding_idx] = False
    with torch.no_grad():
        if random.any():
            start = weight[random].float()
            weight[random] = (start * (values.std() / start.std().clamp(min=1e-8))).to(weight.dtype)
        weight[found] = values.to(weight)
        if embedding.padding_idx is not None:
            weight[embedding.padding_idx] = 0


def coverage(vectors: Vectors, vocabulary: Mapping[str, int], token_counts: np.ndarray) -> str:
    """Says how much of a vocabulary, and of the texts it came from, has a pretrained vector.

    Args:
        vectors: What was found.
        vocabulary: Word to id.
        token_counts: How often each id occurs in the training texts, (V,) int.
    """
    found = [row for word, row in vocabulary.items() if word in vectors.rows]
    running = token_counts[found].sum() / max(1, token_counts.sum())
    return (
        f"{vectors.name}: {len(found):,} of {len(vocabulary):,} words ({len(found) / len(vocabulary):.1%}), "
        f"{running:.1%} of running tokens, {vectors.dim} dimensions"
    ).replace("%", " %")


@contextmanager
def _open(path: Path) -> Iterator[Iterable[bytes]]:
    """Opens a plain, gzipped or zipped file, told apart by content, and looks whether it is text."""
    if not path.is_file():
        raise BadInput(f"{path}: no such file of word vectors")
    try:
        with ExitStack() as stack:
            stream: IO[bytes] | gzip.GzipFile = stack.enter_context(path.open("rb"))
            magic = stream.read(4)
            stream.seek(0)
            if magic.startswith(b"\x1f\x8b"):
                stream = stack.enter_context(gzip.GzipFile(fileobj=stream))
            elif magic == b"PK\x03\x04":
                archive = stack.enter_context(zipfile.ZipFile(stream))
                names = [item.filename for item in archive.infolist() if not item.is_dir()]
                if len(names) != 1:
                    raise BadInput(f"{path}: {len(names)} files in it; unpack the one you want", names)
                stream = stack.enter_context(archive.open(names[0]))
            _refuse_what_is_not_text(path, stream.read(PEEK))
            stream.seek(0)
            yield stream
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise BadInput(f"{path} is cut off or damaged ({error}); fetch it again") from error


def _refuse_what_is_not_text(path: Path, head: bytes) -> None:
    if what := failed_download(head, "word vectors"):
        raise BadInput(f"{path} is {what}")
    if CONTROL.search(head):
        raise BadInput(
            f"{path} is binary; save the vectors as text (gensim: save_word2vec_format(binary=False))"
        )


def _lines(path: Path, stream: Iterable[bytes]) -> Iterator[tuple[int, bytes, int]]:
    """Yields line number from 1, line with single spaces, and D, for every line that holds a vector."""
    dim = None
    for number, raw in enumerate(stream, start=1):
        line = raw.rstrip(b" \t\r\n").replace(b"\t", b" ")
        header = HEADER.fullmatch(line) if number == 1 else None
        if header:
            dim = int(header[1])
        elif line:
            if dim is None:
                dim = line.count(b" ")
            if dim == 0 or line.count(b" ") < dim:
                numbers = f"{dim:,} numbers" if dim else "its numbers"
                fields = f"{line.count(b' ') + 1:,} fields, expected a word and {numbers}"
                raise BadInput(f"{path}, line {number:,}: {fields}")
            if number == 1:  # wanted or not, it must be a vector: it says how many numbers there are
                _numbers(path, number, line, dim)
            yield number, line, dim
    if dim is None:
        raise BadInput(f"{path} is empty; expected a word and its numbers on each line")


def _fields(path: Path, number: int, line: bytes, dim: int) -> list[bytes]:
    """Splits a line into the word and D numbers."""
    fields = line.rsplit(b" ", dim)
    if ONE_TOO_MANY.search(fields[0]):
        raise BadInput(f"{path}, line {number:,}: more than {dim:,} numbers after the word")
    return fields


def _numbers(path: Path, number: int, line: bytes, dim: int) -> np.ndarray:
    """Reads the numbers of a line, (D,) float32."""
    vector = np.empty(dim, np.float32)
    for place, field in enumerate(_fields(path, number, line, dim)[1:]):
        try:
            vector[place] = float(field)
        except ValueError:
            raise BadInput(
                f"{path}, line {number:,}: {field.decode(errors='replace')!r} is not a number"
            ) from None
    if not np.isfinite(vector).all():
        raise BadInput(f"{path}, line {number:,}: a number is infinite, NaN or beyond float32")
    return vector
