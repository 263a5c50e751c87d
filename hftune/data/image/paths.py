"""Finds the files that a list of images names, also where a path is not quite as the file system has it.

Lists come from other machines and tools: ids without an ending, backslashes, another case or coding of
letters, names whose folder another column has. What is meant without doubt is read, and counted in a
warning; all else is an error that says where paths start and what is near.
"""

import base64
import binascii
import os
import re
import unicodedata
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pyarrow as pa

from hftune.data.files import IMAGE_SUFFIXES, is_hidden
from hftune.data.image.folders import check_folder
from hftune.data.split_names import split_of_name
from hftune.data.tables.read import Table
from hftune.errors import BadInput, printable

_LONGEST = 1000  # letters of a path; beyond that it is something else
_MOST = 200_000  # files below a folder that are looked at
# How the first bytes of JPEG, PNG, GIF, WEBP, TIFF and BMP begin in base64.
_HEADS = "/9j/|iVBORw0KG|R0lGOD|UklGR|SUkqA|TU0AK|Qk"
_BASE64 = re.compile(rf"(?:data:image/[\w.+-]+;base64,)?((?:{_HEADS})[A-Za-z0-9+/=\s]{{60,}})")


def locate_images(
    table: Table,
    column: str,
    *,
    image_dir: str | None,
    dataset_name: str | None = None,
    split: str | None = None,
    skip_bad: bool | None = False,
) -> tuple[Table, str | None, list[str]]:
    """Replaces the paths in a column by those of the files that are meant; base64 becomes bytes.

    Args:
        table: Rows of one split.
        column: Its column of images; other things than paths in it stay as they are.
        image_dir: The folder that relative paths start from; None: that of the list, or of the data set.
        dataset_name: The data set that the table is of.
        split: The split that the rows are, if any: a near file in the folder of another split is not
            taken.
        skip_bad: Leave paths that lead nowhere to the check of the images, unless all do; None: an error
            that names no flag, as a command without it needs.

    Returns:
        The table, what its relative paths start from (None: the working folder), and warnings.

    Raises:
        BadInput: Paths lead nowhere; says the place of the first, where paths start, and what is near.
    """
    if table.places is not None:  # files that were found in folders
        return table, None, []
    folder = _start_of_paths(table, image_dir, dataset_name)
    values = _listed(table.columns[column])
    decoded = [_from_base64(value) for value in values]
    if any(isinstance(value, bytes) for value in decoded):
        return replace(table, columns={**table.columns, column: decoded}), folder, []
    paths = {row: value for row, value in enumerate(values) if _is_path(value)}
    _refuse_long(table, column, paths)
    missing = [row for row, path in paths.items() if not os.path.lexists(os.path.join(folder or "", path))]
    if not missing:
        return table, folder, []
    start, found, likely = _search(paths, missing, folder, split, named=image_dir is not None)
    lost = [
        row
        for row in missing
        if row not in found and not os.path.lexists(os.path.join(start or "", paths[row]))
    ]
    if lost and (not skip_bad or len(lost) == len(values)):
        raise _nowhere(table, paths, lost, folder, likely, flags=skip_bad is not None)
    warnings = []
    if start != folder:
        warnings.append(f"{table.name}: its paths start from the working folder, not from its own")
    changed = [row for row in found if found[row] != paths[row]]
    if changed:
        first = f"{table.place(changed[0])}: {_quoted(paths[changed[0]])} is {printable(found[changed[0]])}"
        warnings.append(
            f"{table.name}: {len(changed):,} of {len(values):,} paths are read as the files that they nearly "
            f"name (the first: {first})"
        )
    whole = [found.get(row, value) for row, value in enumerate(values)]
    return replace(table, columns={**table.columns, column: whole}), start, warnings


def _listed(column: Any) -> list[Any]:
    if isinstance(column, list):
        return column
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return column.to_pylist() if texts else []


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and not re.match("https?://", value)


def _from_base64(value: Any) -> Any:
    match = _BASE64.fullmatch(value) if isinstance(value, str) and len(value) > 60 else None
    try:
        return base64.b64decode(match[1]) if match else value
    except (binascii.Error, ValueError):
        return value


def _refuse_long(table: Table, column: str, paths: dict[int, str]) -> None:
    row = next((row for row, path in paths.items() if len(path) > _LONGEST), None)
    if row is not None:
        raise BadInput(
            f"{table.place(row)}: column {column!r} holds {len(paths[row]):,} letters "
            f"({printable(paths[row][:20])}...), which are no path of an image; name another column with "
            "--image_column_name"
        )


def _start_of_paths(table: Table, image_dir: str | None, dataset_name: str | None) -> str | None:
    if image_dir:
        check_folder(image_dir)
        return os.path.expanduser(image_dir)
    path = os.path.expanduser(table.name)
    if os.path.isfile(path):
        return os.path.dirname(path)
    folder = os.path.expanduser(dataset_name or "")
    return folder if os.path.isdir(folder) else None


_Found = tuple[str | None, dict[int, str], dict[int, list[str]]]


