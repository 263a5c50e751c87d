"""Fine-tuning a six-layer encoder on long reviews, beside transformers' Trainer."""

from case import Case, Side
from rows import texts_and_encoder

CASE = Case(
    name="minilm",
    title="MiniLM on IMDb at 512 tokens",
    job={
        "data": "stanfordnlp/imdb",
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "recipe": "imdb",
        "rows": 128,
        "scored": 100,
        "batch": 16,
        "epochs": 1,
        "max_length": 512,
        "learning_rate": 5e-5,
        "precision": "bf16",
    },
    gpu={"rows": 3200, "epochs": 2},
    sample={"data": "sample", "model": "tiny", "rows": 32, "scored": 16, "batch": 8, "max_length": 64},
    prepare=texts_and_encoder,
    sides={
        "hftune": Side("hftune_recipe"),
        "Trainer": Side("trainer"),
        "Trainer, group_by_length": Side("trainer", {"train_sampling_strategy": "group_by_length"}),
        "Trainer, group_by_length, torch_compile": Side(
            "trainer", {"train_sampling_strategy": "group_by_length", "torch_compile": True}
        ),
    },
    pairs=(
        ("hftune", "Trainer"),
        ("hftune", "Trainer, group_by_length"),
        ("hftune", "Trainer, group_by_length, torch_compile"),
    ),
    on_request=("Trainer, group_by_length, torch_compile",),
)
