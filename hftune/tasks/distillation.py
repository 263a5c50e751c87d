"""Distillation: a model learns the softened answers of a teacher, and of labelled rows the label too.

Hinton, Vinyals and Dean 2015, Distilling the Knowledge in a Neural Network, arXiv:1503.02531, section 2.
B rows of a batch, C labels.
"""

import torch
from torch.nn.functional import kl_div, log_softmax

from hftune.data.taught import TEACHER
from hftune.settings.text import TextSettings
from hftune.tasks.base import Batch, Loss
from hftune.tasks.losses import RowLosses


def soft_losses(logits: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Returns how far each row's answer is from the teacher's, float32 (B,).

    That is the Kullback-Leibler divergence of the softened answers, times the square of the temperature:
    the gradients of softened answers shrink by as much.

    Args:
        logits: The model's, float32 (B, C).
        teacher: The teacher's, float32 (B, C).
        temperature: Both are divided by it.
    """
    student, taught = (log_softmax(one / temperature, dim=-1) for one in (logits, teacher))
    return kl_div(student, taught, reduction="none", log_target=True).sum(-1) * temperature**2


def distillation_loss(settings: TextSettings, own: RowLosses) -> Loss:
    """Returns the mean over the rows of a batch of both losses, so that micro-batches add up exactly.

    A row without a label has the teacher's part alone, of the same weight as in other rows.

    Args:
        settings: `distillation_temperature`, and `distillation_alpha`, the weight of the teacher's part; the
            label's has the rest.
        own: The loss of each row with its label, 0 where it has none.
    """
    temperature, alpha = settings.distillation_temperature, settings.distillation_alpha

    def loss(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        inputs = {name: value for name, value in batch.items() if name not in ("labels", TEACHER)}
        logits = model(**inputs).logits.float()
        soft = soft_losses(logits, batch[TEACHER], temperature)
        return (alpha * soft + (1 - alpha) * own(logits, batch["labels"])).mean()

    return loss
