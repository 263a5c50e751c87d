"""A frozen backbone as feature extractor: its features are computed once, then only the head trains.

What the backbone makes of a row does not change while it is frozen, so its forward pass is paid for
once instead of once an epoch. Validation and test still go through the whole model, the one that is
saved.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from accelerate import PartialState
from transformers import PreTrainedModel

from hftune.data.batches import by_length
from hftune.data.dataset import Data, Rows
from hftune.errors import BadInput
from hftune.models.layers import layers_of

ROWS_PER_BATCH = 32


class FeatureRows(torch.utils.data.Dataset):
    """Features in the place of the rows that they were computed from.

    Args:
        features: What the head reads, float32 (N, F).
        targets: Class ids, int64 (N,).
    """

    def __init__(self, features: torch.Tensor, targets: np.ndarray):
        self.features = features
        self.targets = targets
        self.lengths = self.weights = np.ones(len(targets), np.int64)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> dict:
        """Returns `{"features": float32 (F,), "labels": int}`."""
        return {"features": self.features[row], "labels": int(self.targets[row])}


def cache_features(data: Data, model: PreTrainedModel) -> Data:
    """Replaces the training rows by their features, each row seen as validation rows are.

    Args:
        data: Rows for the whole model.
        model: A model whose head is one linear layer; its backbone must not change any more.

    Returns:
        Data to be trained on with `head_loss` and `--freeze backbone`.

    Raises:
        BadInput: If the head is more than one linear layer, rows have other targets than one label, or
            several processes train: they would each train a head of their own.
    """
    if PartialState().num_processes > 1:
        raise BadInput("a head on cached features trains in one process; start one (it takes seconds)")
    if not np.issubdtype(data.train.targets.dtype, np.integer):
        raise BadInput("a head on cached features learns one label a row; pass --task single_label")
    features = extract_features(model, as_scored(data.train, data), data.collate)
    collate = _Collate(data.collate)
    return dataclasses.replace(data, train=FeatureRows(features, data.train.targets), collate=collate)


def as_scored(rows: Rows, data: Data) -> Rows:
    """Returns training rows as the model sees those that it is scored on, without random changes."""
    seen_as = getattr(rows, "seen_as", None)
    return seen_as(data.validation) if seen_as else rows


def extract_features(model: PreTrainedModel, rows: Rows, collate: Callable) -> torch.Tensor:
    """Returns what the head reads of each row, float32 (N, F), in the order of the rows.

    Raises:
        BadInput: If the head is more than one linear layer.
    """
    seen: list[torch.Tensor] = []
    hook = linear_head(model).register_forward_pre_hook(lambda head, inputs: seen.append(inputs[0]))
    device = PartialState().device
    model.to(device).eval()
    features: list[torch.Tensor] = [torch.empty(0)] * len(rows)
    try:
        for ids in by_length(rows.lengths, ROWS_PER_BATCH):
            batch = collate([rows[row] for row in ids.tolist()])
            with torch.inference_mode():
                model(**{name: value.to(device) for name, value in batch.items() if name != "labels"})
            for row, values in zip(ids.tolist(), seen.pop().float().cpu(), strict=True):
                features[row] = values
    finally:
        hook.remove()
    return torch.stack(features).clone()  # a tensor of inference mode cannot be trained on


def linear_head(model: PreTrainedModel) -> torch.nn.Linear:
    """Returns the linear layer that is a model's whole head.

    Raises:
        BadInput: If the head is more than that.
    """
    head = {name for name, layer in layers_of(model).items() if layer is None}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            own = {f"{name}.{parameter}" for parameter, _ in module.named_parameters()}
            if own == head:
                return module
    raise BadInput(f"{type(model).__name__}: its head is not one linear layer, so features cannot be cached")


class _Collate:
    """Stacks cached features; rows of any other kind go to the collate that they came with."""

    def __init__(self, whole: Callable):
        self.whole = whole

    def __call__(self, rows: Sequence[dict]) -> dict[str, torch.Tensor]:
        if "features" not in rows[0]:
            return self.whole(rows)
        return {
            "features": torch.stack([row["features"] for row in rows]),
            "labels": torch.tensor([row["labels"] for row in rows]),
        }
