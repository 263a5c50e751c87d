"""Whole runs on the pretend device, many in one process, and what was seen of each.

python -m tests.pretend.cases FOLDER CASE ...      # writes a line of JSON for each to FOLDER/1/seen.jsonl
python -m tests.pretend.cases --real FOLDER CASE ...   # the same, deterministically, on the real device
"""

import contextlib
import hashlib
import json
import os
import sys
import traceback
from collections import Counter
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import hftune.run
import hftune.training.loop
import hftune.training.setup
import hftune.training.state
from hftune.seed import key
from tests.pretend import device
from tests.programs.test_run_tokens import write_words
from tests.runs import digest, file_flags, run_recipe, start_from, write_images, write_reviews
from tests.tiny import tiny_checkpoint

TWICE = ("encoder", "vit")  # in two processes too: LayerNorm has no statistics of a batch
PRECISIONS = ("fp32", "bf16", "fp16")
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "timm_lamb")  # as --help names them
STEPS, HALF = 4, 2
COMMON = {
    "max_steps": STEPS,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 8,
    "baselines": False,
    "dataloader_num_workers": 0,
    "save_strategy": "steps",
    "save_steps": HALF,
    "eval_strategy": "steps",
    "eval_steps": HALF,
    "save_total_limit": "none",
    "load_best_model_at_end": False,
}
TEXTS = {"max_length": 16}
ROWS = {"train": 40, "validation": 18, "test": 18}
RESNET9 = {"config_overrides": "width=4", "image_size": 16, "augmentation": "strong"}
TIMM = {"model_type": "test_resnet", "image_size": 32, "optim": "adamw_torch_fused", "learning_rate": 0.01}
VIT = {"model_type": "vit_tiny_patch16_224", "image_size": 32, "config_overrides": "depth=2,embed_dim=24"}
CRF = "embedding_dim=8,char_filters=6,hidden_size=6"
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {  # the recipe, its data, its flags
    "bag": ("imdb_bag", "texts", {"config_overrides": "embedding_dim=8,num_buckets=64"}),
    "textcnn": ("imdb_textcnn", "texts", {"config_overrides": "embedding_dim=8,num_filters=4"}),
    "bilstm": ("imdb_bilstm", "texts", {"config_overrides": "embedding_dim=8,hidden_size=8"}),
    "encoder": ("imdb", "encoder", {"class_weight": "balanced", "model_ema": 0.9}),
    "numbers": ("imdb", "encoder", {"task": "regression"}),
    "labels": ("imdb", "encoder", {"task": "multi_label", "class_weight": "balanced"}),
    "tags": ("wnut", "words", {"window_stride": 4}),
    "crf": (
        "wnut_bilstm_crf",
        "words alone",
        {"config_overrides": CRF, "vocab_size": 100, "window_stride": 4},
    ),
    "masked": ("imdb_mlm", "encoder", {}),
    "resnet9": ("shapes", "images", RESNET9 | {"mixup": 0.4, "model_ema": 0.9}),
    "timm": ("shapes", "images", TIMM),
    "vit": ("shapes", "images", VIT),
}


@dataclass(frozen=True)
class Case:
    """A run; where it resumes, also its second half once more, from its checkpoint on.

    Args:
        kind: One of `KINDS`.
        precision: One of `PRECISIONS`.
        resumes: See above.
        flags: Further flags.
        fault: What `FAULTS` plants into the code.
    """

    kind: str
    precision: str = "fp32"
    resumes: bool = False
    flags: dict[str, Any] = field(default_factory=dict)
    fault: str = ""


def host_weights(model, batch):
    return (model(**batch).loss * torch.ones(2)).mean()


def waiting(model, batch):
    loss = model(**batch).loss
    return loss * float(loss > 0)


def seed_host(*address):
    torch.default_generator.manual_seed(key(*address))


FAULTS = {  # what the device has to see: the place, and what stands there instead
    "a tensor on the host": ("hftune.tasks.losses.model_loss", host_weights),
    "a wait in the loss": ("hftune.tasks.losses.model_loss", waiting),
    "a seed of the host alone": ("hftune.training.loop.seed_torch", seed_host),
}


def make_cases() -> dict[str, Case]:
    """Returns all cases by name."""
    cases = {f"{kind} {how}": Case(kind, how, how == "bf16") for kind in KINDS for how in PRECISIONS}
    for kind in ("textcnn", "timm"):  # row-major weights, and channels_last ones
        for optim in OPTIMIZERS:
            flags = {"optim": optim, "learning_rate": 0.01}
            cases[f"{kind} {optim}"] = Case(kind, "fp32", True, flags)
            cases[f"{kind} {optim} fp16"] = Case(kind, "fp16", True, flags)
    for kind in TWICE:
        cases[f"{kind} twice"] = Case(kind, "bf16", flags={"gradient_accumulation_steps": 2})
    return cases | {fault: Case("textcnn", resumes="seed" in fault, fault=fault) for fault in FAULTS}


