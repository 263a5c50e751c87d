"""The images of a split: where they stand, the check that reads each once, and those held in memory."""

import hashlib
import os
import re
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from hftune.data.dataset import Places
from hftune.data.image.decode import NOT_READ, BadImage, decode, inspect, read_file
from hftune.data.image.paths import locate_images
from hftune.data.tables.read import Table
from hftune.errors import BadInput, printable

_BLOCK = 32  # images that a thread takes at a time: changing threads costs as much as a small image


@dataclass(eq=False)
class Images:
    """The images of one split; those that are not held are decoded each time they are asked for.

    Args:
        table: Where they stand.
        column: The table's column of images: structs of bytes and path, bytes, or paths.
        rows: The table's row of each image, int64 (N,).
        folder: What relative paths start from; None: the working directory.
        held: Decoded images, uint8 (H, W, 3) each; None where they do not fit in memory.
        sizes: Height and width of each in pixels, int64 (N, 2); zeros before they are known.
        background: The colour behind transparent pixels, see `decode`.
    """

    table: Table
    column: str
    rows: np.ndarray
    folder: str | None = None
    held: list[np.ndarray] | None = None
    sizes: np.ndarray = None  # type: ignore[assignment]
    background: str | None = None

    def __post_init__(self) -> None:
        if self.sizes is None:
            self.sizes = np.zeros((len(self.rows), 2), np.int64)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> np.ndarray:
        """Returns an image, uint8 (H, W, 3); a held one is not a copy: do not write to it.

        Raises:
            BadInput: Its file has changed since the check and cannot be read.
        """
        if self.held is not None:
            return self.held[row]
        data = self.encoded(row)
        try:
            return decode(data, self.background)
        except BadImage as reason:
            raise self._changed(row, reason) from None

    def encoded(self, row: int) -> bytes:
        """Returns the bytes of an image's file.

        Raises:
            BadInput: Its file has changed since the check and cannot be read.
        """
        try:
            return self.read(row)
        except BadImage as reason:
            raise self._changed(row, reason) from None

    def read(self, row: int) -> bytes:
        """Returns the bytes of an image's file.

        Raises:
            BadImage: There are none.
        """
        data, path = self._cell(row)
        if data is not None:
            return data
        if not path:
            raise BadImage("has no image")
        if re.match("https?://", path):
            raise BadImage("is an address, not a file; download it")
        if path.lower().endswith(NOT_READ):
            raise BadImage(
                f"has the format {os.path.splitext(path)[1]}, which is not read; convert it to PNG"
            )
        return read_file(os.path.join(self.folder or "", path))

    def take(self, rows: np.ndarray) -> "Images":
        """Returns the chosen images (int64)."""
        held = None if self.held is None else [self.held[row] for row in rows]
        return replace(self, rows=self.rows[rows], held=held, sizes=self.sizes[rows])

    def place(self, row: int) -> str:
        """Says where an image stands, with its path: "train.csv line 17 (cats/1.jpg)"."""
        place = self.table.place(int(self.rows[row]))
        path = self._path(row) if self.table.places is None else None
        return f"{place} ({printable(path)})" if path else place

    def places(self) -> Places:
        """Returns where the images stand in the user's data."""
        return Places(self.table.of_user(self.rows), self.place, {"image": lambda row: self._path(row) or ""})

    def _cell(self, row: int) -> tuple[bytes | None, str | None]:
        """Returns the bytes and the path that stand in the column; one of them, both or neither."""
        value: Any = self.table.columns[self.column][int(self.rows[row])]
        if isinstance(value, pa.Scalar):
            value = value.as_py()
        if isinstance(value, dict):
            data, path = value.get("bytes"), value.get("path")
        else:
            data, path = (value, None) if isinstance(value, bytes) else (None, value)
        if not isinstance(data, bytes | None) or not isinstance(path, str | None):
            raise BadImage(f"has {value!r:.40} where an image or a path should be")
        return data, path

    def _path(self, row: int) -> str | None:
        try:
            return self._cell(row)[1]
        except BadImage:  # no path in a value of another kind
            return None

    def _changed(self, row: int, reason: BadImage) -> BadInput:
        return BadInput(f"{self.place(row)} {reason}; it could be read when the run began: put it back")


