# /// script
# requires-python = ">=3.11"
# dependencies = ["hftune"]
# ///
"""Reddit comments and any of 28 emotions, with a mean-pooled encoder.

    accelerate launch recipes/go_emotions.py
    accelerate launch recipes/go_emotions.py --thresholds common
    accelerate launch recipes/go_emotions.py --train_file comments.csv --label_column_name anger,joy,fear

Result  macro F1 0.526 [0.496, 0.547] and mAP 0.522 [0.500, 0.550] on 5,427 test comments, one seed, 115 min
        of one busy core; TF-IDF + logistic regression 0.443 and 0.415, its thresholds chosen on the same
        validation rows; the frozen encoder + logistic regression 0.373 and 0.332
Data    Demszky et al. 2020, GoEmotions: A Dataset of Fine-Grained Emotions: 43,410 comments to train on,
        5,426 to validate and 5,427 to test
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import hftune

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Settings(hftune.TextSettings):
    """What this recipe chooses; every other setting keeps its default."""

    dataset_name: str = "google-research-datasets/go_emotions"
    max_length: int = 64

    task: str = "multi_label"

    model_name_or_path: str = "sentence-transformers/all-MiniLM-L6-v2"

    per_device_train_batch_size: int = 32
    learning_rate: float = 2e-4
    head_lr_multiplier: float = 10.0
    warmup_steps: float = 0.1
    num_train_epochs: float = 4.0
    metric_for_best_model: str = "map"


def load_data(settings: Settings) -> hftune.Data:
    """Comments -> token ids, cut at `max_length`; any of the labels each."""
    return hftune.load_text(settings)


def build_model(settings: Settings, data: hftune.Data) -> "PreTrainedModel":
    """A checkpoint with its own classifier, a pooled one, or a small model from scratch."""
    return hftune.build_text_classifier(settings, data)


recipe = hftune.Recipe(
    "go_emotions",
    __doc__,
    Settings(),
    load_data,
    build_model,
    metrics=("map", "f1_macro", "f1_micro", "f1_macro_at_half", "lrap", "subset_accuracy", "hamming_loss"),
)

if __name__ == "__main__":
    hftune.launch(recipe)
