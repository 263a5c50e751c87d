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
    "Nothing but the data": Section(
        """What `recipes/imdb.py` makes of other questions with the data's name alone: its rate, its epochs
and its pooling are chosen by rule, and a linear model of the features is where the training starts. Full
sets, and 4,000 rows to train on. Test rows as in the sections below.""",
        {"Accuracy": "accuracy"},
    ),
    "Few labels": Section(
        """As many texts of each label to train on, drawn by the seed from the training rows, and all of the
test rows: 7,600 of AG News, of 4 labels, and 3,080 of banking77, of 77. The mean and the deviation over ten
draws stand below the table.""",
        {"Accuracy": "accuracy"},
    ),
    "Size of a shape": Section(
        """480 of the images that hftune draws, 1,200 to train on and 240 to choose the model: the radius of
the shape in pixels, from 9 to 17. The baseline is ridge regression on thumbnails of 8 x 8 pixels. Of RMSE
less is better.""",
        {"RMSE": "rmse", "Pearson": "pearson", "In its interval": "coverage"},
    ),
    "TREC": Section(
        """500 test questions of CogComp/trec, of six kinds or of 50 finer ones; 545 of the 5,452 questions to
train on choose the model. The baseline is TF-IDF with logistic regression.""",
        CLASSES,
    ),
    "Banking77": Section(
        """3,080 test questions of PolyAI/banking77, of 77 kinds; a tenth of the 10,003 questions to train on
choose the model. The baseline is TF-IDF with logistic regression.""",
        MANY_CLASSES,
    ),
    "SST-2": Section(
        """The labels of GLUE's test sentences are not public, so the 872 validation sentences of
stanfordnlp/sst2 are tested on, and 3 % of train choose the model. The baseline is TF-IDF with logistic
regression.""",
        {"Accuracy": "accuracy"},
    ),
    "IMDb in windows": Section(
        """The first 128 tokens of a window against the first and last tokens of 128 in all: the same encoder
on 1,500 reviews to train on, and the same 4,000 of the test reviews. `hftune compare` takes the difference
row by row: windows are better by 0.025 [0.014, 0.036].""",
        {"Accuracy": "accuracy"},
    ),
    "ChnSentiCorp": Section(
        """1,200 test reviews in Chinese of lansinuote/ChnSentiCorp; 331 of them stand in train too. The
baseline is TF-IDF of one to three characters with logistic regression. The small models start from nothing
and read characters and pairs of them; no encoder of Chinese was tried.""",
        CLASSES,
    ),
    "MRPC": Section(
        """1,725 test pairs; F1 is of "equivalent". The baseline is logistic regression on TF-IDF of both
sentences and on what they share.""",
        CLASSES,
    ),
    "RTE": Section(
        """The labels of GLUE's test pairs are not public, so its 277 validation pairs are tested on, and a
tenth of train validates. The baseline is the one of MRPC.""",
        {"Accuracy": "accuracy"},
    ),
    "STS-B": Section(
        """1,379 test pairs, scored from 0 to 5. The baseline is ridge regression on TF-IDF of both sentences
and on what they share. Of RMSE less is better.""",
        {"RMSE": "rmse", "Pearson": "pearson", "Spearman": "spearman", "In its interval": "coverage"},
    ),
    "WNUT-17": Section(
        """1,287 test posts. F1 is of whole entities, by the rule of conlleval; 2.2 % of the test entities
stand in train. The baseline is logistic regression on a word's spelling and its neighbours'.""",
        {"F1": "f1", "Strict F1": "f1_strict", "F1, unseen": "f1_unseen"},
    ),
    "GoEmotions": Section(
        """5,427 test comments, any of 28 labels. The thresholds of each label are chosen on the 5,426
validation comments, for the baseline too, which is TF-IDF with logistic regression.""",
        {"mAP": "map", "F1, macro": "f1_macro", "F1, micro": "f1_micro"},
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
# A step of the bag changes all of its 8 million numbers: fewer steps take less time.
LARGE_BATCHES = (
    *("--per_device_train_batch_size", "256", "--learning_rate", "4e-2", "--num_train_epochs", "2"),
)
TREC = (
    *("--dataset_name", "CogComp/trec", "--label_column_name", "coarse_label", "--max_length", "64"),
    *("--per_device_train_batch_size", "32", "--learning_rate", "1e-4", "--num_train_epochs", "6"),
)
TREC_FINE = (
    *("--dataset_name", "CogComp/trec", "--label_column_name", "fine_label", "--max_length", "64"),
    *("--per_device_train_batch_size", "32", "--learning_rate", "2e-4", "--num_train_epochs", "10"),
)
BANKING = (
    *("--dataset_name", "PolyAI/banking77", "--max_length", "64", "--per_device_train_batch_size", "32"),
    *("--learning_rate", "2e-4", "--num_train_epochs", "8"),
)
SST2 = (
    *("--dataset_name", "stanfordnlp/sst2", "--test_split", "validation", "--train_val_split", "0.03"),
    *("--max_length", "64", "--per_device_train_batch_size", "32", "--learning_rate", "1e-4"),
    *("--num_train_epochs", "1"),
)
SHORT = (
    *("--max_length", "128", "--max_train_samples", "1500"),
    *("--max_eval_samples", "4000", "--num_train_epochs", "2", "--learning_rate", "1e-4"),
)
CHINESE = (
    *("--dataset_name", "lansinuote/ChnSentiCorp", "--tokenizer_type", "character"),
    *("--num_train_epochs", "6", "--learning_rate", "5e-3", "--config_overrides"),
    "embedding_dim=64,ngrams=2,num_buckets=500000,dropout=0.5,word_dropout=0.3",
)
OTHER_QUESTIONS = {
    "trec": ("--dataset_name", "CogComp/trec", "--label_column_name", "coarse_label"),
    "trec fine": ("--dataset_name", "CogComp/trec", "--label_column_name", "fine_label"),
    "banking77": ("--dataset_name", "PolyAI/banking77"),
    "ag_news": ("--dataset_name", "fancyzhx/ag_news"),
    "sst2": ("--dataset_name", "stanfordnlp/sst2", "--test_split", "validation"),
    "chnsenticorp": ("--dataset_name", "lansinuote/ChnSentiCorp"),
}
DEFAULTS = {
    f"{name}, {rows}": Run("Nothing but the data", "recipes/imdb.py", (*flags, *cut))
    for rows, cut in (("all rows", ()), ("4000 rows", ("--max_train_samples", "4000")))
    for name, flags in OTHER_QUESTIONS.items()
}
FEW = {
    "ag_news 8 a label": ("--samples_per_label", "8"),
    "ag_news 64 a label": ("--samples_per_label", "64"),
    "banking77 8 a label": ("--dataset_name", "PolyAI/banking77", "--samples_per_label", "8"),
}
# 5,050 words of GloVe's 6B vectors of 50 numbers.
CRF = ("--embeddings", "runs/glove.6B.50d.5k.txt", "--early_stopping_patience", "5")
RUNS = {
    "bag": Run("IMDb", "recipes/imdb_bag.py"),
    "bag, large batches": Run("IMDb", "recipes/imdb_bag.py", LARGE_BATCHES),
    "textcnn": Run("IMDb", "recipes/imdb_textcnn.py", ("--embeddings", "runs/imdb.vec")),  # see Makefile
    "bilstm": Run("IMDb", "recipes/imdb_bilstm.py", ("--embeddings", "runs/imdb.vec")),
    "minilm": Run("IMDb", "recipes/imdb.py", SUBSET),
    **seeds("hotdog", Run("Hot dog", "recipes/hotdog.py")),
    "hotdog from scratch": Run("Hot dog", "recipes/hotdog.py", SCRATCH),
    "hotdog features": Run("Hot dog", "recipes/hotdog_features.py"),
    "shapes, size": Run(
        "Size of a shape", "recipes/shapes.py", ("--task", "regression", "--label_column_name", "size")
    ),
    "cifar10": Run("CIFAR-10", "recipes/cifar10.py", ("--test_time_augmentation",)),
    **DEFAULTS,
    **{
        one: run
        for name, flags in FEW.items()
        for one, run in seeds(name, Run("Few labels", "recipes/few_shot.py", flags), range(10)).items()
    },
    "trec": Run("TREC", "recipes/imdb.py", (*TREC, "--pooling", "native")),
    "trec, mean pooling": Run("TREC", "recipes/imdb.py", (*TREC, "--pooling", "mean")),
    "trec, fine": Run("TREC", "recipes/imdb.py", TREC_FINE),
    "banking77": Run("Banking77", "recipes/imdb.py", BANKING),
    "banking77, features": Run("Banking77", "recipes/text_features.py"),
    "sst2": Run("SST-2", "recipes/imdb.py", SST2),
    "imdb, windows of 128": Run(
        "IMDb in windows",
        "recipes/imdb.py",
        (*SHORT, "--truncation", "window", "--window_stride", "16", "--max_windows", "4"),
    ),
    "imdb, head and tail of 128": Run(
        "IMDb in windows", "recipes/imdb.py", (*SHORT, "--truncation", "head+tail")
    ),
    "chnsenticorp bag": Run("ChnSentiCorp", "recipes/imdb_bag.py", CHINESE),
    **seeds("mrpc", Run("MRPC", "recipes/mrpc.py")),
    **seeds("rte", Run("RTE", "recipes/rte.py"), (42, 1, 2, 3, 4)),
    **seeds("stsb", Run("STS-B", "recipes/stsb.py")),
    **seeds("wnut", Run("WNUT-17", "recipes/wnut.py")),
    "wnut_bilstm_crf": Run("WNUT-17", "recipes/wnut_bilstm_crf.py", CRF),
    "go_emotions": Run("GoEmotions", "recipes/go_emotions.py"),
}
