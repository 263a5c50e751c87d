"""Answering texts of mixed lengths, beside transformers' pipeline."""

from case import Case, Side
from rows import texts_and_classifier

CASE = Case(
    name="predict",
    title="Prediction, MiniLM, texts of all lengths",
    job={
        "data": "stanfordnlp/imdb",
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "rows": 128,
        "scored": 1,
        "batch": 32,
        "max_length": 512,
        "precision": "fp32",
    },
    gpu={"rows": 6400},
    sample={"data": "sample", "model": "tiny", "rows": 48, "batch": 8, "max_length": 64},
    prepare=texts_and_classifier,
    sides={
        "hftune": Side("hftune_answers"),
        "hftune, bf16": Side("hftune_answers", {"precision": "bf16"}),
        "pipeline(batch_size=32)": Side("pipeline", {"batch_size": 32}),
        "pipeline(batch_size=32, dtype=bfloat16)": Side("pipeline", {"batch_size": 32, "precision": "bf16"}),
        "pipeline": Side("pipeline", {"batch_size": 1}),
    },
    pairs=(
        ("hftune", "pipeline(batch_size=32)"),
        ("hftune", "pipeline"),
        ("hftune, bf16", "pipeline(batch_size=32)"),
        ("hftune, bf16", "pipeline(batch_size=32, dtype=bfloat16)"),
    ),
    on_request=("pipeline(batch_size=32, dtype=bfloat16)",),
)
