"""Contrastive tuning: texts or images of one class come together, those of different classes apart.

Of few labelled rows each pair of them says something, so that there is more to learn from than labels.
Paper: Khosla et al. 2020, Supervised Contrastive Learning; with cross-entropy beside it as in Gunel et al.
2021, Supervised Contrastive Learning for Pre-trained Language Model Fine-tuning.
"""

import torch
from torch.nn.functional import normalize

TEMPERATURE = 0.3  # of Gunel et al.: the cosines are divided by it
FAR = -1e9  # as a logit: no share


def supervised_contrastive(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Returns how improbable it is to meet a row of the same class among the other rows, by their cosines.

    Args:
        features: Of B rows, (B, F).
        labels: Their classes, int64 (B,).

    Returns:
        The mean over the rows that have one of their class beside them, float32; 0 where none has.
    """
    direction = normalize(features.float(), dim=1)
    own = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    cosines = (direction @ direction.T / TEMPERATURE).masked_fill(own, FAR)  # (B, B)
    same = (labels[:, None] == labels[None]) & ~own
    others = same.sum(1)  # (B,)
    of_rows = -(cosines.log_softmax(1) * same).sum(1) / others.clamp(min=1)  # 0 where a row is alone
    return of_rows.sum() / (others > 0).sum().clamp(min=1)
