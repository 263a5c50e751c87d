"""Loads the model that a command names."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hftune.errors import BadInput
from hftune.runtime.environment import prepare_environment
from hftune.runtime.offline import ensure_reachable
from hftune.storage.run_dir import RunRecord

if TYPE_CHECKING:
    from hftune.inference.load import LoadedModel

MODEL_FLAGS: dict[str, Any] = {"revision": str, "trust_remote_code": bool}  # of every command that opens one
INPUT_FLAGS = {  # those that only models of these inputs have
    "text": ("text_column_name", "text_pair_column_name", "text_pair"),
    "image": ("image_column_name", "image_dir", "test_dir", "skip_bad_images"),
}


PAIR_FLAGS = ("text_pair", "text_pair_column_name")  # with which a model of any text reads pairs


def open_model(
    name: str, options: dict[str, Any], *, dataset: str | None = None, own_rows: bool = False
) -> "LoadedModel":
    """Loads a saved model, after one look whether the Hub answers where something of it is needed.

    Nothing heavy is imported before that look: the libraries read then whether they may ask the Hub. A
    command imports what else it needs of them behind this call.

    Args:
        name: A run directory, a folder or a Hub id.
        options: The command's flags, `MODEL_FLAGS` among them.
        dataset: A data set that is needed too: a Hub id, a folder, "sample" or None.
        own_rows: Whether the command will try for rows of the data that the model's run was trained for.

    Raises:
        BadInput: The model or the data set cannot be had, or a folder was given a revision; see
            `hftune.inference.load.load_model`.
    """
    if "revision" in options and Path(name).is_dir():
        raise BadInput(f"--revision {options['revision']}: {name} is a folder, only a Hub id has revisions")
    prepare_environment()
    notice = _reach(name, options.get("revision") or "main", dataset, own_rows)
    if notice:
        print(notice, file=sys.stderr)
    from hftune.inference.load import load_model

    loaded = load_model(
        name,
        revision=options.get("revision"),
        trust_remote_code=options.get("trust_remote_code", False),
    )
    asked = next((flag for flag in PAIR_FLAGS if options.get(flag)), None)
    if asked is None:
        return loaded
    if RunRecord.read(Path(name)) and len(loaded.inputs.keys) == 1:
        raise BadInput(f"--{asked}: {name} was trained on single texts")
    return replace(loaded, inputs=loaded.inputs.of_pairs())


def refuse_flags_of_other_inputs(loaded: "LoadedModel", options: dict[str, Any]) -> None:
    """Raises `BadInput` for a flag that a model of these inputs has not."""
    for modality, flags in INPUT_FLAGS.items():
        for flag in flags:
            if modality != loaded.inputs.modality and options.get(flag):
                raise BadInput(f"--{flag}: {loaded.name} classifies {loaded.inputs.plural}")


def _reach(name: str, revision: str, dataset: str | None, own_rows: bool) -> str | None:
    """Returns the line to print where the caches have to do."""
    record = RunRecord.read(Path(name)) if own_rows else None
    if record:
        try:
            return ensure_reachable(name, record.settings.get("dataset_name"), trains=False)
        except BadInput:  # without these rows it works too
            pass
    return ensure_reachable(name, dataset, revision=revision, trains=False)
