"""Draws what a recipe's training images look like: originals above, five random views of each below.

    hftune augment hotdog
    hftune augment recipes/hotdog.py --augmentation strong --seed 1

NAME is one of hftune's recipes or a file; the flags are the recipe's own. The image is
runs/NAME/augment.png, or augment.png in --output_dir.
"""

from pathlib import Path

import numpy as np

from hftune.cli.arguments import refuse_to_replace
from hftune.cli.recipes import configure, find_recipe
from hftune.data.dataset import EpochIndex
from hftune.errors import BadInput
from hftune.storage.files import can_write_in

ORIGINALS = 8
VIEWS = 5


def main(argv: list[str]) -> None:
    """Draws the grid.

    Args:
        argv: The recipe's name and flags.

    Raises:
        BadInput: No such recipe, or its rows are no images.
    """
    if not argv:
        raise BadInput("hftune augment: which recipe? hftune augment NAME [flags]")
    recipe = find_recipe(argv[0])
    settings = configure(recipe, argv[1:])
    path = _drawing(Path(settings.output_dir or Path("runs") / recipe.name))
    from hftune.data.image.rows import ImageRows
    from hftune.report.plots.images import draw_views

    data = recipe.load_data(settings)
    rows = data.train
    if not isinstance(rows, ImageRows):
        raise BadInput(f"{argv[0]}: its training rows are no images, so there is nothing to draw")
    chosen = one_of_each_class(data.task.strata(rows.targets), ORIGINALS)
    views = [
        [rows.view(rows.images[row], EpochIndex.of(row, epoch)) for epoch in range(VIEWS)] for row in chosen
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_views(
        [rows.images[row] for row in chosen],
        [[np.asarray(view) for view in row] for row in views],
        *data.task.shown_targets(rows.targets[chosen]),
        path,
        f"{recipe.name}: training images and what epochs 1 to {VIEWS} make of them",
    )
    print(f"look at {path}")


def _drawing(folder: Path) -> Path:
    """Returns the image to write; its folder is there, or can be made."""
    if not can_write_in(folder):
        raise BadInput(f"--output_dir {folder} cannot be written; choose another")
    refuse_to_replace(folder / "augment.png", f"{folder / 'augment.png'} (another folder: --output_dir)")
    return folder / "augment.png"


def one_of_each_class(labels: np.ndarray, most: int) -> list[int]:
    """Returns rows class by class: the first of each, then the second, until there are enough."""
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        rank[of_class] = np.arange(len(of_class))
    return np.lexsort((labels, rank))[:most].tolist()
