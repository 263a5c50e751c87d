# /// script
# requires-python = ">=3.11"
# dependencies = ["hftune"]
# ///
"""WNUT-17: people, places and other new names in posts, with a pretrained encoder.

    accelerate launch recipes/wnut.py
    accelerate launch recipes/wnut.py --model_name_or_path FacebookAI/roberta-base
    accelerate launch recipes/wnut.py --train_file train.conll --test_file test.conll

Result  entity F1 0.406 [0.371, 0.440] on 1,287 test posts, one seed, 10 min on one core;
        words around + logistic regression 0.137
Data    Derczynski et al. 2017, Results of the WNUT2017 Shared Task on Novel and Emerging Entity Recognition:
        3,394 posts to train, 1,287 to test; 2 % of the test entities stand in train
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import hftune

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Settings(hftune.TokenSettings):
    """What this recipe chooses; every other setting keeps its default."""

    dataset_name: str = "leondz/wnut_17"

    model_name_or_path: str = "sentence-transformers/all-MiniLM-L6-v2"

    per_device_train_batch_size: int = 16
    learning_rate: float = 2e-4
    head_lr_multiplier: float = 10.0
    warmup_steps: float = 0.1
    num_train_epochs: float = 6.0


def load_data(settings: Settings) -> hftune.Data:
    """Words -> tokens in windows of `max_length`, each word answered at its first token."""
    return hftune.load_tokens(settings)


def build_model(settings: Settings, data: hftune.Data) -> "PreTrainedModel":
    """A checkpoint with a linear layer on each token, or a small model from scratch."""
    return hftune.build_token_classifier(settings, data)


recipe = hftune.Recipe(
    "wnut",
    __doc__,
    Settings(),
    load_data,
    build_model,
    metrics=("f1", "precision", "recall", "f1_strict", "f1_unseen", "f1_seen", "accuracy"),
)

if __name__ == "__main__":
    hftune.launch(recipe)
