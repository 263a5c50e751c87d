"""Reads a folder that holds one folder of images per class, and says what lies in a folder of images."""

import difflib
import os
import re
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from hftune.data.files import IMAGE_SUFFIXES, list_files, list_folders
from hftune.data.image.decode import NOT_READ
from hftune.data.tables.read import Table
from hftune.errors import BadInput, listed, printable

_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


class Files(NamedTuple):
    """The files of a folder, sorted by what their endings say.

    Args:
        images: Of formats that are read.
        not_read: Images of formats that are not.
        others: All others.
    """

    images: list[str]
    not_read: list[str]
    others: list[str]


def sort_files(paths: list[str]) -> Files:
    """Sorts files by their endings, in any case; their order is kept."""
    found = Files([], [], [])
    for path in paths:
        ending = os.path.splitext(path)[1].lower()
        kind = (
            found.images
            if ending in IMAGE_SUFFIXES
            else found.not_read
            if ending in NOT_READ
            else found.others
        )
        kind.append(path)
    return found


def images_below(name: str) -> tuple[list[str], list[str]]:
    """Lists the images of a folder whose subfolders mean nothing, such as one to classify.

    Args:
        name: The folder.

    Returns:
        Paths that begin with the folder, and warnings about files that are left out.

    Raises:
        BadInput: There are none, or see `list_files`.
    """
    found = sort_files(list_files(name))
    warnings = _left_out(name, found.not_read, "file", "of a format that is not read")
    warnings += _left_out(name, found.others, "file", "no images by their extensions")
    if not found.images:
        reason = f": {warnings[0].removeprefix(f'{name}: ')}" if warnings else ""
        raise BadInput(f"{name}: a folder without images ({listed(IMAGE_SUFFIXES)}){reason}")
    return [os.path.join(name, path) for path in found.images], warnings


def find_image_files(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Turns folders of images, and "-", into the files that are meant.

    Args:
        words: Images, folders and lists of images, or "-" for paths on the lines of standard input.

    Returns:
        Images and lists of images in their order, and warnings about files that are left out.

    Raises:
        BadInput: There is no such file, or a folder holds no image.
    """
    found: list[str] = []
    warnings: list[str] = []
    for word in [line for given in words for line in (_read_paths() if given == "-" else [given])]:
        if not (word.strip() and os.path.exists(word)):
            raise _no_image(word)
        files, told = images_below(word) if os.path.isdir(word) else ([word], [])
        found += files
        warnings += told
    return found, warnings


def _no_image(word: str) -> BadInput:
    if re.match("https?://", word):
        return BadInput(f"{printable(word)} is an address, not a file; download it and pass the file")
    advice = "pass images, folders of images, or lists of them (.csv, .parquet); - reads paths from stdin"
    return BadInput(f"{printable(word)} does not exist; {advice}")


def _read_paths() -> list[str]:
    """Returns the paths on the lines of standard input, as `ls` and `find` write them."""
    lines = os.fsdecode(sys.stdin.buffer.read() if sys.stdin else b"").splitlines()
    if not any(line.strip() for line in lines):
        raise BadInput("standard input is empty; write one path of an image a line")
    return [line for line in lines if line.strip()]


def read_class_folders(name: str, *, skip_bad: bool = False) -> tuple[Table, list[str]]:
    """Lists the images of a folder with one folder per class.

    Folders within a class folder belong to the class. See `list_files` for links and hidden files.

    Args:
        name: The folder as the user wrote it; `~` is the home folder.
        skip_bad: Leave out images of a format that is not read, with a warning.

    Returns:
        The table, ordered by class and path on every file system, with the columns `image` (a list of
        paths) and `label` (class names), and warnings about what is left out: other files, classes
        without an image. Whether the images can be read is not known yet.

    Raises:
        BadInput: There is no such folder, it is not made of class folders, or holds images of a format
            that is not read.
    """
    root = os.path.expanduser(name)
    check_folder(name)
    labels = list_folders(name)
    files = list_files(name)
    top = sort_files([path for path in files if os.sep not in path])
    below = sort_files([path for path in files if os.sep in path])
    images = below.images
    _check_classes(name, top, labels, images, [] if skip_bad else below.not_read)
    table = Table(
        name,
        {
            "image": [os.path.join(root, path) for path in images],
            "label": pa.chunked_array([pa.array([path.split(os.sep)[0] for path in images], pa.string())]),
        },
        places=[_shown(name, path) for path in images],
    )
    empty = sorted(set(labels) - {path.split(os.sep)[0] for path in images})
    warnings = _left_out(name, empty, "class folder", "without images")
    warnings += _left_out(name, below.not_read, "file", "of a format that is not read")
    strays = sorted([*top.images, *top.not_read])
    warnings += _left_out(name, strays, "file", "in no class folder")
    warnings += _left_out(name, [*top.others, *below.others], "file", "no images by their extensions")
    return table, warnings


def check_folder(name: str) -> None:
    """Raises `BadInput` unless there is such a folder; says what is near, or what is there instead."""
    root = os.path.expanduser(name)
    if os.path.isdir(root):
        return
    if os.path.lexists(root):
        unpack = "; unpack it first" if root.lower().endswith(_ARCHIVES) else ""
        raise BadInput(f"{name} is not a folder; pass a folder with one folder of images per class{unpack}")
    path = Path(root)
    neighbours = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, neighbours, n=1)
    suggestion = f"; did you mean {_shown(os.path.dirname(name), near[0])}?" if near else ""
    raise BadInput(f"{name}: no such folder{suggestion}")


def _shown(name: str, path: str) -> str:
    return printable(os.path.join(name, path))


def _check_classes(name: str, top: Files, labels: list[str], images: list[str], not_read: list[str]) -> None:
    """Raises BadInput where the folder is not one of class folders with images."""
    wanted = "pass a folder with one folder of images per class"
    loose = [*top.images, *top.not_read]
    if not labels and loose:
        raise BadInput(
            f"{name} holds images ({_shown('', loose[0])}, ...) but no folders, so they have no "
            "classes; put them into one folder per class"
        )
    if not labels:
        raise BadInput(f"{name} is empty; {wanted}" if not top.others else f"{name} has no folders; {wanted}")
    if not_read:
        first, *more = (_shown(name, path) for path in not_read)
        ending = os.path.splitext(not_read[0])[1].lower()
        raise BadInput(
            f"{first}: images of the format {ending} are not read; convert it to PNG, or leave such "
            "images out with --skip_bad_images",
            more,
        )
    if not images:
        shown = ", ".join(_shown(name, label) for label in labels[:3])
        raise BadInput(f"{name} has folders ({shown}) but no images in them; {wanted}")
    _refuse_class_names(name, labels)


def _refuse_class_names(name: str, classes: list[str]) -> None:
    seen: dict[str, str] = {}
    for label in classes:
        if re.search("[\ud800-\udfff]", label):
            raise BadInput(f"{_shown(name, label)}: the class's name is not UTF-8; rename the folder")
        plain = " ".join(unicodedata.normalize("NFC", label).split()).casefold()
        first = seen.setdefault(plain, label)
        if first != label:
            raise BadInput(
                f"{_shown(name, first)} and {_shown(name, label)} are two classes that differ only by case, "
                "blanks or the coding of an accent; merge or rename them"
            )


def _left_out(name: str, paths: list[str], noun: str, reason: str) -> list[str]:
    if not paths:
        return []
    number = f"{len(paths):,} {noun}{'s' if len(paths) > 1 else ''}"
    return [f"{name}: {number} left out, {reason} (the first: {_shown(name, paths[0])})"]
