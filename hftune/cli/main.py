"""The `hftune` command: runs the file that is named by the first argument."""

import errno
import re
import signal
import sys
from collections.abc import Callable, Collection
from importlib import import_module
from importlib.metadata import version

from hftune.console import close_output, print_any_text
from hftune.errors import BadInput, HftuneError, StoppedBySignal
from hftune.runtime.exit import explain
from hftune.settings.types import did_you_mean

COMMANDS = {  # name -> one line of help; `main` of hftune/cli/NAME.py does it
    "ls": "list the recipes",
    "cp": "copy a recipe out, to be changed",
    "validate": "try a recipe in a minute: data, two steps, saving, the Hub's permission",
    "run": "launch a recipe, on all GPUs, with its true exit code",
    "verify": "tell the state of a run directory, checkpoint by checkpoint",
    "vectors": "learn word vectors from your own texts, for --embeddings",
    "predict": "classify texts or images with a trained model",
    "eval": "score a trained model on a data set, with intervals",
    "compare": "put finished runs side by side, with the difference on the same rows",
    "average": "average the weights of several trained models into one",
    "export": "write a run as ONNX, compared with PyTorch on real rows",
    "demo": "open a page in the browser to try a model by hand",
    "push": "push a finished run to the Hub",
    "augment": "draw what a recipe's training images look like before training on them",
    "gradcam": "draw where a trained image model looks",
}
FLAG = re.compile(r"(?<![\w-])--(\w+)")
BAD_PATH = (errno.ENAMETOOLONG, errno.EACCES)
USAGE = """usage: hftune COMMAND ...

{}

hftune COMMAND --help says more; hftune --version says which hftune this is."""


def main() -> None:
    """Runs a command and exits as the contract says."""
    print_any_text()
    try:
        choose(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        stop(StoppedBySignal(signal.SIGINT, "the same command starts again"))
    except BrokenPipeError:
        close_output()
    except Exception as error:
        explained = explain(error) or of_a_path(error)
        if explained is None:
            raise
        explained.message = without_foreign_advice(explained.message, flags_of(sys.argv[1:]))
        stop(explained)


def choose(argv: list[str]) -> None:
    """Runs the command that the first argument names.

    Raises:
        BadInput: There is no such command.
    """
    if not argv or argv[0] in ("--help", "-h"):
        print(USAGE.format("\n".join(f"  {name:<12}{text}" for name, text in COMMANDS.items())))
        return
    if argv[0] == "--version":
        print(f"hftune {version('hftune')}")
        return
    name, *rest = argv
    if name not in COMMANDS:
        raise BadInput(f"hftune {name}: no such command{did_you_mean(name, COMMANDS)}")
    module = import_module(f"hftune.cli.{name}")
    asked = {"--help", "-h"} & set(rest[: rest.index("--")] if "--" in rest else rest)
    of_the_recipe = bool(asked) and name in ("run", "augment", "validate") and rest[0] not in asked
    if asked and not of_the_recipe:  # a recipe has its own --help
        print(str(module.__doc__).strip())
        return
    command: Callable[[list[str]], None] = module.main
    command(rest)


def flags_of(argv: list[str]) -> Collection[str]:
    """Returns the flags of the command that ran; none of one whose flags are a recipe's settings."""
    module = sys.modules.get(f"hftune.cli.{argv[0]}") if argv else None
    return getattr(module, "FLAGS", ())


def without_foreign_advice(message: str, flags: Collection[str]) -> str:
    """Leaves out of a message the advice, behind a semicolon, to use flags that the command has not.

    Data and models are read by the same code in training and in use, which has other flags.

    Args:
        message: What is wrong, and behind semicolons what to do.
        flags: The names of the command's flags; none: the message stays as it is.
    """
    first, *advice = message.split("; ")
    if flags:
        advice = [part for part in advice if all(_is_flag(name, flags) for name in FLAG.findall(part))]
    return "; ".join([first, *advice])


def _is_flag(name: str, flags: Collection[str]) -> bool:
    return name in flags or name.removeprefix("no_") in flags or name in ("help", "name")


def of_a_path(error: Exception) -> BadInput | None:
    """Returns what is wrong with a path of the command line, where only the system notices it; else None."""
    if isinstance(error, OSError) and error.errno in BAD_PATH and error.filename is not None:
        return BadInput(f"{error.filename}: {error.strerror}")
    return None


def stop(error: HftuneError) -> None:
    """Prints `error: ...` and exits with the error's code."""
    print(f"error: {error}", file=sys.stderr, flush=True)
    raise SystemExit(error.exit_code)
