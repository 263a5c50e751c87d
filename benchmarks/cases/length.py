"""How hftune's cost grows with the length at which texts are cut; no peer."""

from dataclasses import replace

from case import Side
from cases import minilm

CASE = replace(
    minilm.CASE,
    name="length",
    title="MiniLM on IMDb, cut at 64 to 512 tokens",
    job=minilm.CASE.job | {"rows": 96},
    sides={
        f"hftune, {tokens} tokens": Side("hftune_recipe", {"max_length": tokens})
        for tokens in (64, 128, 256, 512)
    },
    pairs=(),
    on_request=(),
)
