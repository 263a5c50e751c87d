"""IMDb film reviews with a TextCNN trained from scratch.

    accelerate launch recipes/imdb_textcnn.py

Model   Kim 2014, Convolutional Neural Networks for Sentence Classification
"""

from hftune.recipes import imdb

from hftune import launch

recipe = imdb.recipe.replace(
    name="imdb_textcnn",
    description=__doc__,
    model_type="textcnn",
    learning_rate=1e-3,
    num_train_epochs=5,
)

if __name__ == "__main__":
    launch(recipe)
