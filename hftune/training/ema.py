"""A running mean of a model's weights, which is scored and saved in place of the last weights.

Polyak and Juditsky 1992; as a decaying mean, Tarvainen and Valpola 2017 (arXiv:1703.01780).
"""

import torch
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


class WeightAverage:
    """An exponential moving average of everything in a model's `state_dict`, by torch's `AveragedModel`.

    After step n the mean keeps min(decay, (1 + n) / (10 + n)) of itself, as TensorFlow's
    `ExponentialMovingAverage` does: a short run is not held back by its random head. BatchNorm's
    running means and variances are averaged like weights, so that they fit those; what is counted
    in integers (`num_batches_tracked`) is copied.

    Nothing is random: equal steps give equal bits.

    Args:
        model: The bare model, on the device where it trains.
        decay: Share of the mean that a late step keeps, at least 0 and below 1.

    Attributes:
        module: The averaged model, on the same device, in eval mode and without gradients.
    """

    def __init__(self, model: torch.nn.Module, decay: float):
        self._decay = self._kept = decay
        self._average = AveragedModel(model, multi_avg_fn=self._mix, use_buffers=True)
        self._steps: int | None = None  # optimizer steps in the mean; none: not begun
        self.module: torch.nn.Module = self._average.module.eval().requires_grad_(False)

    def after_step(self, steps: int, model: torch.nn.Module) -> None:
        """Takes the weights into the mean, once for each number of steps.

        The call before the first step sets where the mean begins; after a resume that is what
        `load_state_dict` read.

        Args:
            steps: Optimizer steps done.
            model: The bare model.
        """
        if self._steps is None:
            self._average.update_parameters(model)  # the first one copies
        elif steps != self._steps:
            self._kept = min(self._decay, (1 + steps) / (10 + steps))
            self._average.update_parameters(model)
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
        self._average.n_averaged.fill_(1)
        self._steps = steps

    def _mix(self, mean: Tensors, now: Tensors, _count: torch.Tensor | int) -> None:
        """Takes tensors of one dtype into the mean."""
        if mean[0].is_floating_point():
            torch._foreach_lerp_(mean, now, 1 - self._kept)
        else:
            torch._foreach_copy_(mean, now)
