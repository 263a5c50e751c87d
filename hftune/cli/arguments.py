"""Parses a command's arguments, and checks the file that it is to write."""

import contextlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from hftune.errors import BadInput
from hftune.settings.parser import read_flags
from hftune.storage.files import can_write_in
from hftune.storage.model_files import AT_THE_END

RUN_FILES = (*AT_THE_END, "run.json", "exit.json", "log.jsonl")


def parse_args(argv: list[str], flags: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Returns the arguments before the first flag and behind a lone `--`, and the flags by name.

    Args:
        argv: What stands behind the command's name.
        flags: The type of each flag that the command knows.

    Raises:
        BadInput: A flag is unknown, repeated, without a value or mistyped, or stands before what the
            command works on.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    argv, behind = argv[:end], argv[end + 1 :]
    first = next((place for place, word in enumerate(argv) if word.startswith("--")), len(argv))
    given = argv[first:]
    try:
        return argv[:first] + behind, read_flags(given, flags)
    except BadInput as error:
        if any(word.startswith("--") and " " in word.partition("=")[0] for word in given):
            raise BadInput(
                f"{error.message}; a text that begins with dashes stands behind a lone --"
            ) from None
        # `--top_k 1 RUN` leaves a word over, `--bf16 RUN` makes it a value: neither message would help.
        if first == 0 and any(not word.startswith("--") for word in given):
            raise BadInput(f"{error.message} (what a command works on stands before its flags)") from None
        raise


def output_file(
    options: dict[str, Any], suffixes: Collection[str], reads: Iterable[str | None] = ()
) -> Path | None:
    """Returns the file of `--output`, None without one. A file that is there is replaced.

    Args:
        options: The flags by name.
        suffixes: What its name may end in, which says what is written.
        reads: Files and folders that the command reads, the model among them.

    Raises:
        BadInput: It could not be written, ends otherwise, is read or lies in a folder that is read and not a
            run's, or is a file of a run or a saved model; said before anything is computed.
    """
    if "output" not in options:
        return None
    said = f"--output {options['output']}"
    path = Path(os.path.expanduser(options["output"]))
    check_writable(path, said)
    for read in filter(None, reads):
        with contextlib.suppress(OSError):  # a text may be too long for a path
            if path.exists() and os.path.samefile(path, os.path.expanduser(read)):
                raise BadInput(f"{said} is what is read; pass another file")
    of_a_model = any((path.parent / name).is_file() for name in ("run.json", "config.json"))
    if of_a_model and any(path.match(name) for name in RUN_FILES):
        raise BadInput(f"{said} has the name of a file of the run or model there; pass another file")
    if path.suffix.lower() not in suffixes:
        raise BadInput(f"{said}: its name must end in one of {', '.join(suffixes)}")
    return path


def refuse_to_replace(path: Path, said: str) -> None:
    """Raises `BadInput` if an image of a name that nobody chose is there, and hftune did not draw it."""
    if path.is_file():
        with path.open("rb") as file:
            if b"Matplotlib" not in file.read(1024):  # which signs what it draws
                raise BadInput(f"{said} is there, and not of hftune: move it, or choose another place")


def check_writable(path: Path, said: str) -> None:
    """Looks whether a file can be put at a path, or can take the place of the one that is there.

    Args:
        path: The file.
        said: What the user calls it, for the error.

    Raises:
        BadInput: It cannot.
    """
    if path.is_dir():
        raise BadInput(f"{said} is a folder; pass a file")
    if path.exists() and not path.is_file():  # /dev/stdout: a file would be put in its place
        raise BadInput(f"{said} is no ordinary file; pass another, or write to it with > or |")
    if not path.parent.is_dir():
        raise BadInput(f"{said}: there is no folder {path.parent}")
    if not can_write_in(path.parent):
        raise BadInput(f"{said}: no permission to write there")
