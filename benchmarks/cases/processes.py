"""What a second process costs or gains on the same cores, the same rows a step; no peer.

CPU seconds are those of the first process.
"""

from dataclasses import replace

from case import Side
from cases import minilm

CASE = replace(
    minilm.CASE,
    name="processes",
    title="MiniLM on IMDb at 512 tokens, in 1 and 2 processes",
    sides={
        "hftune, 1 process": Side("hftune_recipe"),
        "hftune, 2 processes": Side("hftune_recipe", {"processes": 2}),
    },
    pairs=(("hftune, 2 processes", "hftune, 1 process"),),
    on_request=(),
)
