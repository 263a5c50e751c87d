"""A convolutional text classifier from scratch, beside the loop of a course book."""

from case import Case, Side
from rows import texts

CASE = Case(
    name="textcnn",
    title="TextCNN on IMDb, 500 words",
    job={
        "data": "stanfordnlp/imdb",
        "recipe": "imdb_textcnn",
        "network": "textcnn",
        "sizes": {"size": 100, "widths": [3, 4, 5], "filters": 100},
        "flags": {
            "config_overrides": "embedding_dim=100,kernel_sizes=[3,4,5],num_filters=100,readout=max",
        },
        "vocabulary": 30_000,
        "rows": 2560,
        "scored": 500,
        "batch": 64,
        "epochs": 2,
        "max_length": 500,
        "learning_rate": 1e-3,
        "precision": "fp32",
    },
    gpu={"rows": 19_200},
    sample={"data": "sample", "rows": 128, "scored": 32, "batch": 16, "max_length": 64},
    prepare=texts,
    sides={
        "hftune": Side("hftune_recipe"),
        "hftune, bf16": Side("hftune_recipe", {"precision": "bf16"}),
        "plain loop": Side("plain_loop"),
    },
    pairs=(("hftune", "plain loop"), ("hftune, bf16", "plain loop")),
)