CASES = make_cases()


def flags_of(data: str, folder: Path) -> dict[str, Any]:
    """Writes the data, if they are not there, and returns the flags that name those of a kind."""
    encoder = folder / "encoder"
    if not encoder.exists():
        folder.mkdir(parents=True)
        write_reviews(folder)
        write_images(folder, ROWS)
        write_words(folder)
        tiny_checkpoint("bert", encoder)
    if data == "images":
        return {f"{split}_dir": folder / split for split in ROWS}
    words = file_flags(folder)
    files = {word.removeprefix("--"): path for word, path in zip(words[::2], words[1::2], strict=True)}
    if data.startswith("words"):
        files = {name: path.with_suffix(".conll") for name, path in files.items()}
    more = {"model_name_or_path": encoder} if data in ("encoder", "words") else {}
    return files | TEXTS | more | ({"min_frequency": 1} if data == "texts" else {})


def run_case(case: Case, folder: Path, run_dir: Path) -> dict[str, Any]:
    """Runs a case.

    Returns:
        The run's `digest`; `resumed`, whether the second half came to the same once more; and for what the
        host waited in the last `step`, the last `scoring` of a split, and the last `save`.
    """
    name, data, given = KINDS[case.kind]
    recipe = import_module(f"hftune.recipes.{name}").recipe
    precision = {"bf16": case.precision == "bf16", "fp16": case.precision == "fp16"}
    given = COMMON | flags_of(data, folder / "data") | given | precision | case.flags
    flags = [part for flag, value in given.items() for part in (f"--{flag}", value)]
    with patch(*FAULTS[case.fault]) if case.fault else contextlib.nullcontext():
        with counted_waits() as seen:
            run_recipe(recipe, flags, run_dir)
        result: dict[str, Any] = {"digest": hashlib.sha256(digest(run_dir).encode()).hexdigest(), **seen}
        if case.resumes and "RANK" not in os.environ:
            again = run_dir.with_name(f"{run_dir.name} resumed")
            start_from(run_dir, again, HALF)
            run_recipe(recipe, flags, again)
            result["resumed"] = digest(again) == digest(run_dir)
    return result


@contextlib.contextmanager
def counted_waits():
    """Yields by what and where the host waited in the last step, the last scoring, and the last save."""
    seen: dict[str, Counter[str]] = {}

    def counted(function, name):
        def call(*args, **kwargs):
            before = Counter(device.waits)
            result = function(*args, **kwargs)
            seen[name] = device.waits - before
            return result

        return call

    places = {"step": "training.loop.update", "scoring": "training.setup.predict"}
    places["save"] = "training.state.save_checkpoint"
    with contextlib.ExitStack() as stack:
        for name, place in places.items():
            module, _, function = f"hftune.{place}".rpartition(".")
            whole = getattr(sys.modules[module], function)
            stack.enter_context(patch.object(sys.modules[module], function, counted(whole, name)))
        yield seen


def give_scaler(make):
    """Lets accelerate, which knows by name the devices that have fp16's scaler, give one to this device."""

    def make_accelerator(settings, precision, run_dir):
        accelerator = make(settings, "bf16" if precision == "fp16" else precision, run_dir)
        if precision == "fp16":
            accelerator.state._mixed_precision = "fp16"
            accelerator.scaler = torch.amp.GradScaler(device.NAME)
        return accelerator

    return make_accelerator


def main(folder: Path, names: list[str], *, real: bool = False) -> None:
    """Runs cases one after the other; an error ends its own alone."""
    if not real:
        device.install()
        hftune.run.make_accelerator = give_scaler(hftune.run.make_accelerator)
    runs = folder / os.environ.get("WORLD_SIZE", "1")
    runs.mkdir(parents=True, exist_ok=True)
    with patch("hftune.tasks.intervals.DRAWS", 20), patch("os.fsync"):
        for name in names:
            print(f"--- {name}", flush=True)
            case = CASES[name]
            if real:
                case = replace(case, flags=case.flags | {"full_determinism": True})
            try:
                result = run_case(case, folder, runs / name)
            except Exception as error:
                traceback.print_exc()
                result = {"error": repr(error)}
            if os.environ.get("RANK", "0") == "0":
                with (runs / "seen.jsonl").open("a") as file:
                    file.write(json.dumps({"case": name, **result}) + "\n")


if __name__ == "__main__":
    try:
        real, words = sys.argv[1] == "--real", sys.argv[1:]
        main(Path(words[real]), words[real + 1 :], real=real)
    finally:  # see device.py
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
