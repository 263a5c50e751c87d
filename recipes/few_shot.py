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

import hftune
from hftune.recipes import imdb

recipe = imdb.recipe.replace(
    name="few_shot",
    description=__doc__,
    loss=hftune.contrastive_loss,
    metrics=("accuracy", "f1_macro", "mcc", "ece"),
    dataset_name="fancyzhx/ag_news",
    samples_per_label=8,
    max_length=256,
    per_device_train_batch_size=64,  # the loss compares the rows of a batch with each other
    learning_rate=5e-5,
    head_lr_multiplier=1.0,
    max_steps=60,  # whatever the number of rows: many more wear off what the encoder knows
    eval_strategy="steps",
    eval_steps=0.25,
    save_strategy="steps",
    save_steps=0.25,
    load_best_model_at_end=False,  # as few validation rows cannot tell two models apart
)

if __name__ == "__main__":
    hftune.launch(recipe)
