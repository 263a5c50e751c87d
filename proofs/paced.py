"""imdb_textcnn with a pause after each step, PACE seconds long, so that something can happen meanwhile."""

import os
import time
from typing import Any

from hftune import launch
from hftune.recipes import imdb_textcnn


def pause(steps: int, model: Any) -> None:
    """Waits; what is trained does not depend on it."""
    time.sleep(float(os.environ.get("PACE", "0")))


recipe = imdb_textcnn.recipe.replace(name="paced", after_step=pause)

if __name__ == "__main__":
    launch(recipe)
