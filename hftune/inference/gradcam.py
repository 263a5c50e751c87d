"""Where in an image a model saw a class: Grad-CAM heat maps.

Selvaraju et al. 2017, arXiv:1610.02391; captum computes equation 1 and 2. Shapes: F features on h x w places
of an image of H x W pixels.
"""

from typing import Any

import numpy as np
import torch

from hftune.errors import BadInput
from hftune.inference.load import LoadedModel


def explain_class(loaded: LoadedModel, image: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns what a model saw of an image, and how much each place of it speaks for a class.

    Args:
        loaded: A classifier of images.
        image: uint8 (H, W, 3).
        label: The class id.

    Returns:
        Colours, float (S, S, 3) from 0 to 255, and the `heatmap`, float32 (S, S).

    Raises:
        BadInput: See `heatmap`.
    """
    inputs: Any = loaded.inputs
    pixels = inputs.pixels(image)
    return inputs.as_seen(pixels), heatmap(loaded.model, pixels.to(loaded.model.device), label)


def heatmap(model: torch.nn.Module, pixel_values: torch.Tensor, class_number: int) -> np.ndarray:
    """Says how much each place of an image speaks for a class.

    Args:
        model: A classifier that returns `.logits` (1, C); it is left in eval mode.
        pixel_values: One normalised image, float (1, channels, H, W), on the model's device.
        class_number: The class, from 0.

    Returns:
        float32 of shape (H, W), from 0 (does not speak for it) to 1 (the place that does most); all 0
        where no place speaks for the class.

    Raises:
        BadInput: If captum is missing, or the model has no map of places (see `last_map`).
    """
    try:
        from captum.attr import LayerAttribution, LayerGradCam
    except ImportError:
        raise BadInput("heat maps need captum: pip install 'hftune[explain]'") from None
    model.eval()
    grad_cam = LayerGradCam(lambda pixels: model(pixel_values=pixels).logits, last_map(model, pixel_values))
    # captum asks the map itself for gradients, so a frozen model has heat maps too.
    heat = grad_cam.attribute(pixel_values, target=class_number, relu_attributions=True)  # (1, 1, h, w)
    size = (pixel_values.shape[-2], pixel_values.shape[-1])
    heat = LayerAttribution.interpolate(heat.detach().float(), size, "bilinear")[0, 0]
    return (heat / heat.max().clamp(min=torch.finfo(heat.dtype).tiny)).cpu().numpy()


def last_map(model: torch.nn.Module, pixel_values: torch.Tensor) -> torch.nn.Module:
    """Returns the last module whose output still has places: a map (1, F, h, w) with h, w > 1.

    It is found in a forward pass, as every family names its modules otherwise, and as it depends on
    the size of the image which map is the last with more than one place.

    Args:
        model: A classifier.
        pixel_values: One image, float (1, channels, H, W), on the model's device.

    Raises:
        BadInput: If there is none, or if tokens (1, N, F) follow the last one: those of a vision
            transformer mix all places of the map that it cuts an image into.
    """
    last: list[tuple[torch.nn.Module, bool]] = []
    height, width = pixel_values.shape[-2:]

    def note(module: torch.nn.Module, _inputs: tuple, output: object) -> None:
        if not isinstance(output, torch.Tensor) or output.ndim < 3 or min(output.shape[-2:]) < 2:
            return
        last[:] = [(module, output.ndim == 4 and _alike(height / output.shape[-2], width / output.shape[-1]))]

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with torch.no_grad():
            model(pixel_values=pixel_values)
    finally:
        for hook in hooks:
            hook.remove()
    if not last or not last[0][1]:
        raise BadInput(
            f"no heat map for {type(model).__name__}: it pools no map of places, only convolutional models do"
        )
    return last[0][0]


def _alike(rows: float, columns: float) -> bool:
    """Says whether a map is as coarse in height as in width: with the features last, (h, w, F), it is not."""
    return max(rows, columns) < 2 * min(rows, columns)
