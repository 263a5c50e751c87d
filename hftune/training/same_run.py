"""Whether the run that a folder holds is the one that was asked for: its recipe, its data and its model."""

import hashlib
import os
from pathlib import Path

import numpy as np
from huggingface_hub import try_to_load_from_cache
from transformers import PreTrainedModel

from hftune.data.dataset import Data
from hftune.errors import BadInput
from hftune.recipe import Recipe
from hftune.settings.base import Settings
from hftune.storage.code_identity import identify
from hftune.storage.run_dir import RunRecord, hash_model

PARTS = ("load_data", "build_model", "metrics", "loss", "after_step")
SPLITS = {"train": "training", "validation": "validation", "test": "test"}
OTHERWISE = "choose another --output_dir, or start again in this one with --overwrite_output_dir"


def identify_parts(recipe: Recipe) -> dict[str, str]:
    """Returns the identity of each part of a recipe that a run's numbers depend on, besides its settings."""
    return {name: identify(getattr(recipe, name)) for name in PARTS}


def refuse_other_parts(run_dir: Path, record: RunRecord, parts: dict[str, str]) -> None:
    """Raises `BadInput` if a folder holds a run of a recipe with other code, comments apart.

    Args:
        run_dir: The run's folder.
        record: Its run.json; what it does not have is not compared.
        parts: What `identify_parts` or `identify_model` returned.
    """
    changed = [name for name, digest in parts.items() if record.parts.get(name, digest) != digest]
    if changed:
        verb = "has" if len(changed) == 1 and changed != ["metrics"] else "have"
        names = " and ".join(filter(None, (", ".join(changed[:-1]), changed[-1])))
        raise BadInput(f"{run_dir} holds a run of another recipe: its {names} {verb} changed; {OTHERWISE}")


def identify_model(model: PreTrainedModel) -> dict[str, str]:
    """Returns the identity of a model's class, whose code may be the user's."""
    return {"model": identify(type(model))}


def fingerprints(data: Data) -> dict[str, str]:
    """Returns the fingerprint of all rows, and of each split what tells which one has changed."""
    sets = {"train": data.train, "validation": data.validation, "test": data.test}
    found = {"data": data.fingerprint}
    for name, rows in sets.items():
        if rows is not None:
            content = np.asarray(rows.labels).tobytes() + np.asarray(rows.lengths).tobytes()
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
    """Returns the SHA-256 (hex) of each file that a model is begun from, by its flag and name.

    A Hub id is looked up in the cache, where it lies once the data or the model were loaded.
    """
    found = {}
    for flag in ("embeddings", "checkpoint_path"):
        path = os.path.expanduser(getattr(settings, flag, None) or "")
        if os.path.isfile(path):
            with open(path, "rb") as file:
                found[f"--{flag}"] = hashlib.file_digest(file, "sha256").hexdigest()
    if settings.model_name_or_path and (folder := _model_folder(settings.model_name_or_path)):
        files = hash_model(folder)
        found |= {f"{name} of --model_name_or_path": digest for name, digest in files.items()}
    return found


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


def _model_folder(name: str) -> Path | None:
    folder = Path(os.path.expanduser(name))
    if folder.is_dir():
        return folder
    config = try_to_load_from_cache(name, "config.json")
    return Path(config).parent if isinstance(config, str) else None
