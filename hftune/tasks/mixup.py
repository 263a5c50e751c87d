"""The loss of blended images: mixup and CutMix, whose targets are blends of two labels.

mixup: Zhang et al. 2018, arXiv:1710.09412. CutMix: Yun et al. 2019, arXiv:1905.04899. With both on,
each micro-batch gets one of them, by an even chance. The blending is timm's.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from hftune.errors import BadInput
from hftune.settings.image import ImageSettings
from hftune.tasks.base import Loss


def mixing_loss(settings: ImageSettings, num_labels: int) -> Loss:
    """Returns a loss that blends the rows of a batch before the model sees them.

    Row i is blended with row B - 1 - i in one ratio per micro-batch; of an odd number of rows the last
    stays as it is. The ratio comes from torch's global generator, which the loop points at an address:
    equal steps, equal blends. A model in eval mode sees the rows as they are.

    Args:
        settings: `mixup`, `cutmix` (alphas of Beta(alpha, alpha), 0: off, not both) and
            `label_smoothing_factor`, which smooths both labels of a blend.
        num_labels: C.

    Returns:
        `loss(model, batch)`, for `pixel_values` float (B, channels, H, W) and `labels` int64 (B,):
        the mean over the rows of the cross-entropy with the blended targets, a float32 scalar. The
        batch is left as it was.

    Raises:
        BadInput: If timm is missing.
    """
    try:
        from timm.data.mixup import Mixup, mixup_target
    except ImportError:
        flag = "mixup" if settings.mixup else "cutmix"
        raise BadInput(f"--{flag} needs timm: pip install 'hftune[image]'") from None
    smoothing = settings.label_smoothing_factor
    blend = Mixup(
        mixup_alpha=settings.mixup,
        cutmix_alpha=settings.cutmix,
        label_smoothing=smoothing,
        num_classes=num_labels,
    )

    def loss(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        labels = batch["labels"]
        targets = mixup_target(labels, num_labels, 1.0, smoothing)  # (B, C)
        paired = len(labels) // 2 * 2
        if model.training and paired:
            images = inputs["pixel_values"].clone()  # timm blends in place
            with _numpy_seeded_by_torch():
                _, blended = blend(images[:paired], labels[:paired])
            inputs["pixel_values"] = images
            targets = torch.cat([blended, targets[paired:]])
        return cross_entropy(model(**inputs).logits.float(), targets)

    return loss


@contextlib.contextmanager
def _numpy_seeded_by_torch() -> Iterator[None]:
    """Lets what draws from NumPy's global generator draw as torch's says, and leaves no trace there."""
    before = np.random.get_state()
    np.random.seed(int(torch.randint(2**32, ())))
    try:
        yield
    finally:
        np.random.set_state(before)