@dataclass(frozen=True)
class ReadableImages:
    """The images of a split that can be read.

    Args:
        images: Those images, N of them.
        digests: SHA-256 (hex) of the encoded bytes of each, strings (N,).
        looks: A hash of the decoded pixels of each, strings (N,): files that differ may show the same.
        rows: Their rows in the table, int64 (N,), ascending.
        bytes_held: Bytes of the decoded images that are held in memory; 0: none is.
        warnings: Lines to show to the user.
        facts: How many have more than 8 bits, or transparent pixels, by the names of `FACTS`; nothing where
            none has.
    """

    images: Images
    digests: pa.ChunkedArray
    looks: pa.ChunkedArray
    rows: np.ndarray
    bytes_held: int
    warnings: list[str]
    facts: dict[str, int]


class _Examined(NamedTuple):
    """An image that was read; `reason` is why not, and then all else is empty."""

    digest: str
    look: str
    deep: bool
    transparent: bool
    frames: bool
    reason: str = ""


def locate_and_check(
    table: Table,
    column: str,
    *,
    image_dir: str | None,
    dataset_name: str | None = None,
    split: str | None = None,
    skip_bad: bool | None,
    rows: np.ndarray | None = None,
    **options: Any,
) -> ReadableImages:
    """Finds the files that a table names and reads them; see `locate_images` and `check_images`.

    Only `rows` are read (int64, ascending; None: all).

    Raises:
        BadInput: An image cannot be found or read.
    """
    table, folder, warnings = locate_images(
        table, column, image_dir=image_dir, dataset_name=dataset_name, split=split, skip_bad=skip_bad
    )
    table = table if rows is None else table.take(rows)
    checked = check_images(table, column, folder=folder, skip_bad=skip_bad, **options)
    return replace(checked, warnings=[*warnings, *checked.warnings])


def check_images(
    table: Table,
    column: str,
    *,
    folder: str | None,
    skip_bad: bool | None,
    room: int,
    background: str | None = None,
    trains: bool = False,
    spare: bool = False,
) -> ReadableImages:
    """Reads every image of a split once, in as many threads as there are cores.

    Args:
        table: The split.
        column: Its column of images (see `Images`).
        folder: What relative paths start from.
        skip_bad: Leave out images that cannot be read, with a warning; None: an error that names no flag
            for it.
        room: Bytes that decoded images may take; a split that needs more is not held at all.
        background: The colour behind transparent pixels, see `decode`.
        trains: Whether a run reads them: the warnings may then name its flags.
        spare: With `skip_bad`, leave out even all of them: there are other tables.

    Raises:
        BadInput: Images cannot be read; the message names the first, the details the others.
    """
    count = len(table.columns[column])
    everything = Images(table, column, np.arange(count), folder, background=background)
    memory = _Memory(room)

    def examine(row: int) -> _Examined:
        try:
            data = everything.read(row)
            seen = inspect(data, background)
        except BadImage as reason:
            return _Examined("", "", False, False, False, str(reason))
        memory.keep(row, seen.pixels)
        everything.sizes[row] = seen.pixels.shape[:2]
        look = hashlib.blake2b(f"{seen.pixels.shape}".encode(), digest_size=16)
        look.update(seen.pixels.data)
        return _Examined(hashlib.sha256(data).hexdigest(), look.hexdigest(), *seen[1:])

    results: list[_Examined] = []
    bar = tqdm(desc=f"checking {table.name}", total=count, disable=None, leave=False)
    with quiet(), bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = (range(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK))
        for block in pool.map(lambda rows: [examine(row) for row in rows], blocks):
            results += block
            bar.update(len(block))
    problems = [f"{everything.place(row)} {one.reason}" for row, one in enumerate(results) if one.reason]
    found = _judge(table, problems, count, skip_bad, spare)
    rows = np.array([row for row, one in enumerate(results) if not one.reason], dtype=np.int64)
    held = None if memory.held is None else [memory.held[row] for row in rows]
    images = Images(table, column, rows, folder, held, everything.sizes[rows], background)
    good = [results[row] for row in rows]
    facts, doubts = _doubts(images, good, trains)
    return ReadableImages(
        images,
        digests=pa.chunked_array([pa.array([one.digest for one in good], pa.string())]),
        looks=pa.chunked_array([pa.array([one.look for one in good], pa.string())]),
        rows=rows,
        bytes_held=memory.taken if held else 0,
        warnings=found + doubts,
        facts=facts,
    )


