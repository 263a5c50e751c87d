"""A nine-layer residual network for small images: quick on two CPU cores, and it scales with its width.

The shape is that of David Page's "How to Train Your ResNet" (Myrtle.ai 2018): convolutions in pairs around
two shortcuts, the strongest response of each feature, and a linear classifier whose logits start small.
He et al. 2016 is the paper on shortcuts. Any image of at least 8 x 8 pixels fits, as pooling ends it.
Shapes: B images, H x W pixels, F features, C labels.
"""

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention


class ResNet9Config(PreTrainedConfig):
    """Settings of a ResNet-9.

    Args:
        width: Features of the first layer; the deeper ones have 2, 4 and 8 times as many. 24 trains well on
            CPU, 64 is the size of the original.
        num_channels: Channels of an image.
        image_size: Pixels, side of the square that the model was trained on.
        logit_scale: The classifier's outputs are multiplied by it, so that training begins unsure.
    """

    model_type = "resnet9"

    width: int = 64
    num_channels: int = 3
    image_size: int = 32
    logit_scale: float = 0.125


def _convolution(inputs: int, outputs: int, pool: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]
    # The rectifier after the maximum gives the same as before it, for a quarter of the work.
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []), nn.ReLU())


class _Shortcut(nn.Module):
    """Adds what two convolutions make of a map to the map, (B, F, H, W) to the same."""

    def __init__(self, features: int):
        super().__init__()
        self.first = _convolution(features, features)
        self.second = _convolution(features, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


class ResNet9ForImageClassification(PreTrainedModel):
    """Nine layers, the strongest response of each feature, a linear classifier.

    Args:
        config: Settings.
    """

    config_class = ResNet9Config
    base_model_prefix = ""
    main_input_name = "pixel_values"

    def __init__(self, config: ResNet9Config):
        super().__init__(config)
        width = config.width
        self.layers = nn.Sequential(
            _convolution(config.num_channels, width),
            _convolution(width, 2 * width, pool=True),
            _Shortcut(2 * width),
            _convolution(2 * width, 4 * width, pool=True),
            _convolution(4 * width, 8 * width, pool=True),
            _Shortcut(8 * width),
        )
        self.classifier = nn.Linear(8 * width, config.num_labels)  # type: ignore[arg-type]
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            init.zeros_(module.running_mean)  # type: ignore[arg-type]
            init.ones_(module.running_var)  # type: ignore[arg-type]
            init.zeros_(module.num_batches_tracked)  # type: ignore[arg-type]
        elif isinstance(module, nn.Linear):
            init.kaiming_uniform_(module.weight, a=5**0.5)
            init.zeros_(module.bias)

    def forward(
        self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> ImageClassifierOutputWithNoAttention:
        """Classifies images.

        Args:
            pixel_values: Normalised images, (B, channels, H, W), float.
            labels: Label ids, (B,), int64; without them there is no loss.
            **kwargs: Passed to the loss, for example `num_items_in_batch`.

        Returns:
            `logits` (B, C), float32 `loss` if labels are given.
        """
        # Not adaptive_max_pool2d, which gives the same: its backward pass has no deterministic form on a GPU.
        features = self.layers(pixel_values).flatten(2).max(2).values  # (B, 8 width)
        logits = self.classifier(features) * self.config.logit_scale
        loss = None
        if labels is not None:
            loss = self.loss_function(labels, logits.float(), self.config, **kwargs)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)


ResNet9Config.register_for_auto_class()
ResNet9ForImageClassification.register_for_auto_class("AutoModelForImageClassification")
AutoConfig.register("resnet9", ResNet9Config, exist_ok=True)
AutoModelForImageClassification.register(ResNet9Config, ResNet9ForImageClassification, exist_ok=True)
