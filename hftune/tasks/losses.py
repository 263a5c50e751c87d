"""What a batch costs: the mean loss of its rows, so that micro-batches add up exactly."""

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from hftune.data.taught import UNLABELED
from hftune.errors import BadInput
from hftune.settings.base import Settings
from hftune.tasks.base import Loss, model_loss

# From logits, float32 (B, C), and class ids, int64 (B,), to the loss of each row, float32 (B,).
RowLosses = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def class_weights(option: str, labels: np.ndarray, names: tuple[str, ...]) -> torch.Tensor:
    """Reads `--class_weight`.

    Args:
        option: `balanced` (n / (C * rows of the class), so that the mean over rows is 1, as in
            scikit-learn) or one number per class, separated by commas.
        labels: Class numbers of the training rows, int64 of shape (N,).
        names: The class names.

    Returns:
        float32 of shape (C,).

    Raises:
        BadInput: If the numbers do not fit the classes.
    """
    if option == "balanced":
        counts = np.bincount(labels, minlength=len(names))
        return torch.tensor(len(labels) / (len(names) * np.maximum(counts, 1)), dtype=torch.float32)
    try:
        weights = [float(part) for part in option.split(",")]
    except ValueError:
        raise BadInput(f"--class_weight {option}: give 'balanced' or numbers separated by commas") from None
    if len(weights) != len(names) or min(weights) < 0:
        raise BadInput(f"--class_weight {option}: give {len(names)} numbers, for {', '.join(names)}")
    return torch.tensor(weights)


def weighted_binary_loss(option: str, targets: np.ndarray, names: tuple[str, ...]) -> Loss:
    """Returns binary cross-entropy in which a label that a row has weighs more than one that it lacks.

    The mean over the labels and rows of a batch, so that micro-batches add up exactly. The model's
    probabilities then say more than the share of rows that have a label.

    Args:
        option: `--class_weight`: `balanced` (rows without the label / rows with it, torch's `pos_weight`), or
            one number per label, separated by commas.
        targets: Of the training rows, 0 or 1, (N, C).
        names: The C labels.

    Raises:
        BadInput: If the numbers do not fit the labels.
    """
    if option == "balanced":
        rows = targets.sum(0, dtype=np.float64)
        weights = torch.tensor((len(targets) - rows) / np.maximum(rows, 1), dtype=torch.float32)
    else:
        weights = class_weights(option, targets, names)
    weights_on = cache(weights.to)  # they cross to the device once

    def weighted_loss(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        labels = batch["labels"]
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
        return binary_cross_entropy_with_logits(logits.float(), labels, pos_weight=weights_on(logits.device))

    return weighted_loss


def build_loss(settings: Settings, labels: np.ndarray, names: tuple[str, ...]) -> Loss:
    """Returns the loss that the settings ask for.

    Class weights multiply each row's loss, which is then divided by the number of rows and not by
    the sum of weights: so the micro-batches of a step add up to the whole.
    """
    if not settings.class_weight and not settings.label_smoothing_factor:
        return model_loss
    losses = row_losses(settings, labels, names)

    def weighted_loss(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
        return losses(logits.float(), batch["labels"]).mean()

    return weighted_loss


def row_losses(settings: Settings, labels: np.ndarray, names: tuple[str, ...]) -> RowLosses:
    """Returns the cross-entropy of each row with its label; that of an `UNLABELED` row is 0.

    The weight of a row scales its smoothing too (torch's own combination does otherwise: pytorch#104776).
    """
    smoothing = settings.label_smoothing_factor
    weights_on = None
    if settings.class_weight:
        weights_on = cache(class_weights(settings.class_weight, labels, names).to)  # they cross to it once

    def losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        found = cross_entropy(
            logits, targets, reduction="none", label_smoothing=smoothing, ignore_index=UNLABELED
        )  # (B,)
        return found if weights_on is None else found * weights_on(found.device)[targets.clamp(min=0)]

    return losses
