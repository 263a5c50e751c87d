"""Losses that recipes name as their `loss`.

torch is imported where they run: a recipe that names one still prints its `--help` in half a second.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def head_loss(model: "torch.nn.Module", batch: dict[str, "torch.Tensor"]) -> "torch.Tensor":
    """Returns the mean cross-entropy of the head alone.

    Args:
        model: The whole model.
        batch: `features` float32 (B, F) and `labels` int64 (B,).
    """
    from torch.nn.functional import cross_entropy

    from hftune.training.cached_features import linear_head

    head = linear_head(model)  # type: ignore[arg-type]
    return cross_entropy(head(batch["features"]).float(), batch["labels"])


def contrastive_loss(model: "torch.nn.Module", batch: dict[str, "torch.Tensor"]) -> "torch.Tensor":
    """Returns the mean cross-entropy, and the mean contrastive loss of what the last layer reads.

    It compares the rows of a micro-batch with each other, so that eight micro-batches of one row are not
    one of eight: raise `--per_device_train_batch_size`, not `--gradient_accumulation_steps`.

    Args:
        model: The whole model; its head is one linear layer.
        batch: The model's arguments, with `labels`, int64 (B,).

    Raises:
        BadInput: If the head is more than one linear layer.
    """
    from hftune.training.cached_features import linear_head
    from hftune.training.contrastive import supervised_contrastive

    seen: list[torch.Tensor] = []
    whole = getattr(model, "module", model)  # without what several processes wrap it in
    head = linear_head(whole)  # type: ignore[arg-type]
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        loss = model(**batch).loss
    finally:
        hook.remove()
    return loss + supervised_contrastive(seen.pop(), batch["labels"])
