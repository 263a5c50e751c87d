# /// script
# requires-python = ">=3.11"
# dependencies = ["hftune"]
# ///
"""STS-B: how alike two sentences mean, from 0 to 5, by an encoder that reads each and compares.

    accelerate launch recipes/stsb.py
    accelerate launch recipes/stsb.py --model_name_or_path FacebookAI/roberta-base
    accelerate launch recipes/stsb.py --train_file pairs.csv --label_column_name score

Result  Pearson 0.855 [0.840, 0.870], RMSE 0.845 [0.808, 0.881] on 1,379 test pairs, one seed, 56 min on one
        busy core; TF-IDF + ridge 0.749 and 1.013, the frozen encoder + ridge 0.833 and 0.848
Data    Cer et al. 2017, SemEval-2017 Task 1: 5,749 pairs to train, 1,500 to validate, 1,379 to test
"""

from hftune import launch
from hftune.recipes import imdb

recipe = imdb.recipe.replace(
    name="stsb",
    description=__doc__,
    metrics=("rmse", "mae", "r2", "pearson", "spearman"),
    dataset_name="mteb/stsbenchmark-sts",
    task="regression",
    max_length=128,
    pair_encoder="bi",  # MiniLM, a sentence encoder, has learned to read one text at a time
    per_device_train_batch_size=16,
    learning_rate=5e-5,
    num_train_epochs=3.0,
)

if __name__ == "__main__":
    launch(recipe)
