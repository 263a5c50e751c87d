"""Reads a folder that holds one folder of images per class, and says what lies in a folder of images."""

import difflib
import errno
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from hftune.data.image.decode import NOT_READ, SUFFIXES
from hftune.data.tables.read import Table
from hftune.errors import BadInput, listed, printable

_OF_SYSTEMS = {  # what systems and programs leave behind, besides names that begin with a dot
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r", "__macosx", "__pycache__"),
    *("@eadir", "@tmp", "@__thumb", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "_gsdata_"),
    *("lost+found", "$recycle.bin", "recycler", "system volume information"),
}
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


def list_files(name: str, *, below: bool = True) -> list[str]:
    """Lists the files of a folder and of those below it, in the same order on every file system.

    Links are followed. Hidden files and those that systems leave behind (Thumbs.db, @eaDir) are not
    looked at, at any depth.

    Args:
        name: The folder as the user wrote it; `~` is the home folder.
        below: Look into the folders in it, too.

    Returns:
        Paths from the folder on, ordered name by name.

    Raises:
        BadInput: A folder cannot be read, or a link leads nowhere or in a circle.
    """
    root = os.path.expanduser(name)
    found: list[str] = []
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", ())]  # folders, and what they lie in
    while waiting:
        folder, above = waiting.pop()
        path, shown = os.path.join(root, folder), os.path.join(name, folder) if folder else name
        status = os.stat(path)
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            raise BadInput(f"{printable(shown)} is a link to a folder that it lies in; remove it")
        for entry in _entries(path, shown):
            inside = os.path.join(folder, entry.name)
            if not _is_folder(entry, os.path.join(name, inside)):
                found.append(inside)
            elif below:
                waiting.append((inside, (*above, identity)))
    return sorted(found, key=lambda path: path.split(os.sep))


def list_folders(name: str) -> list[str]:
    """Lists the names of the folders that lie in a folder, in order, as `list_files` sees them."""
    entries = _entries(os.path.expanduser(name), name)
    return [entry.name for entry in entries if _is_folder(entry, os.path.join(name, entry.name))]


def sort_files(paths: list[str]) -> Files:
    """Sorts files by their endings, in any case; their order is kept."""
    found = Files([], [], [])
    for path in paths:
        ending = os.path.splitext(path)[1].lower()
        kind = found.images if ending in SUFFIXES else found.not_read if ending in NOT_READ else found.others
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
    warnings += _left_out(name, found.others, "file", "no pictures by their extensions")
    if not found.images:
        reason = f": {warnings[0].removeprefix(f'{name}: ')}" if warnings else ""
        raise BadInput(f"{name}: a folder without pictures ({listed(SUFFIXES)}){reason}")
    return [os.path.join(name, path) for path in found.images], warnings


def find_image_files(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """Turns folders of pictures, and "-", into the files that are meant.

    Args:
        words: Images, folders and lists of images, or "-" for paths on the lines of standard input.

    Returns:
        Pictures and lists of pictures in their order, and warnings about files that are left out.

    Raises:
        BadInput: There is no such file, or a folder holds no picture.
    """
    found: list[str] = []
    warnings: list[str] = []
    for word in [line for given in words for line in (_read_paths() if given == "-" else [given])]:
        if not (word.strip() and os.path.exists(word)):
            raise _no_picture(word)
        files, told = images_below(word) if os.path.isdir(word) else ([word], [])
        found += files
        warnings += told
    return found, warnings


def _no_picture(word: str) -> BadInput:
    if re.match("https?://", word):
        return BadInput(f"{printable(word)} is an address, not a file; download it and pass the file")
    advice = "pass pictures, folders of pictures, or lists of them (.csv, .parquet); - reads paths from stdin"
    return BadInput(f"{printable(word)} does not exist; {advice}")


def _read_paths() -> list[str]:
    """Returns the paths on the lines of standard input, as `ls` and `find` write them."""
    lines = os.fsdecode(sys.stdin.buffer.read() if sys.stdin else b"").splitlines()
    if not any(line.strip() for line in lines):
        raise BadInput("standard input is empty; write one path of a picture a line")
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
    warnings += _left_out(name, [*top.others, *below.others], "file", "no pictures by their extensions")
    return table, warnings


def check_folder(name: str) -> None:
    """Raises `BadInput` unless there is such a folder; says what is near, or what is there instead."""
    root = os.path.expanduser(name)
    if os.path.isdir(root):
        return
    if os.path.lexists(root):
        unpack = "; unpack it first" if root.lower().endswith(_ARCHIVES) else ""
        raise BadInput(f"{name} is not a folder; pass a folder with one folder of pictures per class{unpack}")
    path = Path(root)
    neighbours = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, neighbours, n=1)
    suggestion = f"; did you mean {_shown(os.path.dirname(name), near[0])}?" if near else ""
    raise BadInput(f"{name}: no such folder{suggestion}")


def _shown(name: str, path: str) -> str:
    return printable(os.path.join(name, path))


def is_hidden(name: str) -> bool:
    """Tells whether a file or folder of this name is the system's or hidden, and not looked at."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def _entries(folder: str, shown: str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not is_hidden(e.name)), key=lambda e: e.name)
    except PermissionError:
        raise BadInput(f"{printable(shown)}: no permission to read this folder") from None


def _is_folder(entry: os.DirEntry, shown: str) -> bool:
    if not entry.is_symlink():
        return entry.is_dir()
    try:
        return stat.S_ISDIR(os.stat(entry.path).st_mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BadInput(f"{printable(shown)} is a link that leads back to itself; remove it") from None
        if entry.name.lower().endswith(SUFFIXES):
            return False  # the check of the pictures says what is wrong with it
        raise BadInput(f"{printable(shown)} is a broken link ({error.strerror}); mend or remove it") from None


def _check_classes(name: str, top: Files, labels: list[str], images: list[str], not_read: list[str]) -> None:
    """Raises BadInput where the folder is not one of class folders with images."""
    wanted = "pass a folder with one folder of pictures per class"
    loose = [*top.images, *top.not_read]
    if not labels and loose:
        raise BadInput(
            f"{name} holds pictures ({_shown('', loose[0])}, ...) but no folders, so they have no "
            "classes; put them into one folder per class"
        )
    if not labels:
        raise BadInput(f"{name} is empty; {wanted}" if not top.others else f"{name} has no folders; {wanted}")
    if not_read:
        first, *more = (_shown(name, path) for path in not_read)
        ending = os.path.splitext(not_read[0])[1].lower()
        raise BadInput(
            f"{first}: pictures of the format {ending} are not read; convert it to PNG, or leave such "
            "pictures out with --skip_bad_images",
            more,
        )
    if not images:
        shown = ", ".join(_shown(name, label) for label in labels[:3])
        raise BadInput(f"{name} has folders ({shown}) but no pictures in them; {wanted}")
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
