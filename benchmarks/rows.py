"""Cuts the rows of a case once, as files that every side reads, and makes the models that it needs.

train.parquet has the job's `rows`, validation.parquet and test.parquet `scored` rows each; all are drawn
from the data set's train split but the last, from its test split.
"""

from pathlib import Path

import stopwatch
from case import Job

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def texts(job: Job, folder: Path) -> None:
    """Writes reviews with their labels: of a Hub id, or the built-in ones for "sample"."""
    from datasets import load_dataset

    from hftune.data.text.sample import load_sample

    write_splits(load_sample() if job["data"] == "sample" else load_dataset(job["data"]), job, folder)


def images(job: Job, folder: Path) -> None:
    """Writes images with their labels: of a Hub id, or the built-in shapes for "sample"."""
    from datasets import load_dataset

    from hftune.data.image.sample import load_shapes

    found = load_shapes() if job["data"] == "sample" else load_dataset(job["data"])
    columns = {"img": "image"}  # what CIFAR-10 calls them
    write_splits(
        found.rename_columns({k: v for k, v in columns.items() if k in found["train"].features}), job, folder
    )


def write_splits(found, job: Job, folder: Path) -> None:
    """Draws rows and writes them; the labels of train are as mixed as those of the whole."""
    train = found["train"].shuffle(seed=0)
    wanted = job["rows"] + job["scored"]
    if len(train) < wanted:
        raise SystemExit(f"error: {job['data']} has {len(train)} training rows, {wanted} were asked for")
    train.select(range(job["rows"])).to_parquet(folder / "train.parquet")
    train.select(range(job["rows"], wanted)).to_parquet(folder / "validation.parquet")
    found["test"].shuffle(seed=0).select(range(job["scored"])).to_parquet(folder / "test.parquet")


def texts_and_classifier(job: Job, folder: Path) -> None:
    """Writes reviews, and a classifier with a new head to answer with."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    texts(job, folder)
    source = tiny_encoder(job, folder) if job["model"] == "tiny" else job["model"]
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=2, dtype=torch.float32)
    model.save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(source).save_pretrained(folder / "model")


def texts_and_encoder(job: Job, folder: Path) -> None:
    """Writes reviews, and for the dry run an encoder to fine-tune."""
    texts(job, folder)
    if job["model"] == "tiny":
        tiny_encoder(job, folder)


def long_texts_and_encoder(job: Job, folder: Path) -> None:
    """Writes reviews, each repeated to fill `max_length`, and a random BERT of the job's `encoder_sizes`."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    texts(job, folder)
    for part in ("train", "validation", "test"):
        path = str(folder / f"{part}.parquet")
        rows = Dataset.from_parquet(path)
        whole = [f"{text} " * (1 + job["max_length"] // len(text.split())) for text in rows["text"]]
        Dataset.from_dict({"text": whole, "label": rows["label"]}, features=rows.features).to_parquet(path)
    if job["model"] == "tiny":
        tiny_encoder(job, folder)
    else:
        tokenizer = AutoTokenizer.from_pretrained(job["model"])
        tokenizer.save_pretrained(folder / "encoder")
        random_encoder(len(tokenizer), job["encoder_sizes"], folder / "encoder")


def random_encoder(words: int, sizes: dict[str, int], folder: Path) -> None:
    """Writes a random BERT."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=words, pad_token_id=0, **sizes)).save_pretrained(folder)


def tiny_encoder(job: Job, folder: Path) -> str:
    """Writes a random BERT of two narrow layers and a tokenizer of the rows' words; returns its folder."""
    from datasets import Dataset
    from transformers import BertTokenizer

    words = sorted(
        {
            word
            for text in Dataset.from_parquet(str(folder / "train.parquet"))["text"]
            for word in text.split()
        }
    )
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*WORDS, *map(str.lower, words)]))}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    random_encoder(len(vocabulary), sizes, folder / "encoder")
    BertTokenizer(vocab=vocabulary, model_max_length=512).save_pretrained(folder / "encoder")
    return str(folder / "encoder")


def main(job: Job) -> None:
    """Prepares a case; its `prepare` is the name of a function here."""
    globals()[job["prepare"]](job, Path(job["data_folder"]))


if __name__ == "__main__":
    stopwatch.main(main)
