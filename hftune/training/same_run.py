"""Whether the run that a folder holds is the one that was asked for: its recipe, its data and its model."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import try_to_load_from_cache
from transformers import PreTrainedModel

from hftune.data.dataset import Data
from hftune.errors import BadInput
from hftune.recipe import Recipe
from hftune.settings.base import Settings, first_default
from hftune.storage.code_identity import VERSION, identify
from hftune.storage.files import hash_file, plain
from hftune.storage.model_files import hash_model
from hftune.storage.run_dir import RunRecord, package_versions, settings_of
from hftune.tasks import USUAL, find_task
from hftune.training.context import Run
from hftune.training.precision import device_name

PARTS = ("load_data", "build_model", "metrics", "loss", "after_step")
SPLITS = {"train": "training", "validation": "validation", "test": "test"}
OTHERWISE = "choose another --output_dir, or start again in this one with --overwrite_output_dir"

# What may change between a start and its resumption, because no number depends on it.
MAY_CHANGE_ON_RESUME = {
    "dataloader_num_workers",
    "baselines",
    "hub_model_id",
    "hub_private_repo",
    "hub_revision",
    "logging_steps",
    "output_dir",
    "overwrite_output_dir",
    "push_to_hub",
    "report_to",
    "resume_from_checkpoint",
    "save_total_limit",
}


def new_record(run: Run, data: Data, parts: dict[str, str]) -> RunRecord:
    """Notes what a run's numbers depend on; `parts` are those of its recipe."""
    accelerator, settings = run.accelerator, run.settings
    return RunRecord(
        settings=dataclasses.asdict(settings),
        versions=package_versions(),
        data_fingerprints=fingerprints(data),
        threads=torch.get_num_threads(),
        world_size=accelerator.num_processes,
        micro_batches_per_step=settings.gradient_accumulation_steps * accelerator.num_processes,
        parts=parts,
        sources=hash_sources(settings),
        claimed=False,
        precision=accelerator.mixed_precision,
        device=device_name(accelerator.device),
        facts=data.task.facts(),
    )


def begun_precision(settings: Settings, run_dir: Path) -> str | None:
    """Returns the precision of the run that is gone on with; None where none is, or it does not say."""
    if asked := settings.resume_from_checkpoint:
        records = [RunRecord.read(place) for place in (Path(asked), Path(asked).parent)]
        return next((record.precision for record in records if record), None)
    record = RunRecord.read(run_dir)
    if record is None or record.finished:
        return None
    removed = settings.overwrite_output_dir and not record.settings.get("overwrite_output_dir")
    return None if removed else record.precision


def as_begun(record: RunRecord, settings: Settings) -> Settings:
    """Returns the settings with which a run goes on.

    The task that was found for its rows stays, unless `--task` says another. In a run from before `data_seed`
    its `seed` drew the rows.
    """
    there, kept = settings_of(record), {}
    if settings.task is None:
        kept["task"] = there["task"]
    if "data_seed" not in record.settings and settings.data_seed == type(settings)().data_seed:
        kept["data_seed"] = there["data_seed"]
    return settings.replace(**kept)


def refuse_other_settings(run_dir: Path, record: RunRecord, settings: Settings) -> None:
    """Raises `BadInput` if a folder holds a run with other settings, or what no run made."""
    if record.averaged:
        raise BadInput(f"{run_dir} holds the mean of other runs; {OTHERWISE}")
    kind = type(settings)  # a younger setting began with its first default, whatever a recipe says of it now
    defaults = {field.name: first_default(kind, field.name) for field in dataclasses.fields(kind)}
    there, here = (_with_metric(of) for of in (settings_of(record), dataclasses.asdict(settings)))
    if changed := compare_settings(there, here, defaults):
        problem = f"{run_dir} holds a run with other settings; repeat its settings to go on, {OTHERWISE}"
        raise BadInput(problem, changed)


