"""The door of every recipe: from the command line to an exit code.

Nothing heavy is imported before the flags are understood and the Hub was tried.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType, TracebackType

from hftune.console import print_any_text
from hftune.errors import HftuneError, StoppedBySignal
from hftune.recipe import Recipe
from hftune.runtime.environment import prepare_environment
from hftune.runtime.exit import explain, is_main, leave_note, tell
from hftune.runtime.offline import ensure_reachable, tell_libraries
from hftune.runtime.signals import Stop
from hftune.settings.base import field_types
from hftune.settings.parser import parse


def launch(recipe: Recipe, argv: Sequence[str] | None = None) -> dict[str, float]:
    """Runs a recipe: from a program as often as it likes, or as a command line's own.

    Each launch stands alone: it leaves variables, handlers, loggers and random numbers of the process as
    they were. How it ended is also in `exit.json` of the run directory, because `accelerate launch` and
    `torchrun` turn every exit code into 1.

    Args:
        recipe: What to run; its settings are the defaults of the flags.
        argv: Flags. If None, those of the process where the caller is the script that was started with
            them, as in `python FILE.py --max_steps 2`; none in a notebook or from another module.

    Returns:
        The content of `all_results.json`.

    Raises:
        HftuneError: Its `exit_code` is 2 for bad input, 3 for a loss that is not finite, 4 for no disk or
            memory, 5 for a push that failed, 6 where another process of the run failed. One `error:` line
            has said what is wrong; where nobody catches it, the process ends with that code.
        SystemExit: With code 130 or 143 after a signal, so that Ctrl-C ends a loop over launches too; with
            code 0 after `--help`.
    """
    print_any_text()
    run_dir = Path("runs") / recipe.name
    code, reason = 1, "a bug: an exception that hftune does not explain"
    flags = own_flags(recipe, sys._getframe(1)) if argv is None else list(argv)
    try:
        with Stop() as stop, kept_environment():
            settings = parse(recipe.settings, flags, prog=recipe.name, description=recipe.description)
            run_dir = Path(settings.output_dir or run_dir)
            prepare_environment()
            notice = ensure_reachable(
                settings.model_name_or_path,
                settings.dataset_name,
                teacher=settings.teacher,
                push=settings.push_to_hub,
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
        if isinstance(explained, StoppedBySignal):
            raise SystemExit(code) from None
        end_with_exit_codes()
        explained.printed = True
        raise explained from None
    except SystemExit as ending:  # --help and --version
        code = ending.code if isinstance(ending.code, int) else 1
        run_dir = Path(os.devnull)
        raise
    finally:
        leave_note(run_dir, code, reason)


def own_flags(recipe: Recipe, caller: FrameType) -> list[str]:
    """Returns the flags of the process if the caller is the script that was started with them, else none.

    Args:
        recipe: What is launched; flags of its settings that are not read are named on stderr.
        caller: The frame that calls `launch`.
    """
    scope = caller.f_globals
    started = scope.get("__name__") == "__main__" and "__file__" in scope
    if started and Path(scope["__file__"]).name == Path(sys.argv[0]).name:
        return sys.argv[1:]
    words = [word.partition("=")[0] for word in sys.argv[1:] if word.startswith("--")]
    known = field_types(type(recipe.settings))
    if unread := [word for word in words if word[2:].replace("-", "_") in known]:
        shown = ", ".join(unread[:5])
        print(
            f"note: {scope.get('__name__')} calls launch, so the command line's {shown} are not read; "
            "launch(recipe, sys.argv[1:]) reads them",
            file=sys.stderr,
        )
    return []


@contextlib.contextmanager
def kept_environment() -> Iterator[None]:
    """Puts the process's variables back in the end, with what the libraries took from them."""
    before = dict(os.environ)
    tell_libraries()  # they may have been imported before the user set or unset a variable
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
        tell_libraries()


def end_with_exit_codes() -> None:
    """Lets an error that nobody catches end the process with its exit code, and without a traceback."""
    before = sys.excepthook
    if getattr(before, "of_hftune", False):
        return

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, HftuneError) and error.printed:
            raise SystemExit(error.exit_code)
        before(kind, error, trace)

    hook.of_hftune = True  # type: ignore[attr-defined]
    sys.excepthook = hook
