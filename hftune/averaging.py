"""A running mean of a model's weights, which is scored and saved in place of the last weights.

Polyak and Juditsky 1992; as a decaying mean, Tarvainen and Valpola 2017 (arXiv:1703.01780).
"""

import torch

from hftune.errors import BadInput


class WeightAverage:
    """An exponential moving average of everything in a model's `state_dict`, by timm's `ModelEmaV3`.

    After step n the mean keeps min(decay, (1 + n) / (10 + n)) of itself, as TensorFlow's
    `ExponentialMovingAverage` does: a short run is not held back by its random head. BatchNorm's
    running means and variances are averaged like weights, so that they fit those; what is counted
    in integers (`num_batches_tracked`) is copied.

    Nothing is random: equal steps give equal bits. Weights in half precision are another matter
    (timm rounds those at random); those of this package are float32 under autocast.

    Args:
        model: The bare model, on the device where it trains.
        decay: Share of the mean that a late step keeps, at least 0 and below 1.

    Attributes:
        module: The averaged model, on the same device, in eval mode and without gradients.

    Raises:
        BadInput: If timm is missing.
    """

    def __init__(self, model: torch.nn.Module, decay: float):
        try:
            from timm.utils.model_ema import ModelEmaV3
        except ImportError:
            raise BadInput("--model_ema needs timm: pip install 'hftune[image]'") from None
        self._decay = decay
        self._average = ModelEmaV3(model, decay=decay)
        self._steps: int | None = None  # optimizer steps in the mean; none: not begun
        self.module: torch.nn.Module = self._average.module.requires_grad_(False)

    def after_step(self, steps: int, model: torch.nn.Module) -> None:
        """Takes the weights into the mean, once for each number of steps.

        The call before the first step sets where the mean begins; after a resume that is what
        `load_state_dict` read.

        Args:
            steps: Optimizer steps done.
            model: The bare model.
        """
        if self._steps is None:
            self._average.set(model)
        elif steps != self._steps:
            self._average.decay = min(self._decay, (1 + steps) / (10 + steps))
            self._average.update(model)
        self._steps = steps

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Returns the tensors of the averaged model, not copied."""
        return self.module.state_dict()

    def load_state_dict(self, tensors: dict[str, torch.Tensor], steps: int) -> None:
        """Puts the mean back as it was after a number of optimizer steps.

        Raises:
            RuntimeError: If names or shapes are not those of the model.
        """
        self.module.load_state_dict(tensors)
        self._steps = steps
