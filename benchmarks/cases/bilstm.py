"""A bidirectional LSTM from scratch, beside the loop of a course book."""

from dataclasses import replace

from cases import textcnn

CASE = replace(
    textcnn.CASE,
    name="bilstm",
    title="BiLSTM on IMDb, 500 words",
    job=textcnn.CASE.job
    | {
        "recipe": "imdb_bilstm",
        "network": "bilstm",
        "sizes": {"size": 100, "hidden": 100, "layers": 2},
        "flags": {
            "config_overrides": "embedding_dim=100,hidden_size=100,num_layers=2,readout=final,"
            "embedding_dropout=0,dropout=0",
            "truncation": "head",
        },
        "rows": 640,
        "epochs": 1,
    },
    gpu=textcnn.CASE.gpu | {"epochs": 2},
    sample=textcnn.CASE.sample | {"rows": 64},
)
