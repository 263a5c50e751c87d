"""From the launch to the end of the first step, with data and model in the caches, beside the Trainer."""

from case import Case, Side
from rows import texts_and_encoder

CASE = Case(
    name="start",
    title="Launch to first step: MiniLM on the whole of IMDb, cached",
    job={
        "data": "stanfordnlp/imdb",
        "whole": True,  # every row of the data set, of which one batch is trained on
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "recipe": "imdb",
        "rows": 16,
        "scored": 32,
        "batch": 16,
        "epochs": 1,
        "max_length": 128,
        "learning_rate": 5e-5,
        "precision": "bf16",
    },
    sample={"data": "sample", "whole": False, "model": "tiny", "batch": 8, "max_length": 64},
    prepare=texts_and_encoder,
    sides={"hftune": Side("hftune_recipe"), "Trainer": Side("trainer")},
    pairs=(("hftune", "Trainer"),),
    measure="first_step_seconds",
    warm_up=True,
)
