# /// script
# requires-python = ">=3.11"
# dependencies = ["hftune"]
# ///
"""WNUT-17 with a BiLSTM-CRF over pieces of words and their letters, trained from scratch.

    accelerate launch recipes/wnut_bilstm_crf.py
    accelerate launch recipes/wnut_bilstm_crf.py --embeddings glove.6B.100d.txt

Result  entity F1 0.199 [0.171, 0.228] on 1,287 test posts, with 5,050 words of GloVe, one seed, 3 min on
        one core; words around + logistic regression 0.137
Model   Ma and Hovy 2016, End-to-end Sequence Labeling via Bi-directional LSTM-CNNs-CRF
"""

from hftune import launch
from hftune.recipes import wnut

recipe = wnut.recipe.replace(
    name="wnut_bilstm_crf",
    description=__doc__,
    model_type="bilstm_crf",
    config_overrides="hidden_size=128,embedding_dropout=0.5,dropout=0.5",
    vocab_size=25_000,
    per_device_train_batch_size=16,
    learning_rate=2e-3,
    head_lr_multiplier=1.0,
    weight_decay=0.0,
    num_train_epochs=15,
)

if __name__ == "__main__":
    launch(recipe)
