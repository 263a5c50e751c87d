"""The settings of a run on images."""

from dataclasses import dataclass
from typing import Literal

from hftune.data.image.presets import PRESETS
from hftune.errors import BadInput
from hftune.settings.base import Settings, refuse, refuse_both
from hftune.settings.types import as_number

Augmentation = Literal[*PRESETS]  # type: ignore[valid-type]


@dataclass(frozen=True, kw_only=True)
class ImageSettings(Settings):
    """The further settings of a run on images."""

    # --- data ---
    train_dir: str | None = None  # folder with one folder of images per class, instead of dataset_name
    validation_dir: str | None = None  # the same classes: images that choose the best model
    test_dir: str | None = None  # the same classes: images that are scored once, at the end
    image_dir: str | None = None  # folder that the paths in lists start from (else the list's own folder)
    image_column_name: str | None = None  # column of the images or their paths (else found by its kind)
    skip_bad_images: bool = False  # leave out images that cannot be read, and count them, not stop
    # colour put behind transparent pixels, "white" or "#f0f0f0" (else what the file stores under them)
    transparent_background: str | None = None

    # --- model ---
    model_type: str | None = None  # to train from scratch: resnet9, or a name of timm or transformers
    checkpoint_path: str | None = None  # safetensors file with weights for a model_type of timm
    channels_last: bool = True  # keep the channels of a pixel together in memory: faster convolutions
    freeze_batch_norm: bool = False  # BatchNorm keeps the checkpoint's means and variances

    # --- images ---
    image_size: int | None = None  # pixels, side of the training square (else the checkpoint's)
    eval_image_size: int | None = None  # pixels, side when scoring and in use (else image_size)
    image_mean: str | None = None  # per channel, "0.5,0.5,0.5" of 1 (else the checkpoint's, or ImageNet's)
    image_std: str | None = None  # per channel, like image_mean
    # random changes of the training images; randaugment: two of them, drawn for each view
    augmentation: Augmentation = "standard"
    mixup: float = 0.0  # alpha of mixup: images and labels of two rows are blended; 0: off
    cutmix: float = 0.0  # alpha of CutMix: a box of one image is pasted into another; 0: off
    test_time_augmentation: bool = False  # score the test images also together with their mirror images

    def check(self) -> None:
        """Raises BadInput with the flag's name for an impossible value or a contradiction."""
        super().check()
        for other in ("dataset_name", "train_file"):
            if self.train_dir and getattr(self, other):
                refuse_both("train_dir", other, "give one of them")
        for name in ("validation_dir", "test_dir"):
            if getattr(self, name) and not self.train_dir:
                raise BadInput(f"--{name} needs --train_dir")
        if self.image_dir and self.train_dir:
            refuse_both("image_dir", "train_dir", "image_dir is for the paths in lists")
        if self.checkpoint_path and not self.model_type:
            raise BadInput("--checkpoint_path needs --model_type NAME, the timm architecture of the weights")
        if self.transparent_background:
            from PIL import ImageColor

            try:
                ImageColor.getrgb(self.transparent_background)
            except ValueError:
                refuse(self, "transparent_background", 'must be a colour, such as white or "#f0f0f0"')
        for name in ("image_mean", "image_std"):
            text = getattr(self, name)
            numbers = [as_number(part) for part in text.split(",")] if text else [0.5]
            if len(numbers) not in (1, 3) or any(number is None or number < 0 for number in numbers):
                refuse(self, name, 'must be one number or three, such as "0.5,0.5,0.5"')
            if any(number > 1 for number in numbers):  # type: ignore[operator]
                parts = ",".join(f"{number / 255:.3g}" for number in numbers)  # type: ignore[operator]
                refuse(self, name, f"must be on a scale of 0 to 1, not of 255; divided by 255 it is {parts}")
            if name == "image_std" and 0 in numbers:
                refuse(self, name, "must be above 0")
        if (self.mixup or self.cutmix) and self.class_weight:
            refuse_both("class_weight", "mixup" if self.mixup else "cutmix", "a blend has no class")