class _Memory:
    """Decoded images of one split, all or none: none from the moment they take more than the room."""

    def __init__(self, room: int):
        self.held: dict[int, np.ndarray] | None = {}
        self.taken = 0
        self._room = room
        self._lock = threading.Lock()

    def keep(self, row: int, image: np.ndarray) -> None:
        with self._lock:
            self.taken += image.nbytes
            if self.held is not None and self.taken <= self._room:
                self.held[row] = image
            else:
                self.held = None


def _judge(table: Table, problems: list[str], count: int, skip_bad: bool | None, spare: bool) -> list[str]:
    """Returns the warning about bad images, or raises it."""
    if not problems:
        return []
    first, number = problems[0], len(problems)
    if number == count and not spare:
        none = f"{table.name}: none of its {count:,} images can be read; " if count > 1 else ""
        raise BadInput(f"{none}{first}", problems[1:])
    if skip_bad:
        noun, verb = "image" if count == 1 else "images", "is" if number == 1 else "are"
        which = f"{number:,} of {count:,} {noun} cannot be read and {verb} left out"
        return [f"{table.name}: {which} (the first: {first})"]
    more = f" ({number - 1:,} more cannot be read)" if number > 1 else ""
    advice = "" if skip_bad is None else "; --skip_bad_images leaves such images out"
    raise BadInput(f"{first}{more}{advice}", problems[1:])


FACTS = ("images_above_8_bits", "images_with_transparency")  # in all_results.json, where there are any


def _doubts(images: Images, good: list[_Examined], trains: bool) -> tuple[dict[str, int], list[str]]:
    """Returns the counts of `FACTS`, and a warning about each kind of image that may not be seen as meant."""
    kept = "the colours that the files store under them are used, often black, as `pipeline` does"
    if images.background:
        kept = f"put on {images.background}; `pipeline` does not do that, see the model card"
    elif trains:
        kept += "; --transparent_background white puts them on a colour"
    deep = "hftune scales their grey values, `pipeline` cuts them off to white and answers otherwise"
    kinds = {
        "deep": f"more than 8 bits a channel: {deep}" + trains * "; save them with 8 bits",
        "transparent": f"transparent pixels: {kept}",
        "frames": "several frames or pages: the first is read",
    }
    counts, told = [], []
    for kind, meaning in kinds.items():
        rows = [row for row, one in enumerate(good) if getattr(one, kind)]
        counts.append(len(rows))
        if rows:
            first = images.place(rows[0])
            count = f"{len(rows):,} of {len(good):,} images"
            told.append(f"{images.table.name}: {count} have {meaning} (the first: {first})")
    return {name: count for name, count in zip(FACTS, counts, strict=False) if count}, told


@contextmanager
def quiet() -> Iterator[None]:
    """Silences Pillow's warnings, of damaged metadata for example: what matters here is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def memory_budget() -> int:
    """Returns how many bytes decoded images may take: a quarter of the memory that is free now."""
    free = free_memory()
    return 1 << 30 if free is None else free // 4


def free_memory() -> int | None:
    """Returns the bytes of memory that are free now; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux
        return None
    free = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return free[0] * 1024 if free else None
