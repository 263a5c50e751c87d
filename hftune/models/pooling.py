"""Which pooling a checkpoint gets: the one that was asked for, or the one that it was trained with.

A sentence encoder has learned one vector of a text, mostly the mean of its token states, and nothing in the
state of its `[CLS]`: a new classifier on that starts from less. Its repository says how it pools, in the
files of sentence-transformers (Reimers & Gurevych 2019).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.utils import cached_file

from hftune.errors import BadInput
from hftune.models.standalone.pooled import PooledEncoderConfig
from hftune.settings.base import Settings
from hftune.storage.files import read_json

if TYPE_CHECKING:
    from hftune.settings.text import TextSettings

log = logging.getLogger(__name__)

OWNER = "sentence-transformers/"  # on the Hub: all of its models are sentence encoders
USUAL = "mean"  # what sentence-transformers takes for a model that does not say
FLAGS = {  # of a file 1_Pooling/config.json; newer ones have `pooling_mode`
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
MODES = {"cls": "cls", "mean": "mean", "max": "max", "lasttoken": "last"}


def choose_pooling(settings: TextSettings) -> str | None:
    """Returns the pooling of ours that reads the states of a checkpoint's tokens, and says why.

    Args:
        settings: `model_name_or_path`, `pooling` and `truncation` are read.

    Returns:
        A pooling; None: the model's own classifier reads them.
    """
    if settings.pooling != "auto":
        return settings.own_pooling
    trained = trained_pooling(str(settings.model_name_or_path))
    if trained:
        log.info(
            "pooling: %s, as this sentence encoder was trained; --pooling chooses another, native is the "
            "model's own classifier",
            trained,
        )
    return trained or settings.own_pooling


def pooling_of_features(settings: Settings) -> str | None:
    """Returns the pooling with which a checkpoint that has not been trained makes features of texts.

    Args:
        settings: Of any run.

    Returns:
        The one that was asked for, unless it is to be learned or is a classifier's own, which is random at
        first; else the one that the checkpoint was trained with, else the mean. None where rows are no texts,
        or the checkpoint has a pooling of ours.
    """
    asked, name = getattr(settings, "pooling", None), settings.model_name_or_path
    if asked is None or name is None:
        return None
    if (_read(name, "config.json") or {}).get("model_type") == PooledEncoderConfig.model_type:
        return None
    return trained_pooling(name) or USUAL if asked in ("auto", "native", "attention") else asked


def trained_pooling(name: str) -> str | None:
    """Returns how a sentence encoder was trained to make one vector of a text.

    Args:
        name: Hub id or folder of a checkpoint.

    Returns:
        "cls", "mean", "max" or "last"; None where it is no sentence encoder, or nothing of it is here and the
        Hub is out of reach.

    Raises:
        BadInput: One of its files is damaged.
    """
    modules = _read(name, "modules.json")
    if modules is None:
        return USUAL if name.startswith(OWNER) else None
    if not isinstance(modules, list) or not all(_is_module(one) for one in modules):
        raise BadInput(f"{name}: its modules.json lists no modules of sentence-transformers; pass --pooling")
    for module in modules:
        if str(module["type"]).endswith("Pooling"):
            config = _read(name, f"{module['path']}/config.json") or {}
            chosen = [pooling for flag, pooling in FLAGS.items() if config.get(flag)]
            return MODES.get(str(config.get("pooling_mode"))) or (chosen[0] if len(chosen) == 1 else USUAL)
    return None


def _read(name: str, file: str) -> Any:
    """Returns what a JSON file of a checkpoint holds; None where it has none."""
    path = cached_file(
        name,
        file,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return read_json(Path(path)) if path else None


def _is_module(entry: Any) -> bool:
    return isinstance(entry, dict) and {"type", "path"} <= entry.keys()
