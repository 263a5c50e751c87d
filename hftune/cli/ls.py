"""Lists hftune's recipes: on which data, how well, and what each does.

    hftune ls

The result is the first score that a recipe reports of itself. A wider terminal shows more of a line.
"""

import re

from rich.table import Table

from hftune.cli.console import Screen
from hftune.cli.recipes import find_recipe, known_recipes
from hftune.errors import BadInput


def main(argv: list[str]) -> None:
    """Prints one line for each recipe.

    Raises:
        BadInput: There are arguments, of which it takes none.
    """
    if argv:
        raise BadInput(f"hftune ls takes nothing besides, but there is {argv[0]}")
    recipes = {name: find_recipe(name) for name in known_recipes()}
    table = Table(box=None, header_style="bold", pad_edge=False, expand=True)
    for title in ("recipe", "data", "result"):
        table.add_column(title, no_wrap=True)
    table.add_column("what it does", no_wrap=True, overflow="ellipsis", ratio=1)  # gets what the others leave
    for name, recipe in recipes.items():
        purpose = recipe.description.partition("\n")[0].rstrip(".")
        settings = recipe.settings
        data = filter(None, ((settings.dataset_name or "").split("/")[-1], settings.dataset_config_name))
        table.add_row(name, " ".join(data), result_of(recipe.description), purpose)
    Screen().print(table)


def result_of(description: str) -> str:
    """Returns the first score that a recipe's docstring reports, with its name; "" where it has none."""
    found = re.search(r"^Result +(.+? 0\.\d+)", description, re.MULTILINE)
    return found[1] if found else ""
