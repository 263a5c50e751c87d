"""accelerate's entrance to device, precision, processes and trackers; and where log lines go."""

import dataclasses
import logging
from pathlib import Path

import accelerate
import datasets
import transformers
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, GradientAccumulationPlugin
from rich.console import Console

from hftune.errors import BadInput, first_line
from hftune.runtime.device import computes_on_cpu
from hftune.settings.base import Settings
from hftune.training.log import ConsoleHandler


def make_accelerator(settings: Settings, precision: str, run_dir: Path) -> Accelerator:
    """Builds accelerate's entrance to device, precision, processes and trackers.

    Raises:
        BadInput: If a tracker of `--report_to` is unknown or not installed, or accelerate's own variables
            are wrong.
    """
    trackers = check_trackers(settings)
    parallel = DistributedDataParallelKwargs(
        find_unused_parameters=bool(settings.gradual_unfreezing),
        gradient_as_bucket_view=True,  # else each gradient lies in memory twice
    )
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            cpu=computes_on_cpu(),
            # The loop accumulates by itself: of accelerate's own setting it would divide each loss once more.
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            log_with=trackers or None,
            project_dir=str(run_dir),
            kwargs_handlers=[parallel],
        )
    except ValueError as error:  # of its variables, which a configuration file or the user sets
        raise BadInput(f"accelerate's configuration cannot be used: {first_line(error)}") from error
    if trackers:
        plain = {
            name: value if isinstance(value, int | float | str | bool) else str(value)
            for name, value in dataclasses.asdict(settings).items()
        }
        accelerator.init_trackers(run_dir.name, config=plain)
    return accelerator


def check_trackers(settings: Settings) -> list[str]:
    """Returns the names in `--report_to`.

    Raises:
        BadInput: If one is unknown or not installed.
    """
    trackers = [name for name in settings.report_to.replace(" ", "").split(",") if name not in ("", "none")]
    known = [str(member.value) for member in accelerate.utils.LoggerType]
    for name in trackers:
        if name not in known:
            raise BadInput(f"--report_to {name}: no such tracker; accelerate knows {', '.join(known)}")
    installed = {str(member.value) for member in accelerate.tracking.get_available_trackers()}
    for name in trackers:
        if name != "all" and name not in installed:
            raise BadInput(f"--report_to {name}: pip install {name}, it is not there")
    return trackers


def log_to(console: Console) -> None:
    """Sends what hftune logs to the console, and keeps other libraries to their warnings."""
    ours = logging.getLogger("hftune")
    ours.handlers = [ConsoleHandler(console)]
    ours.setLevel(logging.INFO)
    ours.propagate = False
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not console.is_terminal or console.quiet:
        datasets.disable_progress_bars()
