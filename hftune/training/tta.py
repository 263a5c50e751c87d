"""A model that looks at each image twice: as it is, and in the mirror."""

from typing import Any

import torch
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention


class _FlipAverage(torch.nn.Module):
    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor, **inputs: Any) -> ImageClassifierOutputWithNoAttention:
        views = (pixel_values, pixel_values.flip(-1))  # (B, channels, H, W); W runs from left to right
        first, second = (self.model(pixel_values=view, **inputs).logits.float() for view in views)
        return ImageClassifierOutputWithNoAttention(logits=(first + second) / 2)


def flip_average(model: torch.nn.Module) -> torch.nn.Module:
    """Returns a model whose logits are the mean of those for an image and for its mirror image.

    A mean of logits is the geometric mean of the probabilities: a view that is sure a class is wrong
    counts for more than in a mean of probabilities, and the order of the two views for nothing.
    Made for scoring, as test-time augmentation (Krizhevsky et al. 2012 averaged flips and crops): the
    logits are float32 (B, C), there is no loss, and each image costs two forward passes.

    Args:
        model: The bare model: takes `pixel_values` (B, channels, H, W), returns `.logits` (B, C).
            It is shared, not copied.
    """
    return _FlipAverage(model)
