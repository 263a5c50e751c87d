"""Learns word vectors from your own texts, for `--embeddings` of the small text models.

    hftune vectors reviews.csv --output own.vec
    hftune vectors reviews.csv --holdout test.csv --output own.vec
    hftune vectors stanfordnlp/imdb --split train,unsupervised --output imdb.vec
    hftune vectors --model_name_or_path sentence-transformers/all-MiniLM-L6-v2 --output minilm.vec

SOURCE is a file (.txt with a text a line, .csv, .tsv, .jsonl, .parquet), a folder of such tables, a Hub id or
"sample". Labels are not read. Words are cut as the small models' own vocabularies cut them. The same command
gives the same file again, on one machine. A test split is not read unless --split names it, and texts that
stand in it too are left out. Without SOURCE, --model_name_or_path gives vectors of an encoder's own: each
word of its vocabulary, or with SOURCE each word of the texts, read alone, the mean of its states.
Learning needs: pip install 'hftune[vectors]'

--output FILE            word2vec's text format, .vec or .txt, whole or not at all; must not be there yet
--split NAMES            the splits to read, comma separated (train)
--holdout NAMES          further splits, or files, whose texts are left out, comma separated
--text_column_name C     the column of texts, else found by its usual names
--dataset_config_name C  configuration of a Hub data set that has several
--method M               skipgram, cbow or fasttext (skipgram, the better one for rare words)
--vector_size N          numbers in a vector (100); an encoder's are brought to it by their main components
--window N               words on either side that count as neighbours (5)
--epochs N               passes over the texts (5)
--min_frequency N        words that occur less often get no vector (5)
--seed N                 equal seeds, equal vectors (42)
--model_name_or_path M   an encoder, Hub id or folder, instead of learning
"""

import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

from hftune.cli.arguments import output_file, parse_args
from hftune.data.tables.read import LINES, names_file
from hftune.errors import BadInput
from hftune.runtime.environment import prepare_environment
from hftune.runtime.offline import ensure_reachable

if TYPE_CHECKING:
    import numpy as np

LEARNING: dict[str, Any] = {
    "method": Literal["skipgram", "cbow", "fasttext"],
    "window": int,
    "epochs": int,
    "seed": int,
}
READING = dict.fromkeys(("split", "holdout", "text_column_name", "dataset_config_name"), str)
FLAGS: dict[str, Any] = {
    **LEARNING,
    **READING,
    "vector_size": int,
    "min_frequency": int,
    "model_name_or_path": str,
    "output": str,
}
SUFFIXES = (".vec", ".txt")
LARGEST = 2**32 - 1  # of a seed of numpy's


def main(argv: list[str]) -> None:
    """Writes a file of word vectors.

    Args:
        argv: The source of the texts, and the flags above.

    Raises:
        BadInput: The texts or the encoder cannot be read, a flag is wrong, gensim is missing, or the file is
            there already.
    """
    positional, options = parse_args(argv, FLAGS)
    encoder = options.get("model_name_or_path")
    _check(positional, options)
    source = positional[0] if positional else None
    output = _new_file(options, source)
    start = time.monotonic()
    prepare_environment()
    is_data = source is not None and not names_file(source)
    with _source_without_flag():
        if notice := ensure_reachable(encoder, source if is_data else None):
            print(notice, file=sys.stderr)
    if not encoder:
        from hftune.training.word_vectors import import_gensim

        import_gensim()  # before a minute of reading
    texts = _read(source, options) if source else None
    words, vectors = _of_encoder(encoder, texts, options) if encoder else _learn(texts or [], options)
    from hftune.data.text.word_vectors import write_vectors

    write_vectors(output, words, vectors)
    minutes = (time.monotonic() - start) / 60
    of_texts = f" from {len(texts):,} texts of {sum(map(len, texts)):,} words" if texts else ""
    print(
        f"{output}: {len(words):,} words with vectors of {vectors.shape[1]} numbers{of_texts}, "
        f"in {minutes:.1f} minutes"
    )
    print(f"use it: {_next_command(source, is_data, options)}")


