"""Lists hftune's recipes: what each does, on which data, with which model, and how well.

    hftune ls

The accuracy is that of the recipe as it stands, on its own test set, with its 95 % interval.
"""

import re
from dataclasses import asdict

from rich.table import Table

from hftune.cli.find import find_recipe, known_recipes
from hftune.cli.screen import Screen
from hftune.errors import BadInput


def run(words: list[str]) -> None:
    """Prints one line for each recipe.

    Raises:
        BadInput: There are words, which it takes none of.
    """
    if words:
        raise BadInput(f"hftune ls takes nothing besides, but there is {words[0]}")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("recipe", "what it does", "data", "model", "accuracy"):
        table.add_column(title, overflow="fold", no_wrap=title in ("recipe", "accuracy"))
    for name in known_recipes():
        recipe = find_recipe(name)
        settings = asdict(recipe.settings)
        model = settings["model_name_or_path"] or settings["model_type"]
        purpose = recipe.description.partition("\n")[0].rstrip(".")
        table.add_row(name, purpose, settings["dataset_name"], model, result_of(recipe.description))
    Screen().print(table)


def result_of(description: str) -> str:
    """Returns the accuracy and its interval that a recipe's docstring reports, "" where it has none."""
    found = re.search(r"accuracy (0\.\d+(?: \[[^]]+\])?)", description)
    return found[1] if found else ""
