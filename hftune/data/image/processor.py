"""How images become a model's input when scoring and in use: the image processor that is saved with it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    BitImageProcessor,
    BitImageProcessorPil,
    PreTrainedConfig,
)
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
from transformers.utils import is_torchvision_available

from hftune.data.base_model import checkpoint_config
from hftune.errors import BadInput, first_line
from hftune.models import standalone
from hftune.settings.image import ImageSettings
from hftune.settings.types import did_you_mean

SMALL = 96  # pixels: an image of such a side has no margin to crop away
CROP = 0.875  # share of a photo's shorter side that the square covers: 224 of 256, as Krizhevsky et al. 2012
TIMM_KEYS = (  # of a pretrained_cfg: how a model is fed and what its ends are called, not where it came from
    "input_size",
    "fixed_input_size",
    "interpolation",
    "crop_pct",
    "crop_mode",
    "mean",
    "std",
    "pool_size",
    "first_conv",
    "classifier",
    "license",
)
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """How images are fed to a model; it is called and saved as the image processor that it holds.

    Args:
        processor: Called as `processor(images=image, return_tensors="pt")`, it returns "pixel_values",
            float32 (1, 3, S', S'); `save_pretrained(folder)` writes preprocessor_config.json.
        image_size: Pixels, side S of the square to train on.
        eval_image_size: Pixels, side S' of what the processor makes.
        mean: What the processor subtracts from red, green and blue on a scale of 0 to 1.
        std: What it divides them by then.
        checkpoint: The config of `--model_name_or_path`; None for a model from scratch.
    """

    processor: Any
    image_size: int
    eval_image_size: int
    mean: Colour
    std: Colour
    checkpoint: PreTrainedConfig | None = None

    def __call__(self, images: Any, return_tensors: str = "pt") -> Any:
        """Returns what `processor` does."""
        return self.processor(images=images, return_tensors=return_tensors)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes preprocessor_config.json."""
        self.processor.save_pretrained(folder)


