# /// script
# requires-python = ">=3.11"
# dependencies = ["hftune"]
# ///
"""IMDb film reviews with a BiLSTM trained from scratch.

    accelerate launch recipes/imdb_bilstm.py
    accelerate launch recipes/imdb_bilstm.py --embeddings imdb.vec

Vectors glove.6B.100d.txt, or IMDb's own:
        hftune vectors stanfordnlp/imdb --split train,unsupervised --window 8 --output imdb.vec
Result  accuracy 0.897 [0.893, 0.900] on 25,000 test reviews, with those vectors,
        one seed, 10 min on one core of an AMD EPYC; TF-IDF + logistic regression 0.908
Model   Graves and Schmidhuber 2005, Framewise Phoneme Classification with Bidirectional LSTM
"""

from hftune import launch
from hftune.recipes import imdb

recipe = imdb.recipe.replace(
    name="imdb_bilstm",
    description=__doc__,
    model_type="bilstm",
    config_overrides="hidden_size=128,readout=max,embedding_dropout=0.3,dropout=0.5",
    max_length=400,
    truncation="head+tail",
    per_device_train_batch_size=32,
    learning_rate=2e-3,
    weight_decay=0.0,
    num_train_epochs=4,
)

if __name__ == "__main__":
    launch(recipe)
