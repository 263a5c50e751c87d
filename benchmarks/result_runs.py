"""The runs of docs/results.md: which recipe with which flags, and how their table looks."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Section(NamedTuple):
    """A part of the page.

    Args:
        note: What to know of the data, Markdown.
        scores: Metric of the task by heading; the baseline is compared by the first one.
    """

    note: str
    scores: Mapping[str, str]


class Run(NamedTuple):
    """One row of a table: its section, a recipe file, and flags beyond the recipe's own settings."""

    section: str
    recipe: str
    flags: tuple[str, ...] = ()


def seeds(name: str, run: Run, numbers: Iterable[int] = (42, 1, 2)) -> dict[str, Run]:
    """Returns a run once for each seed, under its name and the seed."""
    return {f"{name}, seed {n}": run._replace(flags=(*run.flags, "--seed", str(n))) for n in numbers}


CLASSES = {"Accuracy": "accuracy", "F1": "f1"}
MANY_CLASSES = {"Accuracy": "accuracy", "F1, macro": "f1_macro"}
SECTIONS = {
    "IMDb": Section(
        """25,000 test reviews of stanfordnlp/imdb. The baseline is TF-IDF with logistic regression.

Why a network can stay under the baseline: the losses in the table at the end. Where the loss on the last
training rows is far below the one on validation rows, the network has learned its 22,500 reviews by
heart and is short of data, not of size; the baseline holds a weight for every frequent pair of words under
a strong prior, which is hard to beat from scratch. A pretrained encoder has seen other text.""",
        CLASSES,
    ),
    "Hot dog": Section(
        """500 test photos of hftune/hot-dog, from 473 photos to train on and 25 to watch. The
baseline is logistic regression on thumbnails of 8 x 8 pixels. Features: a linear layer on what the frozen
network sees. From scratch: the same architecture without its ImageNet weights, to show what they give.""",
        CLASSES,
    ),
    "CIFAR-10": Section(
        """10,000 test images of uoft-cs/cifar10, in a copy that was saved as JPEG at a quality
of about 75, which costs a little. Scored on the images as they are; the mean over each and its mirror
image is in the last column.""",
        MANY_CLASSES,
    ),
}

# What one core without a GPU, shared with other work, trained in 40 minutes; see docs/results.md.
SUBSET = (
    *("--max_train_samples", "12000", "--num_train_epochs", "1", "--max_length", "256"),
    *("--truncation", "head+tail", "--config_overrides", "attention_probs_dropout_prob=0"),
    *("--learning_rate", "1e-4"),
)
# The same architecture without its ImageNet weights; more epochs and a higher rate, as random weights need.
SCRATCH = ("--model_type", "mobilenetv2_100", "--learning_rate", "2e-3", "--num_train_epochs", "8")
RUNS = {
    "bag": Run("IMDb", "recipes/imdb_bag.py"),
    "textcnn": Run("IMDb", "recipes/imdb_textcnn.py", ("--embeddings", "runs/imdb.vec")),  # imdb_vectors.py
    "bilstm": Run("IMDb", "recipes/imdb_bilstm.py", ("--embeddings", "runs/imdb.vec")),
    "minilm": Run("IMDb", "recipes/imdb.py", SUBSET),
    **seeds("hotdog", Run("Hot dog", "recipes/hotdog.py")),
    "hotdog from scratch": Run("Hot dog", "recipes/hotdog.py", SCRATCH),
    "hotdog features": Run("Hot dog", "recipes/hotdog_features.py"),
    "cifar10": Run("CIFAR-10", "recipes/cifar10.py", ("--test_time_augmentation",)),
}
