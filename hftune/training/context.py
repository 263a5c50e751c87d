"""What is known of a run from its start."""

from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from rich.console import Console

from hftune.data.loader import worker_count
from hftune.recipe import Recipe
from hftune.runtime.signals import Stop
from hftune.settings.base import Settings


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run in this process: made once, before the data are read, and handed on.

    Args:
        recipe: What is loaded, built and measured.
        settings: The recipe's settings with the user's changes.
        run_dir: The run's folder.
        accelerator: The devices, the precision, the other processes and the trackers.
        console: Where the run says what it does.
        stop: Receives SIGINT and SIGTERM.
    """

    recipe: Recipe
    settings: Settings
    run_dir: Path
    accelerator: Accelerator
    console: Console
    stop: Stop

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.accelerator.is_main_process

    @property
    def workers(self) -> int:
        """How many processes prepare the batches of this one."""
        accelerator, asked = self.accelerator, self.settings.dataloader_num_workers
        return worker_count(asked, accelerator.device, accelerator.num_processes)
