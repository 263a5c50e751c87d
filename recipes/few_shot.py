# /// script
# requires-python = ">=3.11"
# dependencies = ["hftune"]
# ///
"""Any texts from a handful of labelled ones: a sentence encoder that learns from pairs of them as well.

    accelerate launch recipes/few_shot.py
    hftune run recipes/few_shot.py --seeds 10
    accelerate launch recipes/few_shot.py --dataset_name PolyAI/banking77 --samples_per_label 16

Result  none yet: benchmarks/results.py measures it
Data    AG News (Zhang et al. 2015), 8 news of each of 4 kinds to train; 7,600 to test. Which rows are drawn
        is up to the seed: one draw says little, ten give a mean and a deviation
"""

from dataclasses import dataclass

import hftune
from hftune.recipes import imdb


@dataclass(frozen=True, kw_only=True)
class Settings(imdb.Settings):
    """What this recipe chooses; every other setting is that of `imdb.py`."""

    dataset_name: str = "fancyzhx/ag_news"
    samples_per_label: int | None = 8
    max_length: int = 256

    learning_rate: float = 1e-4
    num_train_epochs: float = 20.0
    load_best_model_at_end: bool = False  # as few validation rows cannot tell two models apart


def load_data(settings: Settings) -> hftune.Data:
    """Texts -> token ids; the seed of the run draws the rows, so that other seeds see others."""
    return hftune.load_text(settings.replace(data_seed=settings.seed))


recipe = imdb.recipe.replace(
    name="few_shot",
    description=__doc__,
    settings=Settings(),
    load_data=load_data,
    loss=hftune.contrastive_loss,
    metrics=("accuracy", "f1_macro", "mcc", "ece"),
)

if __name__ == "__main__":
    hftune.launch(recipe)
