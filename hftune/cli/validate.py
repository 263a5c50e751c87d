"""Tries a recipe in about a minute: what could fail hours later fails now, and nothing is kept.

    hftune validate imdb
    hftune validate my_recipe.py --train_file reviews.csv --max_length 256
    hftune validate hotdog --push_to_hub --hub_model_id OWNER/NAME

NAME is one of hftune's recipes or a file; the flags are the recipe's own, as for a run. All data are opened
and checked. Then, in a temporary folder: two steps with the longest rows, in the run's batch size and
precision, and some ordinary ones; an evaluation of a few rows; a checkpoint; scores, card and model; and the
model is loaded again in a process without hftune, which must give equal logits. With --push_to_hub the Hub
is asked for the right to write, which creates the repository. runs/NAME stays as it is.

The table at the end says what is ready, what is not and what to do, and foretells the run's time, its
memory and its place on the disk. Exit code 0: all is ready; 2: something is not.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hftune.cli.recipes import find_recipe
from hftune.errors import BadInput
from hftune.runtime.environment import prepare_environment
from hftune.runtime.offline import ensure_reachable
from hftune.settings.parser import parse

if TYPE_CHECKING:
    from rich.console import Console

    from hftune.dry_run import Check

STATES = {True: ("ready", "green"), False: ("not ready", "bold red"), None: ("not tried", "yellow")}


def main(argv: list[str]) -> None:
    """Makes a dry run and prints what is ready.

    Args:
        argv: The recipe's name and flags.

    Raises:
        BadInput: No such recipe, a wrong flag, the Hub is away and needed, or something is not ready.
    """
    if not argv:
        raise BadInput("hftune validate: which recipe? hftune validate NAME [flags]")
    recipe = find_recipe(argv[0])
    settings = parse(recipe.settings, argv[1:], prog=recipe.name, description=recipe.description)
    prepare_environment()
    notice = ensure_reachable(
        settings.model_name_or_path,
        settings.dataset_name,
        teacher=settings.teacher,
        push=settings.push_to_hub,
    )
    if notice:
        print(notice, file=sys.stderr)
    from hftune.cli.console import Screen
    from hftune.dry_run import dry_run

    console = Screen(soft_wrap=True)
    checks = dry_run(recipe, settings, Path(settings.output_dir or Path("runs") / recipe.name), console)
    show(checks, recipe.name, console)
    if missing := [check.name for check in checks if check.ready is False]:
        raise BadInput(f"{argv[0]} is not ready: {', '.join(missing)}; the table says what to do")


def show(checks: "list[Check]", name: str, console: "Console") -> None:
    """Prints the checks as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{name}, dry run", title_justify="left", title_style="bold", header_style="bold")
    for title in ("check", "state", "what there is, or what to do"):
        table.add_column(title, overflow="fold", no_wrap=title != "what there is, or what to do")
    for check in checks:
        state, style = STATES[check.ready]
        table.add_row(check.name, Text(state, style), check.words)
    console.print()
    console.print(table, soft_wrap=False)