class TimmProcessor:
    """Does to images what timm does to them when it scores a model.

    transformers' class for it does not save itself, as it is read back from the `pretrained_cfg` in a
    model's config.json: a model saved beside this needs `pretrained_cfg` into its config.

    Args:
        architecture: timm's name of the architecture.
        pretrained_cfg: timm's description of the input.
    """

    def __init__(self, architecture: str, pretrained_cfg: dict[str, Any]):
        from transformers import TimmWrapperImageProcessor

        self.architecture = architecture
        self.pretrained_cfg = pretrained_cfg
        self._wrapped = TimmWrapperImageProcessor(pretrained_cfg=pretrained_cfg, architecture=architecture)

    def __call__(self, images: Any, return_tensors: str = "pt", **kwargs: Any) -> Any:
        """Returns "pixel_values", float32 (B, 3, S', S'), of one image or a list of images."""
        return self._wrapped(images, return_tensors=return_tensors, **kwargs)

    def save_pretrained(self, folder: str | Path, **kwargs: Any) -> None:
        """Writes preprocessor_config.json, from which `AutoImageProcessor` knows where to look."""
        values = {
            "image_processor_type": "TimmWrapperImageProcessor",
            "architecture": self.architecture,
            "pretrained_cfg": self.pretrained_cfg,
        }
        path = Path(folder, "preprocessor_config.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load_processor(settings: ImageSettings) -> Preprocessing:
    """Finds out how the model that the settings name is fed; `--image_size` and the like override it.

    A checkpoint brings its own processor. A model from scratch has timm's for its architecture, or scales
    the shorter side, cuts a square from the middle and normalises with ImageNet's mean and deviation.

    Raises:
        BadInput: If the checkpoint or its processor cannot be loaded, the model type is unknown, or the
            processor does more than resize, crop and normalise, or makes no square.
    """
    if name := settings.model_name_or_path:
        config = checkpoint_config(name, "images")
        if config.model_type == "timm_wrapper":
            found = _of_timm(settings, name, config.architecture, config.pretrained_cfg)
        else:
            found = _of_transformers(settings, name)
        return replace(found, checkpoint=config)
    name = str(settings.model_type)
    if scratch_kind(settings) == "timm":
        return _of_timm(settings, name, name, _default_cfg(name))
    return _from_scratch(settings, name, _default_side(name))


def scratch_kind(settings: ImageSettings) -> Literal["standalone", "transformers", "timm"]:
    """Says who knows a model type: we do, or transformers, or timm, asked in this order.

    Raises:
        BadInput: If nobody does; the message has the nearest known name.
    """
    name = settings.model_type
    if not name:
        raise BadInput("no model: pass --model_name_or_path (a checkpoint) or --model_type (from scratch)")
    if name in standalone.IMAGE:
        return "standalone"
    known = set(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES) - {"timm_wrapper"}
    if name in known:
        return "transformers"
    try:
        import timm
    except ImportError:
        advice = "; the architectures of timm need: pip install 'hftune[image]'"
        raise BadInput(f"--model_type {name}: unknown{did_you_mean(name, known)}{advice}") from None
    if timm.is_model(name) and "." not in name:  # a name with a dot and a tag names weights
        return "timm"
    known |= {*standalone.IMAGE, *timm.list_models()}
    raise BadInput(
        f"--model_type {name}: neither timm nor transformers has such an architecture"
        f"{did_you_mean(name, known)}"
    )


def _of_timm(
    settings: ImageSettings, name: str, architecture: str, pretrained_cfg: dict[str, Any]
) -> Preprocessing:
    cfg = {key: pretrained_cfg[key] for key in TIMM_KEYS if pretrained_cfg.get(key) is not None}
    image_size = settings.image_size or cfg.get("input_size", (3, 224, 224))[-1]
    side = settings.eval_image_size or image_size
    cfg["input_size"] = [3, side, side]
    if settings.model_type and side <= SMALL:
        cfg["crop_pct"] = 1.0
    for key, wanted in (("mean", settings.image_mean), ("std", settings.image_std)):
        if wanted:
            cfg[key] = list(_colour(wanted))
    # To JSON and back: the model's config is to hold what is read from its file later, lists and all.
    processor = TimmProcessor(architecture, json.loads(json.dumps(cfg)))
    return _checked(settings, name, processor, image_size)


def _default_cfg(architecture: str) -> dict[str, Any]:
    import timm

    cfg = timm.get_pretrained_cfg(architecture)
    return cfg.to_dict() if cfg else {}


def _of_transformers(settings: ImageSettings, name: str) -> Preprocessing:
    processor = _auto_processor(name)
    own = _side(name, processor)
    image_size = settings.image_size or own
    changes = _changes(processor, own, settings.eval_image_size or image_size)
    for key in ("image_mean", "image_std"):
        if text := getattr(settings, key):
            changes |= {key: list(_colour(text)), "do_normalize": True}
    return _checked(settings, name, _auto_processor(name, **changes) if changes else processor, image_size)


def _auto_processor(name: str, **changes: Any) -> Any:
    try:
        return AutoImageProcessor.from_pretrained(name, trust_remote_code=False, **changes)
    except (OSError, ValueError, KeyError, ImportError) as error:
        absent = first_line(error).startswith("Can't load image processor")
        advice = "no preprocessor_config.json; copy that file from the model that it began as"
        reason = advice if absent else first_line(error)
        raise BadInput(f"--model_name_or_path {name}: its image processor: {reason}") from None


def _changes(processor: Any, own: int, side: int) -> dict[str, Any]:
    """Returns what makes squares of another side of a processor; the share that is cropped away stays."""
    if side == own:
        return {}
    values = processor.to_dict()
    changes: dict[str, Any] = {}
    if values.get("do_resize"):
        changes["size"] = {key: round(number * side / own) for key, number in values["size"].items()}
    if values.get("do_center_crop"):
        changes["crop_size"] = {"height": side, "width": side}
    return changes


def _default_side(model_type: str) -> int:
    side = getattr(AutoConfig.for_model(model_type), "image_size", None)
    return side if isinstance(side, int) else 224


def _from_scratch(settings: ImageSettings, name: str, default_side: int) -> Preprocessing:
    # The same with Pillow is saved under the same name.
    kind = BitImageProcessor if is_torchvision_available() else BitImageProcessorPil
    image_size = settings.image_size or default_side
    side = settings.eval_image_size or image_size
    processor = kind(
        size={"shortest_edge": side if side <= SMALL else round(side / CROP)},
        crop_size={"height": side, "width": side},
        resample=Image.Resampling.BICUBIC,
        image_mean=list(_colour(settings.image_mean) if settings.image_mean else IMAGENET_DEFAULT_MEAN),
        image_std=list(_colour(settings.image_std) if settings.image_std else IMAGENET_DEFAULT_STD),
    )
    return _checked(settings, name, processor, image_size)


def _colour(text: str) -> Colour:
    """Reads "0.5" or "0.5,0.5,0.5"; the settings have checked it."""
    numbers = [float(part) for part in text.split(",")]
    red, green, blue = numbers if len(numbers) == 3 else numbers * 3
    return red, green, blue


def _checked(settings: ImageSettings, name: str, processor: Any, image_size: int) -> Preprocessing:
    """Measures what a processor does to colours, whatever its fields are called."""
    side = settings.eval_image_size or image_size
    if (got := _side(name, processor)) != side:
        flag = "eval_image_size" if settings.eval_image_size else "image_size"
        raise BadInput(f"--{flag} {side}: the image processor of {name} makes squares of {got} pixels")
    black, white = (_pixels(name, processor, (level,) * 3)[:, 0, 0].double() for level in (0, 255))
    std = 1 / (white - black)
    mean = -black * std
    if (mean.abs() > 1).any():
        raise BadInput(
            f"{name}: its image processor subtracts a mean on a scale of 255 from colours of 0 to 1; correct "
            f"image_mean and image_std in preprocessor_config.json, or pass {_divided(processor)}"
        )
    # Channels in another order show in an image of three levels; a black border does in its corner.
    levels = (200, 100, 20)
    expected = ((torch.tensor(levels) / 255 - mean) / std)[:, None, None]
    if not torch.allclose(_pixels(name, processor, levels).double(), expected, atol=1e-4):
        raise BadInput(
            f"{name}: its image processor does more to images than resize, crop and normalise them; "
            "training images could not be made the same way"
        )
    # float32 has 7 digits: 0.485, not 0.48500000685453415
    mean_red, mean_green, mean_blue = (round(value, 7) for value in mean.tolist())
    std_red, std_green, std_blue = (round(value, 7) for value in std.tolist())
    return Preprocessing(
        processor, image_size, side, (mean_red, mean_green, mean_blue), (std_red, std_green, std_blue)
    )


def _divided(processor: Any) -> str:
    """Returns flags with a processor's mean and deviation, divided by 255."""
    flags = []
    for key in ("mean", "std"):
        cfg = getattr(processor, "pretrained_cfg", {})
        values = cfg.get(key) or getattr(processor, f"image_{key}", None) or []
        flags.append(f"--image_{key} {','.join(f'{float(value) / 255:.3g}' for value in values)}")
    return " ".join(flags)


def _side(name: str, processor: Any) -> int:
    height, width = _pixels(name, processor, (0, 0, 0)).shape[-2:]
    if height != width:
        raise BadInput(f"{name}: its image processor makes {width} x {height} pixels of an image, no square")
    return height


def _pixels(name: str, processor: Any, colour: tuple[int, ...]) -> torch.Tensor:
    """Returns what a processor makes of an image of one colour, float (3, H, W)."""
    pixels = processor(images=Image.new("RGB", (60, 40), colour), return_tensors="pt").get("pixel_values")
    if pixels is None or pixels.ndim != 4 or pixels.shape[1] != 3:
        raise BadInput(f"{name}: its image processor does not make images of three channels")
    return pixels[0]
