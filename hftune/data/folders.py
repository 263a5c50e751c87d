"""Reads a folder that holds one folder of pictures per class."""

import difflib
import errno
import os
import re
import stat
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from hftune.data.tables import Table
from hftune.errors import BadInput, printable

SPLIT_FOLDERS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff")
_NOT_READ = (  # pictures, but of formats that are not read
    *(
        ".eps",
        ".ps",
        ".psd",
        ".svg",
        ".svgz",
        ".ai",
        ".xcf",
        ".heic",
        ".heif",
        ".avif",
        ".jxl",
        ".jp2",
        ".j2k",
    ),
    *(".tga", ".ico", ".ppm", ".pgm", ".pbm", ".pnm", ".dng", ".cr2", ".nef", ".arw", ".raw", ".dcm", ".exr"),
)
_NOT_SHOWN = ("thumbs.db", "desktop.ini", "__macosx")  # besides names that begin with a dot
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


@dataclass
class _Found:
    """What a folder and those below it hold, as paths from the class folders' parent on.

    Args:
        pictures: Pictures, by their extensions.
        not_read: Pictures of formats that are not read.
        others: Other files.
    """

    pictures: list[str] = field(default_factory=list)
    not_read: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        ending = os.path.splitext(path)[1].lower()
        kind = self.pictures if ending in SUFFIXES else self.not_read if ending in _NOT_READ else self.others
        kind.append(path)


def read_class_folders(name: str) -> tuple[Table, list[str]]:
    """Lists the pictures of a folder with one folder per class.

    Folders within a class folder belong to the class. Links are followed. Hidden files and those that
    systems leave behind (Thumbs.db) are not looked at.

    Args:
        name: The folder as the user wrote it; `~` is the home folder.

    Returns:
        The table, ordered by class and path on every file system, with the columns `image` (a list of
        paths) and `label` (class names), and warnings about files that are left out. Whether the
        pictures can be read is not known yet.

    Raises:
        BadInput: There is no such folder, it is not made of class folders, or holds pictures of a
            format that is not read.
    """
    root = os.path.expanduser(name)
    _check_folder(name, root)
    top, classes = _Found(), {}
    for entry in _entries(root, name):
        if _is_folder(entry, os.path.join(name, entry.name)):
            classes[entry.name] = _Found()
            _walk(root, entry.name, name, (_identity(root),), classes[entry.name])
        else:
            top.add(entry.name)
    _check_classes(name, top, classes)
    paths = [path for found in classes.values() for path in found.pictures]
    labels = [label for label, found in classes.items() for _ in found.pictures]
    table = Table(
        name,
        {
            "image": [os.path.join(root, path) for path in paths],
            "label": pa.chunked_array([pa.array(labels, pa.string())]),
        },
        places=[_shown(name, path) for path in paths],
    )
    return table, _left_out(name, top, classes)


def split_folders(folder: Path) -> dict[str, Path]:
    """Finds the split folders of a data set folder whose splits are made of class folders.

    Args:
        folder: The data set.

    Returns:
        Their paths by split name; nothing where train is missing, or holds files only.

    Raises:
        BadInput: Two folders are the same split, such as val and valid.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        split = next((split for split, names in SPLIT_FOLDERS.items() if path.name.lower() in names), None)
        if split is None or not path.is_dir():
            continue
        if not any(below.is_dir() and not _is_hidden(below.name) for below in path.iterdir()):
            continue
        if split in found:
            raise BadInput(f"{found[split]} and {path} are both the {split} split; remove one")
        found[split] = path
    return found if "train" in found else {}


def _check_folder(name: str, root: str) -> None:
    if os.path.isdir(root):
        splits = split_folders(Path(root))
        if len(splits) > 1:
            names = ", ".join(path.name for path in splits.values())
            raise BadInput(f"{name} holds splits ({names}), not classes; pass it with --dataset_name")
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


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _NOT_SHOWN


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _entries(folder: str, shown: str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not _is_hidden(e.name)), key=lambda e: e.name)
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


def _walk(root: str, folder: str, name: str, above: tuple[tuple[int, int], ...], found: _Found) -> None:
    """Adds the files of a folder and of those below; `above` are the folders that it lies in."""
    path, shown = os.path.join(root, folder), os.path.join(name, folder)
    identity = _identity(path)
    if identity in above:
        raise BadInput(f"{printable(shown)} is a link to a folder that it lies in; remove it")
    for entry in _entries(path, shown):
        inside = os.path.join(folder, entry.name)
        if _is_folder(entry, os.path.join(name, inside)):
            _walk(root, inside, name, (*above, identity), found)
        else:
            found.add(inside)


def _check_classes(name: str, top: _Found, classes: dict[str, _Found]) -> None:
    """Raises BadInput where the folder is not one of class folders with pictures in each."""
    wanted = "pass a folder with one folder of pictures per class"
    if not classes and top.pictures:
        raise BadInput(
            f"{name} holds pictures ({_shown('', top.pictures[0])}, ...) but no folders, so they have no "
            "classes; put them into one folder per class"
        )
    if not classes:
        raise BadInput(f"{name} is empty; {wanted}" if not top.others else f"{name} has no folders; {wanted}")
    not_read = [path for found in classes.values() for path in found.not_read]
    if not_read:
        first, *more = (_shown(name, path) for path in not_read)
        ending = os.path.splitext(not_read[0])[1].lower()
        raise BadInput(f"{first}: pictures of the format {ending} are not read; convert it to PNG", more)
    empty = [_shown(name, label) for label, found in classes.items() if not found.pictures]
    if len(empty) == len(classes):
        raise BadInput(f"{name} has folders ({', '.join(empty[:3])}) but no pictures in them; {wanted}")
    if empty:
        raise BadInput(f"{empty[0]} holds no pictures; fill or remove it", empty[1:])
    _refuse_class_names(name, list(classes))


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


def _left_out(name: str, top: _Found, classes: dict[str, _Found]) -> list[str]:
    strays = [*top.pictures, *top.not_read]
    others = [*top.others, *(path for found in classes.values() for path in found.others)]
    kinds = ((strays, "in no class folder"), (others, "no pictures by their extensions"))
    return [
        f"{name}: {len(paths):,} file{'s' if len(paths) > 1 else ''} left out, {reason} "
        f"(the first: {_shown(name, paths[0])})"
        for paths, reason in kinds
        if paths
    ]
