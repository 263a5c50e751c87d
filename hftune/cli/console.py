"""How a command shows its pages."""

from typing import Any, NoReturn

from rich.console import Console


class Screen(Console):
    """Prints tables and lines as they are: no markup is read in them, nothing is coloured by its form."""

    def __init__(self, **options: Any):
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def on_broken_pipe(self) -> NoReturn:
        """Leaves it to `hftune.cli.main`, as for any other print; rich itself would exit with code 1."""
        raise BrokenPipeError