def _search(
    paths: dict[int, str], missing: list[int], folder: str | None, split: str | None, named: bool
) -> _Found:
    """Returns what paths start from, files by row, and for rows that stay missing what is near."""
    starts = [folder] if folder is None or os.path.abspath(folder) == os.getcwd() else [folder, None]
    for start in starts:
        names = _Names()
        found = {row: near for row in missing if (near := names.resolve(start or "", paths[row], named))}
        if found or len(missing) < len(paths):  # a list does not start from two folders
            lost = [row for row in missing if row not in found]
            return start, found, _below(paths, lost[:6], start, loosely=True) if lost else {}
    candidates = _below(paths, missing, folder, split)
    found = {row: several[0] for row, several in candidates.items() if len(several) == 1}
    if len(found) < len(missing):
        lost = [row for row in missing if row not in found]
        return folder, found, _below(paths, lost[:6], folder, loosely=True)
    return folder, found, {}


class _Names:
    """The names in folders, by what they have in common with names that look alike."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, list[str]]] = {}

    def resolve(self, start: str, path: str, foreign: bool) -> str | None:
        """Returns the one path from `start` on that is like this one, if there is one that is.

        Where `foreign`, the end of an absolute path of another machine may be one.
        """
        clean = _clean(path)
        found = self._resolve(start, clean)
        if found is None and foreign and re.match("/|[a-zA-Z]:/", clean):
            parts = clean.split("/")
            ends = ("/".join(parts[first:]) for first in range(1, len(parts)))
            found = next((near for end in ends if (near := self._resolve(start, end))), None)
        return found

    def _resolve(self, start: str, clean: str) -> str | None:
        if os.path.lexists(os.path.join(start, clean)):
            return clean
        *folders, name = clean.split("/")
        found = "/" if clean.startswith("/") else ""
        for part in filter(None, folders):
            near = part if part in (".", "..") else self._one(os.path.join(start, found), part)
            if near is None:
                return None
            found = os.path.join(found, near)
        last = self._one(os.path.join(start, found), name)
        return os.path.join(found, last) if last else None

    def _one(self, folder: str, name: str) -> str | None:
        names = self._folders.get(folder)
        if names is None:
            names = self._folders[folder] = defaultdict(list)
            for other in _names_in(folder):
                names[_key(other)].append(other)
                stem, ending = os.path.splitext(other)
                if ending.lower() in IMAGE_SUFFIXES:
                    names[_key(stem) + "\n"].append(other)  # no name ends so
        alike = names.get(_key(name)) or names.get(_key(name) + "\n", [])
        if name in alike:
            return name
        return alike[0] if len(alike) == 1 else None


def _names_in(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder or ".") if not is_hidden(name)]
    except OSError:
        return []


def _clean(path: str) -> str:
    """Returns a path without blanks around it, with slashes; `~` is the home folder."""
    return os.path.expanduser(re.sub("^(\\./|file://)+", "", path.strip().replace("\\", "/")))


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _below(
    paths: dict[int, str],
    rows: list[int],
    folder: str | None,
    split: str | None = None,
    loosely: bool = False,
) -> dict[int, list[str]]:
    """Returns for rows the files anywhere below a folder whose path ends as theirs.

    Args:
        paths: By row.
        rows: The rows that are asked for.
        folder: Where to look.
        split: What the rows are; files in a folder that is named for another split do not count.
        loosely: The name of the file alone has to be alike.
    """
    index: dict[str, list[str]] = defaultdict(list)
    for path in _images_in(folder or "."):
        name = _key(os.path.basename(path))
        index[name].append(path)
        index[os.path.splitext(name)[0] + "\n"].append(path)
    found = {}
    for row in rows:
        tail = [_key(part) for part in _clean(paths[row]).split("/") if part not in ("", ".")]
        if not tail:
            continue
        alike = index.get(tail[-1]) or index.get(tail[-1] + "\n", [])
        if not loosely:
            alike = [
                path
                for path in alike
                if _folders_of(path)[len(_folders_of(path)) - len(tail) + 1 :] == tail[:-1]
            ]
        if split:
            alike = [
                path for path in alike if {split_of_name(part) for part in _folders_of(path)} <= {None, split}
            ]
        if alike:
            found[row] = alike
    return found


def _folders_of(path: str) -> list[str]:
    return [_key(part) for part in path.split(os.sep)[:-1]]


def _images_in(folder: str) -> list[str]:
    found, looked_at = [], 0
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        looked_at += len(names)
        if looked_at > _MOST:  # a home folder or a disk: not where a list's images are looked for
            return []
        images = (name for name in sorted(names) if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES)
        found += [os.path.relpath(os.path.join(path, name), folder) for name in images if not is_hidden(name)]
    return found


def _nowhere(
    table: Table,
    paths: dict[int, str],
    lost: list[int],
    folder: str | None,
    likely: dict[int, list[str]],
    flags: bool,
) -> BadInput:
    def said(row: int) -> str:
        near = likely.get(row, [])
        meant = " or ".join(map(printable, near[:2])) + (" or another" if len(near) > 2 else "")
        hint = f" (did you mean {meant}?)" if near else ""
        return f"{table.place(row)} ({_quoted(paths[row])}) does not exist{hint}"

    start = f"the folder {printable(folder)}" if folder else "the working folder"
    more = f", nor do{'es' if len(lost) == 2 else ''} {len(lost) - 1:,} more" if len(lost) > 1 else ""
    advice = ": pass another with --image_dir FOLDER, or leave such images out with --skip_bad_images"
    return BadInput(
        f"{said(lost[0])}{more}; paths start from {start}{advice if flags else ''}",
        [said(row) for row in lost[1:]],
    )


def _quoted(path: str) -> str:
    """Returns a path for a message; a blank at an end of it is seen."""
    shown = printable(path if len(path) <= 120 else f"{path[:117]}...")
    return shown if shown == shown.strip() else repr(shown)
