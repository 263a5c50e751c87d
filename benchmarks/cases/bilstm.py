"""A bidirectional LSTM from scratch, beside the loop of a course book."""

from case import Case, Side
from rows import texts

SIZES = {"size": 100, "hidden": 100, "layers": 2}

CASE = Case(
    name="bilstm",
    title="BiLSTM on IMDb, 500 words",
    job={
        "data": "stanfordnlp/imdb",
        "recipe": "imdb_bilstm",
        "network": "bilstm",
        "sizes": SIZES,
        "flags": {
            "config_overrides": "embedding_dim=100,hidden_size=100,num_layers=2,readout=final,"
            "embedding_dropout=0,dropout=0",
            "truncation": "head",
        },
        "vocabulary": 30_000,
        "rows": 640,
        "scored": 500,
        "batch": 64,
        "epochs": 1,
        "max_length": 500,
        "learning_rate": 1e-3,
        "precision": "fp32",
    },
    sample={"data": "sample", "rows": 64, "scored": 32, "batch": 16, "max_length": 64},
    prepare=texts,
    sides={
        "hftune": Side("hftune_recipe"),
        "hftune, bf16": Side("hftune_recipe", {"precision": "bf16"}),
        "plain loop": Side("plain_loop"),
    },
    pairs=(("hftune", "plain loop"), ("hftune, bf16", "plain loop")),
)
