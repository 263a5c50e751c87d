"""Draws where a trained image model looks: each picture beside a heat map of its predicted class (Grad-CAM).

    hftune gradcam runs/hotdog lunch.jpg dinner.jpg
    hftune gradcam runs/hotdog photos --output heat.png

MODEL is a run directory, a folder or a Hub id; the pictures are files, folders or lists of them, or "-" for
paths on the lines of standard input; the first 12 are drawn. The result is gradcam.png in the
model's folder, or the file of --output.

--output FILE         another file: .png, .jpg, .pdf, .svg or .webp
--image_dir FOLDER    what the paths in a list start from, else the list's own folder
--skip_bad_images     leave out pictures that cannot be read, and say how many
--revision R          branch, tag or commit of a model on the Hub
--trust_remote_code   run code that comes with the model
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from hftune.cli.arguments import check_writable, output_file, read_words, refuse_to_replace
from hftune.cli.models import FLAGS, open_model
from hftune.data.image.folders import find_image_files
from hftune.errors import BadInput

KINDS = {**FLAGS, "output": str, "image_dir": str, "skip_bad_images": bool}
MOST = 12  # pictures on one page
FORMATS = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")


def run(words: list[str]) -> None:
    """Draws the heat maps.

    Args:
        words: The model, pictures, and the flags above.

    Raises:
        BadInput: The model or a picture cannot be read, or the model has no map of places.
    """
    positional, options = read_words(words, KINDS)
    if len(positional) < 2:
        raise BadInput("hftune gradcam needs a model and pictures: hftune gradcam MODEL PICTURE ...")
    name, *sources = positional
    target = _target(positional, options)
    files, warnings = find_image_files(sources)
    saved = open_model(name, options)
    import torch

    from hftune.inference.gradcam import heatmap
    from hftune.inference.inputs import read_pictures
    from hftune.inference.predict import as_seen, pixels_of
    from hftune.report.plots import class_names, draw_overlays, drawable_or

    if saved.task != "image-classification":
        raise BadInput(f"{name} classifies texts; heat maps are drawn of pictures")
    names, pictures, told = read_pictures(
        files[:MOST],
        image_dir=options.get("image_dir"),
        skip_bad=options.get("skip_bad_images", False),
        background=saved.background,
    )
    for line in [*warnings, *told]:
        print(f"warning: {line}", file=sys.stderr)
    labels = class_names(saved.labels)
    drawn, heats, titles = [], [], []
    for row, path in enumerate(names[:MOST]):
        pixels = pixels_of(saved, pictures[row])
        with torch.inference_mode():
            probabilities = saved.model(pixel_values=pixels).logits[0].softmax(-1)
        label = int(probabilities.argmax())
        drawn.append(as_seen(saved, pixels).round().astype(np.uint8))
        heats.append(heatmap(saved.model, pixels, label))
        shown = drawable_or(Path(path).name, f"image {row + 1}")
        titles.append(f"{shown}: {labels[label]} {100 * float(probabilities[label]):.0f}%")
    draw_overlays(drawn, heats, titles, target)
    count = max(len(files), len(names))
    rest = f" (the first {MOST} of {count:,} pictures)" if count > MOST else ""
    print(f"look at {target}{rest}")


def _target(words: list[str], options: dict[str, Any]) -> Path:
    """Returns the picture to write, which can be written."""
    target = output_file(options, FORMATS, reads=words)
    if target is None:
        target = Path(words[0] if Path(words[0]).is_dir() else "") / "gradcam.png"
        check_writable(target, f"{target} (another: --output FILE)")
        refuse_to_replace(target, f"{target} (another: --output FILE)")
    return target
