"""Trained models whose weights may be averaged: they began as one model, and are asked and read alike."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hftune.errors import BadInput, listed, shown
from hftune.storage.files import read_json
from hftune.storage.model_files import hash_model
from hftune.storage.run_dir import RunRecord, settings_of
from hftune.tasks import task_of
from hftune.tasks.base import Task

# Settings by which models begin otherwise, or read another part of their rows.
START = ("model_name_or_path", "model_type", "checkpoint_path", "embeddings", "truncation")
IGNORED = (
    "transformers_version",
    "_name_or_path",
    "dtype",
)  # of a config, and what has "dropout" in its name


@dataclass(frozen=True)
class Candidate:
    """A finished run, or one of its checkpoints.

    Args:
        name: As the user gave it.
        run_dir: The run's folder.
        record: Its run.json.
        checkpoint: The checkpoint's folder; None: the model of the run.
    """

    name: str
    run_dir: Path
    record: RunRecord
    checkpoint: Path | None

    @classmethod
    def find(cls, name: str) -> "Candidate":
        """Finds a run or a checkpoint by its folder.

        Raises:
            BadInput: It is neither, or of a run that is not finished.
        """
        path = Path(name)
        checkpoint = path if (path / "manifest.json").is_file() else None
        run_dir = path.parent if checkpoint else path
        record = RunRecord.read(run_dir)
        if record is None:
            raise BadInput(f"{name}: neither a run directory nor a checkpoint of one")
        if not record.finished:
            raise BadInput(f"{name}: its run is not finished; repeat its command")
        if checkpoint and record.settings.get("lora_r"):
            raise BadInput(f"{name}: holds adapters of LoRA without their base; name runs, which have both")
        return cls(name, run_dir, record, checkpoint)

    @property
    def short_name(self) -> str:
        """Its name without the folders above the run, for a page that others read."""
        run = self.run_dir.resolve().name
        return f"{run}/{self.checkpoint.resolve().name}" if self.checkpoint else run

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The run's settings by name."""
        return settings_of(self.record)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of the run's config.json."""
        return read_json(self.run_dir / "config.json")

    @cached_property
    def task(self) -> Task:
        """What the run's model was asked."""
        return task_of(self.config, self.settings.get("pos_label"))

    @cached_property
    def reading(self) -> dict[str, str]:
        """The SHA-256, by name, of each file that says how rows are read, and of the model's own code."""
        found = hash_model(self.run_dir)
        return {name: digest for name, digest in found.items() if not _holds_weights(name)}


def refuse_unlike(candidates: Sequence[Candidate]) -> None:
    """Raises `BadInput`, which names two of them, whose mean would be no model or could not be scored."""
    first = candidates[0]
    for other in candidates[1:]:
        if why := _unlike(first, other):
            raise BadInput(f"{first.name} and {other.name} cannot be averaged: {why}")


def _unlike(first: Candidate, other: Candidate) -> str:
    """Says why two candidates do not go together, "" where they do."""
    ours, theirs = first.task, other.task
    if ours.problem_type != theirs.problem_type:
        return f"they answer other questions, {ours.problem_type} and {theirs.problem_type}"
    if ours.labels != theirs.labels:
        return f"their labels are {listed(ours.labels)} and {listed(theirs.labels)}"
    if why := _other_start(first, other):
        return why
    chosen = ours.model_config().keys() | theirs.model_config().keys()
    configs = [_without(one.config, chosen) for one in (first, other)]
    if key := _first_change(*configs):
        here, there = (shown(str(config.get(key))) for config in configs)
        return f"config.json has {key} {here} and {there}"
    if name := _first_change(first.reading, other.reading):
        return f"they read rows in other ways, their {name} differs"
    if first.record.data_fingerprints["data"] != other.record.data_fingerprints["data"]:
        return "they have other rows, so one may have learned what the other is validated on"
    return ""


def _other_start(first: Candidate, other: Candidate) -> str:
    """Says in what two candidates began otherwise, "" where they began with the same weights."""
    here, there = first.settings, other.settings
    for name in START:
        if here.get(name) != there.get(name):
            return f"--{name} is {here.get(name)} and {there.get(name)}"
    pretrained = here.get("model_name_or_path") or here.get("checkpoint_path")
    if not pretrained and here["seed"] != there["seed"]:
        seeds = f"{here['seed']} and {there['seed']}"
        return f"they began from scratch with seeds {seeds}, so with other weights"
    known = first.record.sources.keys() & other.record.sources.keys()  # a file that left the cache is unknown
    sources = [{name: one.record.sources[name] for name in sorted(known)} for one in (first, other)]
    name = _first_change(*sources)
    return f"they began with other weights, {name} had changed" if name else ""


def _first_change(here: dict[str, Any], there: dict[str, Any]) -> str:
    """Returns the first key with another value, "" where there is none."""
    keys = dict.fromkeys([*here, *there])
    return next((key for key in keys if here.get(key) != there.get(key)), "")


def _without(config: dict[str, Any], chosen: Collection[str]) -> dict[str, Any]:
    """Returns what a config says of a model in use, without versions and what a task chose."""
    return {
        key: _without(value, ()) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in IGNORED and key not in chosen and "dropout" not in key
    }


def _holds_weights(name: str) -> bool:
    return "safetensors" in name or name in ("config.json", "generation_config.json")
