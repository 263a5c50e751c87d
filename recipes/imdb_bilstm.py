"""IMDb film reviews with a BiLSTM trained from scratch.

    accelerate launch recipes/imdb_bilstm.py

Model   Graves and Schmidhuber 2005, Framewise Phoneme Classification with Bidirectional LSTM
"""

from hftune.recipes import imdb

from hftune import launch

recipe = imdb.recipe.replace(
    name="imdb_bilstm",
    description=__doc__,
    model_type="bilstm",
    learning_rate=2e-3,
    num_train_epochs=5,
)

if __name__ == "__main__":
    launch(recipe)
