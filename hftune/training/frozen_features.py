"""A baseline of what the pretrained model knows before it is trained: its features, under a linear model."""

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.pipeline import Pipeline

from hftune.data.dataset import Data, Rows
from hftune.errors import BadInput, first_line
from hftune.models.pooling import pooling_of_features
from hftune.recipe import Recipe
from hftune.settings.base import Settings
from hftune.tasks.linear import logistic, ridge
from hftune.training.cached_features import FeatureRows, as_scored, extract_features

log = logging.getLogger(__name__)

NAME = "frozen"


@dataclass(frozen=True)
class FrozenFeatures:
    """Features of the rows, computed once, under a logistic or a ridge regression.

    Args:
        train: Those of the training rows, float32 (N, F).
        test: Likewise (n, F).
        validation: Likewise the rows that `with_validation` needs.
        name: See `hftune.tasks.base.SimpleModel`.
    """

    train: np.ndarray
    test: np.ndarray
    validation: np.ndarray | None = None
    name: str = NAME

    def with_validation(self) -> Self:
        """Returns the same model, whose test rows are the validation rows followed by the test rows."""
        assert self.validation is not None
        return dataclasses.replace(self, test=np.concatenate([self.validation, self.test]))

    def features(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the features of the training and test rows, float32 (N, F) and (n, F)."""
        return self.train, self.test

    def estimator(self) -> Pipeline:
        """Returns an untrained logistic regression."""
        return logistic()

    def regressor(self) -> Pipeline:
        """Returns an untrained ridge regression that chooses its penalty by itself."""
        return ridge()


def frozen_features(recipe: Recipe, settings: Settings, data: Data) -> FrozenFeatures | None:
    """Lets the pretrained model, as it was before the training, read the rows.

    It is built again, which takes a moment; reading the rows takes about as long as scoring them.

    Args:
        recipe: Builds the model.
        settings: The run's.
        data: The run's.

    Returns:
        None where there are no test rows; where the model starts from random weights, which have nothing to
        say, or is trained on its features alone; or where it has none: its head is not one linear layer, or
        the task asks for more than one answer a row.
    """
    if not (splits := rows_to_read(settings, data)):
        return None
    pooling = pooling_of_features(settings)
    total = sum(map(len, splits.values()))
    log.info("baseline: the model as it was before the training reads %s rows", f"{total:,}")
    try:
        with _silence():
            model = recipe.build_model(settings.replace(pooling=pooling) if pooling else settings, data)
        read = {name: extract_features(model, rows, data.collate).numpy() for name, rows in splits.items()}
        return FrozenFeatures(read["train"], read["test"], read.get("validation"))
    except BadInput as error:
        log.info("no baseline on frozen features: %s", error)
    except Exception as error:  # a recipe's own rows may not suit its forward: no reason to lose the scores
        log.warning("no baseline on frozen features: %s: %s", type(error).__name__, first_line(error))
    return None


def rows_to_read(settings: Settings, data: Data) -> dict[str, Rows]:
    """Returns the sets that this baseline reads, by name; {} where there is no such baseline.

    Validation rows are among them where the task chooses something on them for every model.
    """
    pretrained = settings.model_name_or_path or settings.checkpoint_path
    if not pretrained or NAME not in data.task.baseline_titles or data.test is None:
        return {}
    if isinstance(data.train, FeatureRows):  # the run's own model is just that
        return {}
    chosen_on = {"validation": data.validation} if data.task.tunes else {}
    return {"train": as_scored(data.train, data), **chosen_on, "test": data.test}


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps what is said of a model that is built from being said twice."""
    logger = logging.getLogger("hftune")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
