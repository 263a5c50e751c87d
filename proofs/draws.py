"""Settings drawn at random: whatever a user can type, on tiny models and few rows.

A draw is a function of its number alone. What the flags refuse is drawn too, since a refusal is an answer
that has to be the same each time. Left out is `--torch_compile`, which takes a minute.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from timm.optim import list_optimizers

from hftune.data.image.processor import load_processor
from hftune.data.text.pairs import TRUNCATIONS
from hftune.models.image import build_image_classifier
from hftune.models.standalone.pooled import POOLINGS
from hftune.settings.base import OPTIMIZERS, SCHEDULERS
from hftune.settings.image import ImageSettings
from hftune.tasks.base import Task
from hftune.tasks.multi_label import MultiLabel
from hftune.tasks.regression import Regression
from hftune.tasks.single_label import SingleLabel
from hftune.tasks.tokens import Tokens
from proofs.jobs import Job, make_data
from tests.tiny import WORDS, tiny_checkpoint

WAYS = ("elsewhere", "stopped", "killed")
ENCODERS = ("bert", "roberta", "distilbert", "electra", "modernbert")
TIMM = {  # tiny architectures, by what is in them
    "cnn": ("test_resnet", "test_efficientnet", "test_byobnet", "test_nfnet", "test_convnext", "resnest14d"),
    "vit": ("test_vit", "test_vit2", "test_vit3", "test_vit_relpos"),
}
SCHEDULE_ARGUMENTS = {
    "cosine_with_restarts": "num_cycles=2",
    "cosine_with_min_lr": "min_lr_rate=0.1",
    "cosine_warmup_with_min_lr": "min_lr_rate=0.1",
    "reduce_lr_on_plateau": "patience=0",
}
ROWS = {"train": 90, "validation": 18, "test": 18}  # of the tasks beside one label
TOO_LARGE = "timm_kron"  # of all its variants: without opt_einsum they take over 20 GB for a tiny network
Flags = dict[str, Any]


@dataclass(frozen=True)
class Draw:
    """What one trial runs.

    Args:
        number: From which the rest follows.
        job: Recipe and flags.
        processes: How many, on gloo where there are two.
        way: How it is interrupted: gone on with elsewhere from a checkpoint, stopped (SIGTERM) or killed.
        place: When, as a share of the run from 0 to 1.
    """

    number: int
    job: Job
    processes: int
    way: str
    place: float

    def __str__(self) -> str:
        words = " ".join([self.job.recipe, *self.job.words(Path("runs/drawn"))])
        return f"draw {self.number}: {self.processes} x {words} ({self.way} at {self.place:.2f})"


class Data:
    """Files that drawn runs read, written once.

    Args:
        folder: Room for them.
    """

    def __init__(self, folder: Path):
        self.texts, self.images = make_data(folder)
        self.encoders = {name: tiny_checkpoint(name, folder / name) for name in (*ENCODERS, "gpt2")}
        self.network = folder / "network"
        settings = ImageSettings(model_type="test_resnet", image_size=32)
        named = SimpleNamespace(
            task=SingleLabel(("cold", "warm", "hot")), processor=None
        )  # not those of the images
        build_image_classifier(settings, named).save_pretrained(self.network)  # type: ignore[arg-type]
        load_processor(settings).processor.save_pretrained(self.network)
        self.of_tasks = {kind: write_rows(folder / kind, kind) for kind in OF_TASKS}
        self.vectors = folder / "vectors.txt"
        numbers = random.Random(0)
        lines = [" ".join([word, *(f"{numbers.gauss(0, 1):.3f}" for _ in range(6))]) for word in WORDS[:40]]
        self.vectors.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_rows(folder: Path, kind: str) -> Flags:
    """Writes rows of one of `OF_TASKS`; returns the flags that name their files."""
    folder.mkdir(parents=True)
    numbers, files = random.Random(kind), {}
    for split, rows in ROWS.items():
        texts = [numbers.choices(WORDS[:60], k=numbers.randrange(4, 24)) for _ in range(rows)]
        others = [text[::-1] if row % 2 else texts[row - 1] for row, text in enumerate(texts)]
        written = [row_of(*both)[kind] for both in zip(texts, others, strict=True)]
        files[f"{split}_file"] = file = folder / f"{split}.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in written), encoding="utf-8")
    return files


def row_of(words: list[str], others: list[str]) -> Flags:
    """Returns a row of each of `OF_TASKS`, in which there is something to learn."""
    text, tags = " ".join(words), {"f": "B-LOC", "m": "B-PER"}
    return {
        "labels": {"text": text, "label": [name for name in ("one", "film", "good") if name in words]},
        "numbers": {"text": text, "label": sum(map(len, words)) / len(words)},
        "pairs": {"sentence1": text, "sentence2": " ".join(others), "label": others == words[::-1]},
        "tokens": {"tokens": words, "tags": [tags.get(word[0], "O") for word in words]},
    }


def draw(number: int, data: Data) -> Draw:
    """Returns the draw of a number."""
    chance = random.Random(f"draw {number}")
    kind = list(KINDS)[number % len(KINDS)]
    recipe, flags = KINDS[kind](chance, data)
    flags |= of_training(chance) | of_saving(chance, OF_TASKS.get(kind, SingleLabel()))
    processes = 2 if chance.random() < 0.12 else 1
    job = Job(f"{kind} {number}", recipe, {name: value for name, value in flags.items() if value is not None})
    return Draw(number, job, processes, chance.choice(WAYS), chance.random())


def maybe(chance: random.Random, share: float, *values: Any) -> Any:
    """Returns one of the values in a share of all cases, else None, which leaves the flag out."""
    return chance.choice(values) if chance.random() < share else None


def of_training(chance: random.Random) -> Flags:
    """Draws what any kind of model can be told about its training."""
    schedule = chance.choice(SCHEDULERS)
    by_epochs = chance.random() < 0.3
    optimizer = chance.choice(OPTIMIZERS)
    if chance.random() < 0.4:
        optimizer = f"timm_{chance.choice([str(name) for name in list_optimizers()])}"
    if optimizer.startswith(TOO_LARGE):
        optimizer = "timm_adamw"
    return {
        "seed": chance.randrange(1000),
        "max_train_samples": chance.randrange(60, 90),
        "max_eval_samples": maybe(chance, 0.2, 1, 10),
        "num_train_epochs": chance.choice((0.5, 1, 1.5)) if by_epochs else None,
        "max_steps": None if by_epochs else chance.randrange(2, 13),
        "per_device_train_batch_size": chance.choice((8, 16, 31) if by_epochs else (1, 3, 8, 8, 8, 11, 31)),
        "per_device_eval_batch_size": chance.choice((7, 64)),
        "gradient_accumulation_steps": maybe(chance, 0.4, 2, 3),
        "dataloader_num_workers": chance.choice((0, 0, 1, 2)),
        "learning_rate": f"{10 ** chance.uniform(-5, -1.5):.1e}",
        "weight_decay": maybe(chance, 0.3, 0, 0.1),
        "optim": optimizer,
        "lr_scheduler_type": schedule,
        "lr_scheduler_kwargs": SCHEDULE_ARGUMENTS.get(schedule),
        "warmup_steps": chance.choice((0, 0.2, 0.3, 2)),
        "max_grad_norm": chance.choice((0, 0.1, 1)),
        "head_lr_multiplier": maybe(chance, 0.3, 10),
        "layer_decay": maybe(chance, 0.3, 0.7),
        "label_smoothing_factor": maybe(chance, 0.2, 0.1),
        "class_weight": maybe(chance, 0.15, "balanced", "balanced", "1,2", "1,2,0.5"),
        "freeze": maybe(chance, 0.15, "backbone", "bias", "norm|bn", "embed", "weight"),
        "gradual_unfreezing": maybe(chance, 0.15, 0.2, 0.6),
        "model_ema": maybe(chance, 0.3, 0.5, 0.99),
        "gradient_checkpointing": maybe(chance, 0.15, True),
        "bf16": maybe(chance, 0.8, False, False, True),
        "fp16": maybe(chance, 0.02, True),
        "baselines": False,
    }


def of_saving(chance: random.Random, task: Task) -> Flags:
    """Draws when a run evaluates and saves, and which of its models it keeps."""
    eval_strategy = chance.choice(("no", "steps", "steps", "steps", "epoch", "epoch"))
    save_strategy = chance.choice(("no", "steps", "steps", "steps", "epoch", "best"))
    return {
        "eval_strategy": eval_strategy,
        "eval_steps": chance.choice((1, 2, 3, 0.4)) if eval_strategy == "steps" else None,
        "save_strategy": save_strategy,
        "save_steps": chance.choice((1, 2, 5, 0.3)) if save_strategy == "steps" else None,
        "save_total_limit": chance.choice((1, 2, 3, "none")),
        "load_best_model_at_end": maybe(chance, 0.4, True, False, False),
        "metric_for_best_model": maybe(chance, 0.6, "loss", *task.metrics),
        "greater_is_better": maybe(chance, 0.05, True, False),
        "early_stopping_patience": maybe(chance, 0.2, 1, 2),
        "logging_steps": chance.choice((1, 3, 0.2)),
    }


def of_texts(chance: random.Random, data: Data) -> Flags:
    """Draws what runs on texts can be told."""
    sampling = chance.choice(("random", "group_by_length"))
    files = data.texts if chance.random() < 0.8 else {"train_file": data.texts["train_file"]}
    return files | {
        "max_length": chance.choice((16, 40)),
        "truncation": chance.choice(("head", "tail", "head+tail")),
        "train_sampling_strategy": sampling,
        "tokens_per_batch": maybe(chance, 0.3, 100, 300),
    }


def small_text_model(recipe: str, overrides: str) -> Callable[[random.Random, Data], tuple[str, Flags]]:
    """Returns what draws a run of a text model that is trained from scratch."""

    def kind(chance: random.Random, data: Data) -> tuple[str, Flags]:
        vectors = maybe(chance, 0.3, data.vectors)
        return recipe, of_texts(chance, data) | {
            "config_overrides": overrides,
            "tokenizer_type": chance.choice(("word", "character")),
            "min_frequency": chance.choice((1, 2)),
            "embeddings": vectors,
            "freeze_embeddings": maybe(chance, 0.5, True) if vectors else None,
        }

    return kind


def encoder(chance: random.Random, data: Data) -> tuple[str, Flags]:
    """A checkpoint under the classifier of its own architecture."""
    return "imdb", of_texts(chance, data) | {"model_name_or_path": data.encoders[chance.choice(ENCODERS)]}


def pooled(chance: random.Random, data: Data) -> tuple[str, Flags]:
    """The same under a pooling."""
    recipe, flags = encoder(chance, data)
    return recipe, flags | {"pooling": chance.choice(POOLINGS)}


def decoder(chance: random.Random, data: Data) -> tuple[str, Flags]:
    """A GPT-2-like checkpoint under a pooling."""
    flags = of_texts(chance, data) | {"model_name_or_path": data.encoders["gpt2"]}
    return "imdb", flags | {"pooling": chance.choice(("last", "mean"))}


def labels(chance: random.Random, data: Data) -> tuple[str, Flags]:
    """Any of several labels, from word embeddings; that lists are several labels is mostly found."""
    recipe, flags = KINDS["bag"](chance, data)
    named = {"task": maybe(chance, 0.2, "multi_label"), "thresholds": maybe(chance, 0.4, "common", "0.5")}
    return recipe, flags | data.of_tasks["labels"] | named


def numbers(chance: random.Random, data: Data) -> tuple[str, Flags]:
    """A number, from an encoder or from a convolution over words; that it is one is mostly found."""
    recipe, flags = chance.choice((encoder, KINDS["textcnn"]))(chance, data)
    return recipe, flags | data.of_tasks["numbers"] | {"task": maybe(chance, 0.2, "regression")}


def pairs(chance: random.Random, data: Data) -> tuple[str, Flags]:
    """Pairs of texts under any pooling."""
    cut = {"truncation": chance.choice(("head", *TRUNCATIONS)), "pooling": chance.choice(POOLINGS)}
    flags = of_texts(chance, data) | data.of_tasks["pairs"] | cut
    return "mrpc", flags | {"model_name_or_path": data.encoders[chance.choice(ENCODERS)]}


def tokens(chance: random.Random, data: Data) -> tuple[str, Flags]:
    """Words with tags, under an encoder or a small BiLSTM-CRF."""
    flags = of_texts(chance, data) | data.of_tasks["tokens"] | {"truncation": None, "window_stride": 4}
    if chance.random() < 0.5:
        return "wnut", flags | {"model_name_or_path": data.encoders[chance.choice(ENCODERS)]}
    sizes = "embedding_dim=6,hidden_size=6,char_filters=4,dropout=0.3"
    return "wnut_bilstm_crf", flags | {"config_overrides": sizes, "vocab_size": 200, "min_frequency": 1}


def of_images(chance: random.Random, data: Data) -> Flags:
    """Draws what runs on images can be told."""
    folders = data.images if chance.random() < 0.8 else {"train_dir": data.images["train_dir"]}
    return folders | {
        "image_size": 32,
        "augmentation": chance.choice(("none", "light", "standard", "strong", "randaugment")),
        "mixup": maybe(chance, 0.3, 0.4),
        "cutmix": maybe(chance, 0.2, 1.0),
        "channels_last": maybe(chance, 0.3, False),
        "freeze_batch_norm": maybe(chance, 0.2, True),
        "test_time_augmentation": maybe(chance, 0.1, True),
    }


def resnet9(chance: random.Random, data: Data) -> tuple[str, Flags]:
    """The small residual network."""
    size = {"image_size": chance.choice((16, 24)), "config_overrides": "width=4"}
    return "shapes", of_images(chance, data) | size


def of_timm(part: str) -> Callable[[random.Random, Data], tuple[str, Flags]]:
    """Returns what draws a run of an architecture of timm from scratch."""

    def kind(chance: random.Random, data: Data) -> tuple[str, Flags]:
        return "hotdog", of_images(chance, data) | {"model_type": chance.choice(TIMM[part])}

    return kind


def hotdog(chance: random.Random, data: Data) -> tuple[str, Flags]:
    """A checkpoint of timm whose BatchNorm keeps its statistics, as recipes/hotdog.py has it."""
    flags = of_images(chance, data) | {"model_name_or_path": data.network}
    return "hotdog", flags | {"freeze_batch_norm": maybe(chance, 0.3, False)}


def features(chance: random.Random, data: Data) -> tuple[str, Flags]:
    """A head on the features of a frozen backbone, as recipes/hotdog_features.py has it."""
    return "hotdog_features", of_images(chance, data) | {"model_name_or_path": data.network}


KINDS = {
    "bag": small_text_model("imdb_bag", "embedding_dim=6,num_buckets=50,dropout=0.2"),
    "textcnn": small_text_model("imdb_textcnn", "embedding_dim=6,num_filters=4"),
    "bilstm": small_text_model("imdb_bilstm", "embedding_dim=6,hidden_size=6,dropout=0.3"),
    "encoder": encoder,
    "pooled": pooled,
    "decoder": decoder,
    "resnet9": resnet9,
    "timm cnn": of_timm("cnn"),
    "timm vit": of_timm("vit"),
    "hotdog": hotdog,
    "features": features,
    "labels": labels,
    "numbers": numbers,
    "pairs": pairs,
    "tokens": tokens,
}
OF_TASKS: dict[str, Task] = {  # kinds that have data of their own, and what is asked of them
    "labels": MultiLabel(),
    "numbers": Regression(),
    "pairs": SingleLabel(),
    "tokens": Tokens(seen=frozenset()),
}
