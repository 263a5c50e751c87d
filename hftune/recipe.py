"""A recipe is a value: settings, two plain functions, and the names of its scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hftune.data.dataset import Data
from hftune.settings.base import Settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Recipe:
    """One data set and one model, ready to be launched, pushed, or changed in two lines.

    Args:
        name: Names the run directory, `runs/NAME`.
        description: Shown by `--help`; the recipe file's docstring.
        settings: The defaults; every field is a flag.
        load_data: From settings to `Data`.
        build_model: From settings and data to a model that returns `.loss` and `.logits`.
        metrics: Scores computed on validation and test, names of the task's metrics.
        loss: Replaces the model's own loss: from (model, batch) to the mean over the batch's rows.
        after_step: Called with (steps done, model) before the first and after every step. What it
            does must depend on the number of steps alone, or a resumed run differs.
    """

    name: str
    description: str
    settings: Settings
    load_data: Callable[[Any], Data]
    build_model: Callable[[Any, Data], PreTrainedModel]
    metrics: tuple[str, ...] = ("accuracy", "f1")
    loss: Callable | None = None
    after_step: Callable | None = None

    def replace(self, **changes: Any) -> Recipe:
        """Returns a copy with other parts, or with other settings.

        >>> imdb.recipe.replace(name="reviews", dataset_name="acme/reviews", max_length=256)

        Raises:
            BadInput: If a name is neither a part of a recipe nor a setting.
        """
        parts = {f.name for f in dataclasses.fields(self)}
        own = {name: value for name, value in changes.items() if name in parts}
        settings = {name: value for name, value in changes.items() if name not in parts}
        if settings:
            own["settings"] = own.get("settings", self.settings).replace(**settings)
        return dataclasses.replace(self, **own)
