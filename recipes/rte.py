# /// script
# requires-python = ">=3.11"
# dependencies = ["hftune"]
# ///
"""RTE, whether a sentence follows from a passage of the news, with a small encoder that reads both at once.

    accelerate launch recipes/rte.py
    accelerate launch recipes/rte.py --seed 1

Result  accuracy 0.542 [0.483, 0.599], one seed, 32 min beside other work; TF-IDF + logistic regression has
        0.606: MiniLM learns the training pairs by heart. A checkpoint that was trained on inference before
        brings its own labels, which are matched by their names
Data    Dagan et al. 2006 to Bentivogli et al. 2009, the PASCAL challenges of textual entailment, as in GLUE:
        2,490 pairs to train and validate. The labels of GLUE's test rows are not public, so its 277
        validation rows are tested on: two models must differ by 8 points there to differ at all
"""

from dataclasses import dataclass

import hftune
from hftune.recipes import mrpc


@dataclass(frozen=True, kw_only=True)
class Settings(mrpc.Settings):
    """What this recipe chooses; every other setting is MRPC's."""

    dataset_config_name: str = "rte"
    test_split: str | None = "validation"
    max_length: int = 256


recipe = mrpc.recipe.replace(
    name="rte", description=__doc__, settings=Settings(pooling="native"), metrics=("accuracy", "mcc", "ece")
)

if __name__ == "__main__":
    hftune.launch(recipe)
