"""Reads pretrained word vectors from text files and puts them into an embedding.

Formats: GloVe text (one "word v1 ... vD" a line), word2vec text and fastText .vec (the same under a header
"N D"), each also as .gz or as the only file of a .zip. A file is streamed: only rows of wanted words are kept.

    found = read_vectors("glove.6B.50d.txt", vocabulary)
    coverage = fill_embedding(model.get_input_embeddings(), found, vocabulary)
"""

import gzip
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import nn

from hftune.errors import BadInput

PEEK = 4096  # bytes looked at before reading, to name files that are no text


@dataclass(frozen=True)
class Vectors:
    """Pretrained vectors of the wanted words that the file has.

    Args:
        name: The file's name, for messages.
        dim: D, numbers in a vector.
        rows: Vectors (D,), float32, under the words as they were wanted.
    """

    name: str
    dim: int
    rows: dict[str, np.ndarray]


@dataclass(frozen=True)
class Coverage:
    """How much of a vocabulary, and of the text it came from, has a pretrained vector.

    Args:
        name: The vectors' file name.
        dim: D, numbers in a vector.
        found: Words of the vocabulary that have a vector.
        words: Words of the vocabulary.
        tokens: Share of the running tokens that have one, in [0, 1]; None if no token was counted.
    """

    name: str
    dim: int
    found: int
    words: int
    tokens: float | None

    @property
    def vocabulary(self) -> float:
        """Share of the vocabulary that has a vector, in [0, 1]."""
        return self.found / self.words if self.words else 0.0

    def __str__(self) -> str:
        running = "" if self.tokens is None else f" {100 * self.tokens:.1f} % of running tokens,"
        share = f"{self.found:,} of {self.words:,} words ({100 * self.vocabulary:.1f} %)"
        return f"{self.name}: {share},{running} {self.dim} dimensions"


def read_vectors(path: str | Path, words: Iterable[str], member: str | None = None) -> Vectors:
    """Reads the vectors of the wanted words; a word that is not in the file gets its lower case's.

    Args:
        path: A .txt, .vec, .gz or .zip file in UTF-8.
        words: Wanted words, or a mapping with them as keys.
        member: Which file of a .zip to read; not needed where it holds one.

    Returns:
        What was found; of a word that the file repeats, the first vector.

    Raises:
        BadInput: No such file; not vectors as text; a line with the wrong number of fields or with a word
            in place of a number; none of the words is in the file.
    """
    path = Path(path)
    wanted = set(words)
    keep = wanted | {word.lower() for word in wanted}
    kept: dict[str, np.ndarray] = {}
    dim = 0
    with _open(path, member) as stream:
        for dim, number, word, fields in _rows(path, stream):
            if word in keep and word not in kept:
                kept[word] = _numbers(path, number, fields)
    rows = {word: kept[word] if word in kept else kept[word.lower()] for word in wanted if _known(word, kept)}
    if not rows:
        raise BadInput(
            f"{path}: none of the {len(wanted):,} words of the vocabulary has a vector; is it the right language?"
        )
    return Vectors(path.name, dim, rows)


def fill_embedding(
    embedding: nn.Embedding,
    vectors: Vectors,
    vocabulary: Mapping[str, int],
    token_counts: Mapping[str, int] | None = None,
) -> Coverage:
    """Copies vectors into an embedding, in place.

    Rows without a vector keep their random start, rescaled to the found vectors' standard deviation, so that
    neither kind drowns the other. The padding row stays zero.

    Args:
        embedding: Weights (V, D), any float dtype.
        vectors: What `read_vectors` found.
        vocabulary: Word to row.
        token_counts: How often each word occurs in the training texts, for the coverage.

    Returns:
        What was covered; print it.

    Raises:
        BadInput: The embedding's width is not the vectors'.
    """
    if embedding.embedding_dim != vectors.dim:
        raise BadInput(
            f"{vectors.name}: vectors have {vectors.dim} dimensions, the model's embedding {embedding.embedding_dim}; "
            f"set --config_overrides embedding_dim={vectors.dim}"
        )
    weight = embedding.weight
    found = {word: row for word, row in vocabulary.items() if word in vectors.rows and row != embedding.padding_idx}
    rows = torch.tensor(list(found.values()), device=weight.device)
    with torch.no_grad():
        if found:
            values = torch.from_numpy(np.stack([vectors.rows[word] for word in found]))  # (found, D)
            random = torch.ones(len(weight), dtype=torch.bool, device=weight.device)
            random[rows] = False
            if embedding.padding_idx is not None:
                random[embedding.padding_idx] = False
            if random.any():
                start = weight[random].float()
                weight[random] = (start * values.std() / start.std().clamp(min=1e-8)).to(weight.dtype)
            weight[rows] = values.to(weight)
        if embedding.padding_idx is not None:
            weight[embedding.padding_idx] = 0
    return coverage(vectors, vocabulary, token_counts)


def coverage(
    vectors: Vectors, vocabulary: Iterable[str], token_counts: Mapping[str, int] | None = None
) -> Coverage:
    """Counts how much of a vocabulary and of its text has a vector.

    Args:
        vectors: What `read_vectors` found.
        vocabulary: All words of the model.
        token_counts: How often each word occurs in the training texts.
    """
    words = list(vocabulary)
    counts = token_counts or {}
    running = sum(counts.values())
    covered = sum(count for word, count in counts.items() if word in vectors.rows)
    return Coverage(
        name=vectors.name,
        dim=vectors.dim,
        found=sum(word in vectors.rows for word in words),
        words=len(words),
        tokens=covered / running if running else None,
    )


def _known(word: str, kept: Mapping[str, np.ndarray]) -> bool:
    return word in kept or word.lower() in kept


def _rows(path: Path, stream: IO[bytes]) -> Iterator[tuple[int, int, str, list[str]]]:
    """Yields (D, line number, word, D fields) for every line after a header."""
    dim = None
    for number, raw in enumerate(stream, start=1):
        line = _decode(path, number, raw)
        if not line:
            continue
        if dim is None:
            header = _header(line) if number == 1 else None
            if header is not None:
                dim = header
                continue
            dim = _width(path, number, line)
        # The word may hold spaces ("New York"): numbers are counted from the right.
        word, *fields = line.rsplit(" ", dim)
        if len(fields) != dim or not word:
            raise BadInput(f"{path}, line {number:,}: {len(fields)} fields after the word; expected {dim} numbers")
        yield dim, number, word, fields
    if dim is None:
        raise BadInput(f"{path} is empty; expected one word and its numbers a line")
