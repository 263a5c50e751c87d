"""Draws where a trained image model looks: each picture beside a heat map of its predicted class (Grad-CAM).

    hftune gradcam runs/hotdog lunch.jpg dinner.jpg
    hftune gradcam runs/hotdog photos --output heat.png

MODEL is a run directory, a folder or a Hub id; the pictures are files, or folders of files of which the
first 12 are drawn. The result is gradcam.png in the model's folder, or the file of --output.
"""

from pathlib import Path
from typing import Any

import numpy as np

from hftune.cli.words import read_words
from hftune.data.folders import SUFFIXES
from hftune.data.pictures import BadPicture, decode
from hftune.errors import BadInput
from hftune.offline import ensure_reachable
from hftune.process import prepare_environment

MOST = 12  # pictures on one page


def run(words: list[str]) -> None:
    """Draws the heat maps.

    Args:
        words: The model, pictures, and `--output FILE`, `--trust_remote_code`.

    Raises:
        BadInput: The model or a picture cannot be read, or the model has no map of places.
    """
    positional, options = read_words(words, {"output": str, "trust_remote_code": bool})
    if len(positional) < 2:
        raise BadInput("hftune gradcam needs a model and pictures: hftune gradcam MODEL PICTURE ...")
    name, *sources = positional
    pictures = [(path, _read(path)) for path in _files(sources)]
    prepare_environment()
    ensure_reachable(name, None, trains=False)
    import torch

    from hftune.gallery import draw_overlays
    from hftune.gradcam import heatmap
    from hftune.saved import load_saved

    saved = load_saved(name, trust_remote_code=options.get("trust_remote_code", False))
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
    folder = Path(name) if Path(name).is_dir() else Path()
    target = Path(options.get("output") or folder / "gradcam.png")
    draw_overlays(drawn, heats, titles, target)
    print(f"look at {target}")


def _files(sources: list[str]) -> list[Path]:
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            inside = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
            if not inside:
                raise BadInput(f"{source}: a folder without pictures")
            found += inside
        else:
            found.append(source)
    return found[:MOST]


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
