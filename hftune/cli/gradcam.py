"""Draws where a trained image model looks: each picture beside a heat map of its predicted class (Grad-CAM).

    hftune gradcam runs/hotdog lunch.jpg dinner.jpg
    hftune gradcam runs/hotdog photos --output heat.png

MODEL is a run directory, a folder or a Hub id; the pictures are files, folders of them, or lists (.csv,
.parquet), of which the first 12 are drawn. The result is gradcam.png in the model's folder, or the file of
--output.

--output FILE         another file: .png, .jpg, .pdf, .svg or .webp
--skip_bad_images     leave out images that cannot be read, and say how many
--revision R          branch, tag or commit of a model on the Hub
--trust_remote_code   run code that comes with the model
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from hftune.cli.open import FLAGS, open_model
from hftune.cli.words import check_writable, output_file, read_words
from hftune.errors import BadInput

MOST = 12  # pictures on one page
FORMATS = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")


def run(words: list[str]) -> None:
    """Draws the heat maps.

    Args:
        words: The model, pictures, and the flags above.

    Raises:
        BadInput: The model or a picture cannot be read, or the model has no map of places.
    """
    positional, options = read_words(words, {**FLAGS, "output": str, "skip_bad_images": bool})
    if len(positional) < 2:
        raise BadInput("hftune gradcam needs a model and pictures: hftune gradcam MODEL PICTURE ...")
    name, *sources = positional
    target = _target(name, options)
    saved = open_model(name, options)
    import torch

    from hftune.gallery import class_names, draw_overlays, drawable_or
    from hftune.gradcam import as_seen, heatmap
    from hftune.inputs import first_pictures

    if saved.task != "image-classification":
        raise BadInput(f"{name} classifies texts; heat maps are drawn of pictures")
    skip_bad = options.get("skip_bad_images", False)
    found, count = first_pictures(sources, MOST, skip_bad=skip_bad, background=saved.background)
    for line in found.warnings:
        print(f"warning: {line}", file=sys.stderr)
    model = saved.model
    labels = class_names(saved.labels)
    drawn, heats, titles = [], [], []
    for row, path in enumerate(found.names):
        picture = found.pictures[row]
        pixels = saved.processor(images=picture, return_tensors="pt")["pixel_values"].to(model.device)
        with torch.inference_mode():
            probabilities = model(pixel_values=pixels).logits[0].softmax(-1)
        label = int(probabilities.argmax())
        drawn.append(as_seen(saved.processor, pixels).round().astype(np.uint8))
        heats.append(heatmap(model, pixels, label))
        name = drawable_or(Path(path).name, f"image {row + 1}")
        titles.append(f"{name}: {labels[label]} {100 * float(probabilities[label]):.0f}%")
    draw_overlays(drawn, heats, titles, target)
    rest = f" (the first {MOST} of {count:,} pictures)" if count > MOST else ""
    print(f"look at {target}{rest}")


def _target(name: str, options: dict[str, Any]) -> Path:
    """Returns the picture to write, which can be written."""
    target = output_file(options)
    if target is None:
        target = Path(name if Path(name).is_dir() else "") / "gradcam.png"
        check_writable(target, f"{target} (another: --output FILE)")
    elif target.suffix.lower() not in FORMATS:
        raise BadInput(f"--output {options['output']}: a picture's name must end with {', '.join(FORMATS)}")
    return target
