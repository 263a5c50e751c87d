"""hftune: recipes that fine-tune Hugging Face models.

Names are loaded when they are first used, so that `--help` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hftune.data.dataset import Data
    from hftune.data.image.load import load_images
    from hftune.data.masked_lm.load import load_masked_lm
    from hftune.data.text.load import load_text
    from hftune.data.tokens.load import load_tokens
    from hftune.errors import BadInput
    from hftune.launcher import launch
    from hftune.models.image import build_image_classifier
    from hftune.models.masked_lm import build_masked_lm
    from hftune.models.text import build_text_classifier
    from hftune.models.tokens import build_token_classifier
    from hftune.recipe import Recipe
    from hftune.settings.base import Settings
    from hftune.settings.image import ImageSettings
    from hftune.settings.masked_lm import MaskedLMSettings
    from hftune.settings.text import TextSettings
    from hftune.settings.tokens import TokenSettings
    from hftune.training.cached_features import cache_features
    from hftune.training.recipe_losses import contrastive_loss, head_loss

_HOME = {
    "BadInput": "hftune.errors",
    "Data": "hftune.data.dataset",
    "ImageSettings": "hftune.settings.image",
    "MaskedLMSettings": "hftune.settings.masked_lm",
    "Recipe": "hftune.recipe",
    "Settings": "hftune.settings.base",
    "TextSettings": "hftune.settings.text",
    "TokenSettings": "hftune.settings.tokens",
    "build_image_classifier": "hftune.models.image",
    "build_masked_lm": "hftune.models.masked_lm",
    "build_text_classifier": "hftune.models.text",
    "build_token_classifier": "hftune.models.tokens",
    "cache_features": "hftune.training.cached_features",
    "contrastive_loss": "hftune.training.recipe_losses",
    "head_loss": "hftune.training.recipe_losses",
    "launch": "hftune.launcher",
    "load_images": "hftune.data.image.load",
    "load_masked_lm": "hftune.data.masked_lm.load",
    "load_text": "hftune.data.text.load",
    "load_tokens": "hftune.data.tokens.load",
}

__all__ = [
    "BadInput",
    "Data",
    "ImageSettings",
    "MaskedLMSettings",
    "Recipe",
    "Settings",
    "TextSettings",
    "TokenSettings",
    "build_image_classifier",
    "build_masked_lm",
    "build_text_classifier",
    "build_token_classifier",
    "cache_features",
    "contrastive_loss",
    "head_loss",
    "launch",
    "load_images",
    "load_masked_lm",
    "load_text",
    "load_tokens",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hftune' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
