"""Copies a recipe out, to be changed: the copy runs at once.

    hftune cp imdb my_imdb.py
    accelerate launch my_imdb.py
    uv run my_imdb.py

Its first line says where it came from; the comment below it names what it needs (PEP 723), so that `uv run`
takes the file alone.
"""

import os
from importlib.metadata import version
from pathlib import Path

from hftune.cli.arguments import check_writable
from hftune.cli.recipes import known_recipes, recipe_file
from hftune.errors import BadInput


def main(argv: list[str]) -> None:
    """Writes the copy.

    Raises:
        BadInput: No such recipe, no place named, or a file is there already.
    """
    if len(argv) != 2:
        raise BadInput("hftune cp needs a recipe and a file: hftune cp imdb my_imdb.py")
    name, target = argv[0], Path(os.path.expanduser(argv[1]))
    source = recipe_file(name)
    if target.is_dir():
        target /= source.name
    if target.suffix != ".py":
        raise BadInput(f"{target}: a recipe is a Python file, so its name must end with .py")
    if target.exists():
        raise BadInput(f"{target} exists; choose another name, or remove it first")
    check_writable(target, str(target))
    text = source.read_text(encoding="utf-8")
    if name in known_recipes():
        text = text.replace(f"recipes/{source.name}", target.name)
        text = f"# From recipes/{source.name} of hftune {version('hftune')}.\n{text}"
    target.write_text(text, encoding="utf-8")
    print(f"{target}: change what you like, then: accelerate launch {target}")
