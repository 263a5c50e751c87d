"""IMDb film reviews with averaged embeddings of words and hashed bigrams, trained from scratch.

    accelerate launch recipes/imdb_bag.py

Model   Joulin et al. 2016, Bag of Tricks for Efficient Text Classification
"""

from hftune.recipes import imdb

from hftune import launch

recipe = imdb.recipe.replace(
    name="imdb_bag",
    description=__doc__,
    model_type="bag",
    learning_rate=1e-2,
    num_train_epochs=4,
)

if __name__ == "__main__":
    launch(recipe)
