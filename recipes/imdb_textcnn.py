# /// script
# requires-python = ">=3.11"
# dependencies = ["hftune"]
# ///
"""IMDb film reviews with a TextCNN trained from scratch.

    accelerate launch recipes/imdb_textcnn.py
    accelerate launch recipes/imdb_textcnn.py --embeddings imdb.vec

Vectors glove.6B.100d.txt, or IMDb's own:
        hftune vectors stanfordnlp/imdb --split train,unsupervised --window 8 --output imdb.vec
Result  accuracy 0.903 [0.899, 0.907] on 25,000 test reviews, with those vectors,
        one seed, 10 min on one core of an AMD EPYC; TF-IDF + logistic regression 0.908
Model   Kim 2014, Convolutional Neural Networks for Sentence Classification
"""

from hftune import launch
from hftune.recipes import imdb

recipe = imdb.recipe.replace(
    name="imdb_textcnn",
    description=__doc__,
    model_type="textcnn",
    config_overrides="kernel_sizes=[2,3,4],num_filters=150,readout=max+mean,embedding_dropout=0.3,dropout=0.5",
    max_length=1024,
    per_device_train_batch_size=32,
    learning_rate=2e-3,
    weight_decay=0.0,
    num_train_epochs=4,
)

if __name__ == "__main__":
    launch(recipe)
