"""An encoder of BERT-base's shape, of random weights, on texts that fill their 512 tokens; no peer.

Beside it the products that the device computes at most, for the share that the training reaches.
"""

from case import Case, Side
from rows import long_texts_and_encoder

CASE = Case(
    name="bert_base",
    title="BERT-base's shape, all texts of 512 tokens",
    job={
        "data": "stanfordnlp/imdb",
        "model": "sentence-transformers/all-MiniLM-L6-v2",  # its tokenizer
        "encoder_sizes": {
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
        },
        "recipe": "imdb",
        "flags": {"linear_probing": "false"},  # of random weights it knows nothing
        "rows": 64,
        "scored": 16,
        "batch": 32,
        "epochs": 1,
        "max_length": 512,
        "learning_rate": 5e-5,
        "precision": "bf16",
        "product": 2048,
    },
    gpu={"rows": 1920, "epochs": 2, "product": 8192},
    sample={
        "data": "sample",
        "model": "tiny",
        "encoder_sizes": {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 24,
        },
        "rows": 32,
        "batch": 8,
        "max_length": 64,
        "product": 64,
    },
    prepare=long_texts_and_encoder,
    sides={"hftune": Side("hftune_recipe"), "products": Side("products")},
    pairs=(),
)


def flops_of_text(job: dict) -> float:
    """Returns the floating-point operations of training on one text: three times those of its forward pass.

    Products alone, those of the linear layers and of attention; the last layer computes keys and values of
    all tokens and the rest for the first token alone, as the classifier reads no other.
    """
    sizes, tokens = job["encoder_sizes"], job["max_length"]
    width, inner = sizes["hidden_size"], sizes["intermediate_size"]
    layer = 2 * tokens * (4 * width**2 + 2 * width * inner) + 4 * tokens**2 * width
    last = 4 * tokens * width**2 + 2 * (2 * width**2 + 2 * width * inner) + 4 * tokens * width
    return 3.0 * ((sizes["num_hidden_layers"] - 1) * layer + last)
