"""The door of every recipe: from the command line to an exit code.

Nothing heavy is imported before the flags are understood and the Hub was tried.
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hftune.ending import is_main, leave_note, tell
from hftune.errors import HftuneError, PeerFailed, ResourceError
from hftune.flags import parse
from hftune.offline import ensure_reachable
from hftune.process import prepare_environment
from hftune.recipe import Recipe
from hftune.rundir import DISK_ERRORS, system_error
from hftune.signals import Stop

PEERS = r"(?i)gloo|NCCL|closed by peer|reset by peer"  # what torch.distributed says when one is gone


def launch(recipe: Recipe, argv: Sequence[str] | None = None) -> dict[str, float]:
    """Runs a recipe with the flags of the command line.

    How it ended is also in `exit.json` of the run directory, because `accelerate launch` and
    `torchrun` turn every exit code into 1.

    Args:
        recipe: What to run; its settings are the defaults of the flags.
        argv: Flags; those of the process if None.

    Returns:
        The content of `all_results.json`.

    Raises:
        SystemExit: With code 2 for bad input, 3 for a loss that is not finite, 4 for no disk or
            memory, 5 for a push that failed, 6 where another process of the run failed, 130 or 143
            after a signal. One `error:` line says what is wrong.
    """
    run_dir = Path("runs") / recipe.name
    code, reason = 1, "a bug: an exception that hftune does not explain"
    try:
        with Stop() as stop:
            flags = sys.argv[1:] if argv is None else list(argv)
            settings = parse(recipe.settings, flags, prog=recipe.name, description=recipe.description)
            run_dir = Path(settings.output_dir or run_dir)
            prepare_environment()
            notice = ensure_reachable(
                settings.model_name_or_path, settings.dataset_name, push=settings.push_to_hub
            )
            if notice and is_main():
                print(notice, file=sys.stderr)
            from hftune.run import run

            results = run(recipe, settings, run_dir, stop)
        code, reason = 0, "done"
        return results
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        code, reason = explained.exit_code, explained.message
        tell(explained)
        raise SystemExit(code) from None
    except SystemExit as ending:  # --help and --version
        code = ending.code if isinstance(ending.code, int) else 1
        run_dir = Path(os.devnull)
        raise
    finally:
        leave_note(run_dir, code, reason)


def explain(error: Exception) -> HftuneError | None:
    """Returns an error that carries an exit code, or None for a bug."""
    if isinstance(error, HftuneError):
        return error
    of_system = system_error(error)
    if of_system and of_system.errno in DISK_ERRORS:
        return ResourceError(f"{of_system.filename or 'the disk'}: {of_system.strerror}")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return ResourceError(
            "out of memory; train with a smaller --per_device_train_batch_size and more "
            "--gradient_accumulation_steps, shorter texts or smaller pictures, or --gradient_checkpointing; "
            "score with a smaller --per_device_eval_batch_size"
        )
    if isinstance(error, RuntimeError) and re.search(PEERS, str(error)):
        return PeerFailed("another process of this run failed or stalled; the same command goes on")
    return None
