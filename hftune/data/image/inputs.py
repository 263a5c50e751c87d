"""Images as the rows of a saved model."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from PIL import Image

from hftune.data.columns import choose_columns
from hftune.data.dataset import Data
from hftune.data.image.folders import read_class_folders
from hftune.data.image.images import locate_and_check, memory_budget
from hftune.data.image.load import load_images
from hftune.data.image.read import read_images
from hftune.data.image.rows import ImageCollator, ImageRows, Images, processed
from hftune.data.image.splits import PICTURE, find_images
from hftune.data.inputs import CheckedRows, Contents, Ids, Inputs, Split
from hftune.data.sources import Source
from hftune.data.tables.read import Table
from hftune.settings.image import ImageSettings
from hftune.storage.files import read_json, write_json
from hftune.tasks import label_names


@dataclass(frozen=True)
class ImageInputs(Inputs):
    """How images are found, decoded and prepared.

    Args:
        processor: The image processor.
        background: The colour behind transparent pixels, see `hftune.data.image.decode`.
    """

    modality = "image"
    plural = "images"
    auto_model = "AutoModelForImageClassification"
    auto_processor = "AutoImageProcessor"
    processor_noun = "image processor"
    settings_class = ImageSettings
    workers = None
    keys = ("file",)
    forward_axes: ClassVar = {"pixel_values": {0: "batch"}}

    background: str | None = None

    @classmethod
    def of_saved(cls, name: str, model: Any, processor: Any, settings: Mapping[str, Any]) -> Self:
        # The config has the background, or the run if a recipe built the model.
        kept = settings.get("transparent_background")
        return cls(processor, getattr(model.config, "transparent_background", kept))

    def read(self, sources: Iterable[str], options: Mapping[str, Any]) -> Contents:
        return read_images(
            sources,
            options.get("image_column_name"),
            image_dir=options.get("image_dir"),
            skip_bad=options.get("skip_bad_images", False),
            background=self.background,
        )

    def find(self, settings: ImageSettings, test_dir: str | None = None) -> Source:
        if test_dir is None:
            return find_images(settings)
        table, warnings = read_class_folders(test_dir, skip_bad=settings.skip_bad_images)
        return Source({"test": table}, test_dir, files=True, warnings=tuple(warnings))

    def load(self, settings: ImageSettings) -> Data:
        return load_images(settings)

    def choose_columns(self, table: Table, settings: ImageSettings) -> tuple[str, str]:
        names = settings.image_column_name, settings.label_column_name
        return choose_columns(table, PICTURE, *names, label_names(settings))

    def check(self, table: Table, column: str, settings: Any, of: Split, rows: Ids = None) -> CheckedRows:
        # Each image is decoded once.
        checked = locate_and_check(
            table,
            column,
            image_dir=settings.image_dir,
            dataset_name=settings.dataset_name,
            split=of.name,
            skip_bad=settings.skip_bad_images,
            rows=rows,
            room=memory_budget(),
            background=settings.transparent_background,
        )
        return checked.images, checked.rows, checked.warnings

    def rows(self, values: Images) -> ImageRows:
        """Returns images as rows, each as the saved processor shows it."""
        return ImageRows(values, np.zeros(len(values), np.int64), processed(self.processor))

    @property
    def collate(self) -> Callable[[list], dict[str, torch.Tensor]]:
        return ImageCollator((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # the processor has normalised the views

    def save(self, folder: Path) -> None:
        """Writes preprocessor_config.json; timm's own processor writes nothing, config.json has it."""
        super().save(folder)
        config = read_json(folder / "config.json")
        path = folder / "preprocessor_config.json"
        if config["model_type"] == "timm_wrapper" and not path.exists():
            kept = {name: config[name] for name in ("architecture", "pretrained_cfg")}
            write_json(path, {"image_processor_type": "TimmWrapperImageProcessor", **kept})

    def scoring_settings(self, values: Mapping[str, Any]) -> ImageSettings:
        # The model says the background.
        return replace(super().scoring_settings(values), transparent_background=self.background)

    def pixels(self, image: np.ndarray) -> torch.Tensor:
        """Returns what the model is given of an image, uint8 (H, W, 3): float32 (1, 3, S, S)."""
        return self.processor(images=Image.fromarray(image), return_tensors="pt")["pixel_values"]

    def as_seen(self, pixels: torch.Tensor) -> np.ndarray:
        """Turns `pixels` back into colours, float (S, S, 3) from 0 to 255, whatever the processor did."""
        ends = [self.pixels(np.full((64, 64, 3), level, np.uint8)).mean((0, 2, 3)) for level in (0, 255)]
        black, white = (end[:, None, None] for end in ends)
        return (255 * (pixels[0] - black) / (white - black)).clamp(0, 255).permute(1, 2, 0).numpy()
