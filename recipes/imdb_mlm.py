# /// script
# requires-python = ">=3.11"
# dependencies = ["hftune"]
# ///
"""Film reviews without labels: an encoder goes on with its pretraining on your own kind of text.

    accelerate launch recipes/imdb_mlm.py
    accelerate launch recipes/imdb_mlm.py --max_train_samples 5000 --max_eval_samples 1000
    accelerate launch recipes/imdb_mlm.py --train_split train+unsupervised
    accelerate launch recipes/imdb_mlm.py --train_file notes.txt --model_name_or_path FacebookAI/roberta-base
    accelerate launch recipes/imdb_mlm.py --model_type bert --learning_rate 1e-3 --num_train_epochs 20
    accelerate launch recipes/imdb.py --model_name_or_path runs/imdb_mlm    # then, with labels

Result  none yet
Data    Maas et al. 2011, Learning Word Vectors for Sentiment Analysis: 50,000 reviews without labels. Those
        that stand in the test split too are left out.
Method  Devlin et al. 2019, BERT; Gururangan et al. 2020, Don't Stop Pretraining
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import hftune

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Settings(hftune.MaskedLMSettings):
    """What this recipe chooses; every other setting keeps its default."""

    dataset_name: str = "stanfordnlp/imdb"
    train_split: str = "unsupervised"
    max_length: int = 256

    model_name_or_path: str = "sentence-transformers/all-MiniLM-L6-v2"

    per_device_train_batch_size: int = 16
    per_device_eval_batch_size: int = 16  # a masked token has as many logits as there are tokens
    learning_rate: float | None = None  # by the model's width: 1e-4 for MiniLM's 384
    warmup_steps: float = 0.1


def load_data(settings: Settings) -> hftune.Data:
    """Texts -> token ids, of which `mlm_probability` are masked, others in every epoch."""
    return hftune.load_masked_lm(settings)


def build_model(settings: Settings, data: hftune.Data) -> "PreTrainedModel":
    """A checkpoint with its masked-LM head, or a small BERT from scratch."""
    return hftune.build_masked_lm(settings, data)


recipe = hftune.Recipe(
    "imdb_mlm",
    __doc__,
    Settings(),
    load_data,
    build_model,
    metrics=("perplexity", "mlm_accuracy"),
)

if __name__ == "__main__":
    hftune.launch(recipe)
