"""From a recipe's name or file to the recipe, with the flags of the command line laid over it."""

import difflib
import importlib.util
import os
import pkgutil
import sys
from pathlib import Path
from typing import Any

import hftune.recipes
from hftune.errors import BadInput
from hftune.recipe import Recipe
from hftune.runtime.environment import prepare_environment
from hftune.runtime.offline import ensure_reachable
from hftune.settings.base import Settings
from hftune.settings.parser import parse


def known_recipes() -> list[str]:
    """Returns the names of hftune's own recipes."""
    return [module.name for module in pkgutil.iter_modules(hftune.recipes.__path__)]


def recipe_file(name: str) -> Path:
    """Returns the file of a recipe.

    Args:
        name: "imdb", or a path that ends in .py.

    Raises:
        BadInput: There is no such recipe or file.
    """
    known = known_recipes()
    if name in known:
        return Path(hftune.recipes.__path__[0], f"{name}.py")
    if not name.endswith(".py"):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}, or pass a file.py"
        raise BadInput(f"{name}: no such recipe{hint}")
    path = Path(os.path.expanduser(name))
    if not path.is_file():
        raise BadInput(f"{name}: no such file")
    return path


def find_recipe(name: str) -> Recipe:
    """Imports a recipe by its name among hftune's own, or by its file.

    Args:
        name: "imdb", or a path that ends in .py.

    Raises:
        BadInput: There is no such recipe, or the file holds none.
    """
    path = recipe_file(name)
    if name in known_recipes():
        module: Any = importlib.import_module(f"hftune.recipes.{name}")
    else:
        # What lies beside it can be imported, as by `python FILE.py`.
        sys.path.insert(0, str(path.resolve().parent))
        spec: Any = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # where its dataclass of settings looks for its own types
        spec.loader.exec_module(module)
    recipe = getattr(module, "recipe", None)
    if not isinstance(recipe, Recipe):
        raise BadInput(f"{name} holds no recipe: it must have a line `recipe = hftune.Recipe(...)`")
    return recipe


def configure(recipe: Recipe, flags: list[str]) -> Settings:
    """Lays flags over a recipe's settings and looks whether what they name can be had.

    Raises:
        BadInput: A flag is wrong, or the Hub cannot be reached and is needed.
    """
    settings = parse(recipe.settings, flags, prog=recipe.name, description=recipe.description)
    prepare_environment()
    notice = ensure_reachable(settings.model_name_or_path, settings.dataset_name)
    if notice:
        print(notice, file=sys.stderr)
    return settings
