"""How plain transformers uses what a run saved."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Use(NamedTuple):
    """How plain transformers uses a saved model: what a card and the end of a run show.

    Args:
        pipeline: The name of its pipeline.
        options: Further arguments of `pipeline(...)`, Python source such as `top_k=3`.
        arguments: What a call of the pipeline is given, Python source; one row.
        reading: Markdown: how an answer becomes a decision, where the pipeline's own words do not say it.
            Its Python names the pipeline `classify`.
    """

    pipeline: str
    options: str = ""
    arguments: str = ""
    reading: str = ""


USES: Mapping[str, Use] = MappingProxyType(  # by what a row is, see `Inputs.modality`
    {
        "text": Use("text-classification", arguments='"Write a text of your own here.", truncation=True'),
        "text pair": Use(
            "text-classification",
            arguments='{"text": "A text of your own.", "text_pair": "Another one."}, truncation=True',
        ),
        "image": Use("image-classification", arguments='"photo.jpg"'),
    }
)