def _check(positional: list[str], options: dict[str, Any]) -> None:
    """Raises `BadInput` for what contradicts, and for numbers that are too small."""
    encoder = options.get("model_name_or_path")
    if len(positional) > 1 or not (positional or encoder):
        raise BadInput("hftune vectors needs one source of texts: hftune vectors FILE --output own.vec")
    if "output" not in options:
        raise BadInput("hftune vectors needs a file to write: --output own.vec")
    for flag in LEARNING if encoder else ():
        if flag in options:
            raise BadInput(f"--{flag}: an encoder's vectors are not learned; leave it out")
    for flag in () if positional else (*READING, "min_frequency"):
        if flag in options:
            raise BadInput(f"--{flag} needs texts: hftune vectors SOURCE --{flag} {options[flag]}")
    for flag, least in {"vector_size": 1, "window": 1, "epochs": 1, "min_frequency": 1, "seed": 0}.items():
        if options.get(flag, least) < least:
            raise BadInput(f"--{flag} {options[flag]}: must be at least {least}")
    if options.get("seed", 0) > LARGEST:
        raise BadInput(f"--seed {options['seed']}: must be at most {LARGEST}")


def _new_file(options: dict[str, Any], source: str | None) -> Path:
    """Returns the file to write, which is not there yet."""
    path = output_file(options, SUFFIXES, reads=[source, *_names(options, "holdout")])
    assert path is not None
    if path.exists():
        raise BadInput(f"--output {options['output']}: is there already; remove it or pass another file")
    return path


@contextmanager
def _source_without_flag() -> Iterator[None]:
    """Names the source as the user did: here it has no flag, as it has in training."""
    try:
        yield
    except BadInput as error:
        raise BadInput(error.message.removeprefix("--dataset_name "), error.details) from None


def _names(options: dict[str, Any], flag: str) -> list[str]:
    """Returns the names of a flag that are separated by commas, each once."""
    return list(dict.fromkeys(name.strip() for name in options.get(flag, "").split(",") if name.strip()))


def _read(source: str, options: dict[str, Any]) -> list[list[str]]:
    """Returns the words of each text, after saying what was read and what was left out."""
    import datasets

    from hftune.data.text.corpus import read_corpus

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    with _source_without_flag():
        corpus = read_corpus(
            source,
            splits=_names(options, "split") or ["train"],
            holdout=_names(options, "holdout"),
            column=options.get("text_column_name"),
            config=options.get("dataset_config_name"),
        )
    for line in corpus.warnings:
        print(f"warning: {line}", file=sys.stderr)
    for line in corpus.notes:
        print(line, flush=True)
    return corpus.texts


def _learn(texts: list[list[str]], options: dict[str, Any]) -> tuple[list[str], "np.ndarray"]:
    from hftune.training.word_vectors import learn_vectors

    given = {flag: options[flag] for flag in (*LEARNING, "vector_size", "min_frequency") if flag in options}
    total = len(texts) * (given.get("epochs", 5) + 1)
    with tqdm(desc="learning", total=total, unit="text", disable=None, leave=False) as bar:
        return learn_vectors(texts, **given, on_text=bar.update)


def _of_encoder(
    name: str, texts: list[list[str]] | None, options: dict[str, Any]
) -> tuple[list[str], "np.ndarray"]:
    from hftune.inference.static_vectors import static_vectors

    words = None
    if texts is not None:
        least = options.get("min_frequency", 5)
        words = [word for word, count in Counter(chain.from_iterable(texts)).most_common() if count >= least]
        if not words:
            raise BadInput(f"--min_frequency {least}: no word of the texts occurs so often; lower it")
    return static_vectors(name, words, options.get("vector_size"))


def _next_command(source: str | None, is_data: bool, options: dict[str, Any]) -> str:
    """Returns the command that trains on the vectors; static ones suit a model that only adds them up."""
    recipe = "imdb_bag" if options.get("model_name_or_path") else "imdb_textcnn"
    data = [] if source is None else ["--dataset_name" if is_data else "--train_file", source]
    if source and source.lower().endswith(LINES):  # it has no labels
        data = ["--train_file", "FILE.csv"]
    for flag in ("dataset_config_name", "text_column_name"):
        data += [f"--{flag}", options[flag]] if flag in options else []
    return shlex.join(["hftune", "run", recipe, *data, "--embeddings", options["output"]])
