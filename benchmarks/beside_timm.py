"""Who takes part in the cases of images: hftune, timm's script as it is, and the script tuned."""

from typing import Any

from case import Side

SCRIPT, TUNED = "timm's script", "timm's script, tuned"
PAIRS = (("hftune", SCRIPT), ("hftune", TUNED))


def sides(**augmentation: Any) -> dict[str, Side]:
    """Returns the sides by name.

    Args:
        **augmentation: What `create_loader` is told so that the tuned script augments as the recipe does.
    """
    loader = {"interpolation": "bilinear", **augmentation}
    return {
        "hftune": Side("hftune_recipe"),
        SCRIPT: Side("timm_script"),
        TUNED: Side("timm_script", {"channels_last": True, "loader": loader}),
    }
