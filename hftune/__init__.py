"""hftune: recipes that fine-tune Hugging Face models.

Names are loaded when they are first used, so that `--help` does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hftune.classifier import build_text_classifier
    from hftune.config import Settings
    from hftune.data.bundle import Data
    from hftune.data.load_images import load_images
    from hftune.data.load_text import load_text
    from hftune.errors import BadInput
    from hftune.features import cache_features, head_loss
    from hftune.image_settings import ImageSettings
    from hftune.launcher import launch
    from hftune.recipe import Recipe
    from hftune.text_settings import TextSettings
    from hftune.vision import build_image_classifier

_HOME = {
    "BadInput": "hftune.errors",
    "Data": "hftune.data.bundle",
    "ImageSettings": "hftune.image_settings",
    "Recipe": "hftune.recipe",
    "Settings": "hftune.config",
    "TextSettings": "hftune.text_settings",
    "build_image_classifier": "hftune.vision",
    "build_text_classifier": "hftune.classifier",
    "cache_features": "hftune.features",
    "head_loss": "hftune.features",
    "launch": "hftune.launcher",
    "load_images": "hftune.data.load_images",
    "load_text": "hftune.data.load_text",
}

__all__ = [
    "BadInput",
    "Data",
    "ImageSettings",
    "Recipe",
    "Settings",
    "TextSettings",
    "build_image_classifier",
    "build_text_classifier",
    "cache_features",
    "head_loss",
    "launch",
    "load_images",
    "load_text",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hftune' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
