"""Draws where a trained image model looks: each image beside a heat map of its predicted class (Grad-CAM).

    hftune gradcam runs/hotdog lunch.jpg dinner.jpg
    hftune gradcam runs/hotdog photos --output heat.png

MODEL is a run directory, a folder or a Hub id; the images are files, folders or lists of them, or "-" for
paths on the lines of standard input; the first 12 are drawn. The result is gradcam.png in the
model's folder, or the file of --output.

--output FILE         another file: .png, .jpg, .pdf, .svg or .webp
--image_dir FOLDER    what the paths in a list start from, else the list's own folder
--skip_bad_images     leave out images that cannot be read, and say how many
--revision R          branch, tag or commit of a model on the Hub
--trust_remote_code   run code that comes with the model
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from hftune.cli.arguments import check_writable, output_file, parse_args, refuse_to_replace
from hftune.cli.models import MODEL_FLAGS, open_model
from hftune.data.image.folders import find_image_files
from hftune.errors import BadInput

FLAGS = {**MODEL_FLAGS, "output": str, "image_dir": str, "skip_bad_images": bool}
MOST = 12  # images on one page
FORMATS = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")


def main(argv: list[str]) -> None:
    """Draws the heat maps.

    Args:
        argv: The model, images, and the flags above.

    Raises:
        BadInput: The model or an image cannot be read, or the model has no map of places.
    """
    positional, options = parse_args(argv, FLAGS)
    if len(positional) < 2:
        raise BadInput("hftune gradcam needs a model and images: hftune gradcam MODEL PICTURE ...")
    name, *sources = positional
    target = _target(positional, options)
    files, warnings = find_image_files(sources)
    loaded = open_model(name, options)
    from hftune.inference.gradcam import explain_class
    from hftune.inference.predict import predict_rows
    from hftune.report.plots.images import draw_overlays
    from hftune.report.plots.names import drawable_or

    if loaded.inputs.modality != "image":
        raise BadInput(f"{name} classifies {loaded.inputs.plural}; heat maps are drawn of images")
    contents = loaded.inputs.read(files[:MOST], options)
    for line in [*warnings, *contents.warnings]:
        print(f"warning: {line}", file=sys.stderr)
    images = [contents.values[row] for row in range(min(MOST, len(contents.values)))]
    predictions = predict_rows(loaded, loaded.inputs.rows(images))
    drawn, heats, titles = [], [], []
    for row, image in enumerate(images):
        label = int(predictions["logits"][row].argmax())
        seen, heat = explain_class(loaded, image, label)
        drawn.append(seen.round().astype(np.uint8))
        heats.append(heat)
        shown = drawable_or(Path(str(contents.names[row] or "")).name, f"image {row + 1}")
        titles.append(f"{shown}: {loaded.task.say(predictions, row)}")
    draw_overlays(drawn, heats, titles, target)
    count = max(len(files), len(contents.names))
    rest = f" (the first {MOST} of {count:,} images)" if count > MOST else ""
    print(f"look at {target}{rest}")


def _target(positional: list[str], options: dict[str, Any]) -> Path:
    """Returns the image to write, which can be written."""
    target = output_file(options, FORMATS, reads=positional)
    if target is None:
        target = Path(positional[0] if Path(positional[0]).is_dir() else "") / "gradcam.png"
        check_writable(target, f"{target} (another: --output FILE)")
        refuse_to_replace(target, f"{target} (another: --output FILE)")
    return target