def _with_metric(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Names the metric that chooses the best model where the settings do not.

    Earlier versions wrote "accuracy" then, also for tasks that have none.
    """
    metrics = find_task(settings["task"] or USUAL)().metrics
    chosen = settings.get("metric_for_best_model")
    usual = chosen is None or (chosen == "accuracy" and chosen not in metrics)
    return {**settings, "metric_for_best_model": next(iter(metrics)) if usual else chosen}


def compare_settings(
    old: Mapping[str, Any], new: Mapping[str, Any], defaults: Mapping[str, Any]
) -> list[str]:
    """Lists the settings in which a run differs from its folder's, those of MAY_CHANGE_ON_RESUME apart.

    Args:
        old: The settings that run.json holds.
        new: The settings of this start.
        defaults: What a setting was that run.json does not know, because it is younger.

    Returns:
        One line each, such as "learning_rate: 5e-05 there, 0.0001 here", in the order of `new`.
    """
    there = plain({name: defaults[name] for name in new if name in defaults} | dict(old))
    here, absent = plain(new), object()
    lines = []
    for name in dict.fromkeys([*here, *there]):
        pair = there.get(name, absent), here.get(name, absent)
        if name not in MAY_CHANGE_ON_RESUME and pair[0] != pair[1]:
            said = ["not set" if value is absent else repr(value) for value in pair]
            lines.append(f"{name}: {said[0]} there, {said[1]} here")
    return lines


def identify_parts(recipe: Recipe) -> dict[str, str]:
    """Returns the identity of each part of a recipe that a run's numbers depend on, besides its settings."""
    return {name: identify(getattr(recipe, name)) for name in PARTS}


def refuse_other_parts(run_dir: Path, record: RunRecord, parts: dict[str, str]) -> None:
    """Raises `BadInput` if a folder holds a run of a recipe with other code, comments apart.

    Args:
        run_dir: The run's folder.
        record: Its run.json; what it does not have, and what `has_other_identities`, is not compared.
        parts: What `identify_parts` or `identify_model` returned.
    """
    if has_other_identities(record):
        return
    changed = [name for name, digest in parts.items() if record.parts.get(name, digest) != digest]
    if changed:
        verb = "has" if len(changed) == 1 and changed != ["metrics"] else "have"
        names = " and ".join(filter(None, (", ".join(changed[:-1]), changed[-1])))
        raise BadInput(f"{run_dir} holds a run of another recipe: its {names} {verb} changed; {OTHERWISE}")


def has_other_identities(record: RunRecord) -> bool:
    """Returns whether a run was begun by an hftune that writes code down in another way, or not at all."""
    return not record.parts or not all(part.startswith(f"{VERSION}:") for part in record.parts.values())


def identify_model(model: PreTrainedModel) -> dict[str, str]:
    """Returns the identity of a model's class, whose code may be the user's."""
    return {"model": identify(type(model))}


def fingerprints(data: Data) -> dict[str, str]:
    """Returns the fingerprint of all rows, and of each split what tells which one has changed."""
    sets = {"train": data.train, "validation": data.validation, "test": data.test}
    found = {"data": data.fingerprint}
    for name, rows in sets.items():
        if rows is not None:
            content = np.asarray(rows.targets).tobytes() + np.asarray(rows.lengths).tobytes()
            found[name] = f"{len(rows)} rows, {hashlib.sha256(content).hexdigest()}"
    return found


def refuse_other_data(run_dir: Path, record: RunRecord, data: Data) -> None:
    """Raises `BadInput` if a folder holds a run on other rows, and says of which split where that shows."""
    there, here = record.data_fingerprints, fingerprints(data)
    if there["data"] == here["data"]:
        return
    changed = [name for name in SPLITS if "train" in there and there.get(name) != here.get(name)]
    which = " and ".join(SPLITS[name] for name in changed)
    said = f"the {which} rows have changed since" if changed else "the rows have changed since"
    raise BadInput(f"{run_dir} holds a run on other data: {said}; {OTHERWISE}")


def hash_sources(settings: Settings) -> dict[str, str]:
    """Returns the SHA-256 (hex) of each file that a model is begun from, or its teacher is, by flag and name.

    A Hub id is looked up in the cache, where it lies once the data or the model were loaded.
    """
    found = {}
    for flag in ("embeddings", "checkpoint_path"):
        path = os.path.expanduser(getattr(settings, flag) or "")
        if os.path.isfile(path):
            found[f"--{flag}"] = hash_file(Path(path))
    for flag in ("model_name_or_path", "teacher"):
        files = hash_saved(getattr(settings, flag) or "")
        found |= {f"{name} of --{flag}": digest for name, digest in files.items()}
    return found


def hash_saved(name: str) -> dict[str, str]:
    """Returns the SHA-256 (hex) of each file of a saved model, by its name.

    Args:
        name: A folder or a Hub id; {} for one that the cache does not hold, and for "".
    """
    folder = Path(os.path.expanduser(name))
    if name and not folder.is_dir():
        config = try_to_load_from_cache(name, "config.json")
        if not isinstance(config, str):
            return {}
        folder = Path(config).parent
    return hash_model(folder) if name else {}


def refuse_other_sources(run_dir: Path, record: RunRecord, sources: dict[str, str]) -> None:
    """Raises `BadInput` if a folder holds a run that began from other weights, tokens or word vectors.

    Args:
        run_dir: The run's folder.
        record: Its run.json; runs of an earlier hftune have noted none.
        sources: What `hash_sources` returned.
    """
    found = {name.partition("--")[2] for name in sources}  # a Hub id that left the cache cannot be compared
    changed = [
        name
        for name, digest in record.sources.items()
        if name.partition("--")[2] in found and sources.get(name) != digest
    ]
    if changed:
        more = f" and {len(changed) - 1:,} more" if len(changed) > 1 else ""
        raise BadInput(
            f"{run_dir} holds a run from another start: {changed[0]}{more} has changed since; {OTHERWISE}"
        )


def starts_again(run: Run, record: RunRecord, parts: dict[str, str], data: Data) -> bool:
    """Returns whether the run that a folder holds is to be removed, so that this one begins from nothing.

    One that was begun by the same command with `--overwrite_output_dir` and was interrupted goes on: a
    batch system that repeats commands would otherwise lose it again and again.

    Raises:
        BadInput: It is another run, and `--overwrite_output_dir` was not given.
    """
    run_dir, settings = run.run_dir, run.settings
    try:
        refuse_other_settings(run_dir, record, settings)
        refuse_other_parts(run_dir, record, parts)
        refuse_other_data(run_dir, record, data)
        refuse_other_sources(run_dir, record, hash_sources(settings))
    except BadInput:
        if settings.overwrite_output_dir:
            return True
        raise
    begun_so = record.settings.get("overwrite_output_dir", False)
    return settings.overwrite_output_dir and (record.finished or not begun_so)
