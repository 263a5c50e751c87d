"""Draws where a trained image model looks: each picture beside a heat map of its predicted class (Grad-CAM).

    hftune gradcam runs/hotdog lunch.jpg dinner.jpg
    hftune gradcam runs/hotdog photos --output heat.png

MODEL is a run directory, a folder or a Hub id; the pictures are files, or folders of files of which the
first 12 are drawn. The result is gradcam.png in the model's folder, or the file of --output.

--output FILE         another file: .png, .jpg, .pdf, .svg or .webp
--revision R          branch, tag or commit of a model on the Hub
--trust_remote_code   run code that comes with the model
"""

from pathlib import Path
from typing import Any

import numpy as np

from hftune.cli.open import FLAGS, open_model
from hftune.cli.words import check_writable, output_file, read_words
from hftune.data.folders import SUFFIXES
from hftune.data.pictures import BadPicture, decode
from hftune.errors import BadInput

KINDS = {**FLAGS, "output": str}
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
    target = _target(name, sources, options)
    files = _files(sources)
    pictures = [(path, _read(path)) for path in files[:MOST]]
    saved = open_model(name, options)
    import torch

    from hftune.gallery import draw_overlays
    from hftune.gradcam import heatmap

    if saved.task != "image-classification":
        raise BadInput(f"{name} classifies texts; heat maps are drawn of pictures")
    model = saved.model
    drawn, heats, titles = [], [], []
    for path, picture in pictures:
        pixels = saved.processor(images=picture, return_tensors="pt")["pixel_values"].to(model.device)
        with torch.inference_mode():
            probabilities = model(pixel_values=pixels).logits[0].softmax(-1)
        label = int(probabilities.argmax())
        drawn.append(_as_seen(pixels))
        heats.append(heatmap(model, pixels, label))
        titles.append(f"{path.name}: {saved.labels[label]} {100 * float(probabilities[label]):.0f}%")
    draw_overlays(drawn, heats, titles, target)
    rest = f" (the first {MOST} of {len(files):,} pictures)" if len(files) > MOST else ""
    print(f"look at {target}{rest}")


def _target(name: str, sources: list[str], options: dict[str, Any]) -> Path:
    """Returns the picture to write, which can be written."""
    target = output_file(options, FORMATS, sources)
    if target is None:
        target = Path(name if Path(name).is_dir() else "") / "gradcam.png"
        check_writable(target, f"{target} (another: --output FILE)")
    return target


def _files(sources: list[str]) -> list[Path]:
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(source.rglob("*"))
            shown = [path for path in inside if path.suffix.lower() in SUFFIXES and not _hidden(path, source)]
            if not shown:
                raise BadInput(f"{source}: a folder without pictures")
            found += shown
        else:
            found.append(source)
    return found


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _read(path: Path) -> np.ndarray:
    try:
        return decode(str(path))
    except BadPicture as reason:
        raise BadInput(f"{path} {reason}") from None


def _as_seen(pixels: Any) -> np.ndarray:
    """Returns the part of a picture that the model saw, uint8 (H, W, 3), from normalised (1, 3, H, W)."""
    seen = pixels[0].permute(1, 2, 0).float().cpu().numpy()
    low, high = seen.min(), seen.max()
    return (255 * (seen - low) / max(high - low, 1e-6)).astype(np.uint8)
