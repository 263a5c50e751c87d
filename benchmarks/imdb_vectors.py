"""Word vectors from IMDb's own reviews, those without labels included, for `--embeddings`.

    python benchmarks/imdb_vectors.py runs/imdb.vec
    accelerate launch recipes/imdb_textcnn.py --embeddings runs/imdb.vec

Skip-gram (Mikolov et al. 2013) by gensim, `pip install gensim`, on the train and unsupervised splits.
The test split is not read, and the validation rows' labels play no part.
"""

import argparse
from pathlib import Path

from datasets import load_dataset
from gensim.models import Word2Vec

from hftune.data.text.vocabulary import train_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path, help="file in word2vec's text format")
    parser.add_argument("--dataset_name", default="stanfordnlp/imdb", help="Hub id or local folder")
    parser.add_argument("--dimensions", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="threads; 1 gives the same file every time")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    reviews = load_dataset(options.dataset_name)
    texts = [*reviews["train"]["text"], *reviews["unsupervised"]["text"]]
    words = split_as_the_recipes_do(texts)
    model = Word2Vec(
        words,
        vector_size=options.dimensions,
        window=8,
        min_count=5,
        sg=1,
        negative=5,
        sample=1e-4,
        epochs=options.epochs,
        workers=options.workers,
        seed=options.seed,
    )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    model.wv.save_word2vec_format(str(options.output))
    print(f"{options.output}: {len(model.wv):,} words from {len(words):,} reviews")


def split_as_the_recipes_do(texts: list[str]) -> list[list[str]]:
    """Lower case, words and punctuation apart, as the recipes' vocabularies have them."""
    backend = train_tokenizer(texts[:1], min_frequency=1).backend_tokenizer
    normalize, split = backend.normalizer.normalize_str, backend.pre_tokenizer.pre_tokenize_str
    return [[word for word, _ in split(normalize(text))] for text in texts]


if __name__ == "__main__":
    main()
