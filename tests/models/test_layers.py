"""Where each parameter sits: embeddings, numbered layers, head."""

import pytest

from hftune.models.layers import depth, layers_of
from tests.tiny import FAMILIES

BACKBONES = [*FAMILIES, "pooled"]
HEADS = {
    "bert": {"classifier"},
    "roberta": {"classifier"},
    "electra": {"classifier"},
    "distilbert": {"pre_classifier", "classifier"},
    "modernbert": {"head", "classifier"},
    "gpt2": {"score"},
    "pooled": {"attention", "classifier"},
}
# Parameters outside of numbered layers, and where they belong.
PLACES = {
    "bert": {
        "embeddings.word_embeddings.weight": 0,
        "embeddings.LayerNorm.bias": 0,
        "pooler.dense.weight": 2,
    },
    "roberta": {"embeddings.position_embeddings.weight": 0},
    "electra": {"embeddings_project.weight": 0, "embeddings.token_type_embeddings.weight": 0},
    "distilbert": {"embeddings.position_embeddings.weight": 0},
    "modernbert": {"embeddings.tok_embeddings.weight": 0, "final_norm.weight": 2},
    "gpt2": {"wte.weight": 0, "wpe.weight": 0, "ln_f.weight": 2},
    "pooled": {"embeddings.word_embeddings.weight": 0},
}


@pytest.mark.parametrize("family", BACKBONES)
def test_depth_of_every_parameter(models, family):
    model = models[family]
    depths = layers_of(model)
    assert depth(depths) == 2
    assert list(depths) == [name for name, _ in model.named_parameters()]
    assert {name.split(".")[0] for name, layer in depths.items() if layer is None} == HEADS[family]
    assert {layer for layer in depths.values() if layer is not None} == {0, 1, 2}
    for name, layer in PLACES[family].items():
        assert depths[f"{model.base_model_prefix}.{name}"] == layer, name
    for name, layer in depths.items():
        for number in (0, 1):
            if f"layer.{number}." in name or f"layers.{number}." in name or f".h.{number}." in name:
                assert layer == number + 1, name
