"""Reads pictures: encoded bytes or a file becomes RGB pixels, or one reason why not.

Rules of reading, each with its reason:

- What the bytes are decides, not the file's name, and only `FORMATS` are tried: Pillow would start
  Ghostscript for an EPS file.
- A picture is turned as its EXIF says, the first frame of an animation counts, every mode becomes RGB and
  alpha is dropped: what `transformers.pipeline` does with a file, so that both see the same pixels.
- Grey values of more than 8 bits are scaled down. Pillow cuts them off at 255, which leaves white.
- The header's size is checked before anything is decoded: a few kilobytes can claim gigabytes.
"""

import errno
import hashlib
import io
import os
import re
import stat
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageOps, UnidentifiedImageError

from hftune.data.bundle import Places
from hftune.data.tables import Table
from hftune.errors import BadInput, first_line, printable
from hftune.progress import progress_bar

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
MAX_PIXELS = 89_478_485  # Pillow's own limit, a quarter GiB of RGB, from which on it warns

_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_BLOCK = 32  # pictures that a thread takes at a time: changing threads costs as much as a small picture
_NONSENSE = (TypeError, LookupError, ArithmeticError, struct.error, zlib.error)
# What Pillow raises for damaged data; MemoryError is not among them.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, *_NONSENSE)
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_ENVIRONMENT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # says nothing about the file
_OTHERS = (  # first bytes (a regular expression) of what is taken for a picture, and what it is
    (rb"\s*<(!doctype html|html)", "an HTML page, not a picture; download it again"),
    (rb"version https://git-lfs", "a Git LFS pointer, not the picture; fetch it with: git lfs pull"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "an EPS file; convert it to PNG"),
    (rb"8BPS", "a Photoshop file; convert it to PNG"),
    (rb"\s*<svg|\s*<\?xml.*<svg", "an SVG file; convert it to PNG"),
    (rb"....ftypavi[fs]", "an AVIF file; convert it to PNG or JPEG"),
    (rb"....ftyp(hei|hev|mif|msf)", "a HEIC file; convert it to JPEG"),
    (rb"\x00\x00\x00\x0cjP|\xff\x4f\xff\x51", "a JPEG 2000 file; convert it to PNG or JPEG"),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL", "a JPEG XL file; convert it to PNG or JPEG"),
    (rb"%PDF", "a PDF file, not a picture"),
    (rb"\x1f\x8b|PK\x03\x04", "a compressed archive; unpack it"),
    (rb"\xff\xd8\xff", "a JPEG file without a readable header; replace it"),
    (rb"\x89PNG", "a PNG file without a readable header; replace it"),
    (rb"GIF8", "a GIF file without a readable header; replace it"),
    (rb"RIFF....WEBP", "a WEBP file without a readable header; replace it"),
    (rb"II\*\x00|MM\x00\*", "a TIFF file without a readable header; replace it"),
)


class BadPicture(ValueError):
    """A picture cannot be read; the message is a few words that go on from its name: "is truncated"."""


def decode(source: bytes | str) -> np.ndarray:
    """Decodes a picture.

    Args:
        source: The encoded bytes, or the path of a file.

    Returns:
        RGB pixels, uint8 of shape (H, W, 3), in an array of its own.

    Raises:
        BadPicture: It cannot be read, or has more than `MAX_PIXELS` pixels.
    """
    data = source if isinstance(source, bytes) else _read(source)
    if not data:
        raise BadPicture("is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(image.width * image.height)
            ImageOps.exif_transpose(image, in_place=True)
            return _rgb(image)
    except BadPicture:
        raise
    except UnidentifiedImageError:
        raise BadPicture(_what_it_is(data)) from None
    except _BOMBS as error:
        _check_size(max(int(number) for number in re.findall("[0-9]+", str(error))))
        raise BadPicture(f"is damaged: {first_line(error)}") from None
    except _DAMAGE as error:
        raise BadPicture(_damage(error)) from None


def _read(path: str) -> bytes:
    try:
        if stat.S_ISREG(os.stat(path).st_mode):  # a pipe would never end
            with open(path, "rb") as file:
                return file.read()
    except OSError as error:
        if error.errno in _ENVIRONMENT:
            raise
        raise BadPicture(_why_unreadable(path, error)) from None
    except ValueError:  # NUL, or a lone surrogate: json can hold both, names of files cannot
        raise BadPicture("does not exist") from None
    raise BadPicture("is a folder" if os.path.isdir(path) else "is not a file")


def _why_unreadable(path: str, error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "is a link to a file that does not exist" if os.path.islink(path) else "does not exist"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "cannot be opened: no permission"
    if error.errno == errno.ELOOP:
        return "is a link that leads back to itself"
    return f"cannot be opened: {error.strerror}"


def _check_size(pixels: int) -> None:
    if pixels > MAX_PIXELS:
        raise BadPicture(f"has {pixels:,} pixels, more than {MAX_PIXELS:,}; shrink it")


def _rgb(image: Image.Image) -> np.ndarray:
    if image.mode in _SIXTEEN_BITS:
        return _repeat_grey(_scale(np.asarray(image), 0, 65535))
    if image.mode in ("I", "F"):
        values = np.asarray(image)
        return _repeat_grey(_scale(values, *_value_range(values)))
    image.info.pop("transparency", None)  # it does not change RGB values, and bytes make Pillow warn
    return np.array(image.convert("RGB"))


def _value_range(values: np.ndarray) -> tuple[float, float]:
    """Returns what is black and what is white in grey values that do not say so (32 bits, floats).

    The smallest usual range that holds them all: 0 to 1 (floats only), 255 or 65535. Other values are
    stretched between their own least and greatest.
    """
    if not np.isfinite(values).all():
        raise BadPicture("has values that are infinite or not a number")
    low, high = float(values.min()), float(values.max())
    usual = (1, 255, 65535) if values.dtype.kind == "f" else (255, 65535)
    fitting = [(0.0, float(top)) for top in usual if low >= 0 and high <= top]
    return fitting[0] if fitting else (low, max(high, low + 1))


def _scale(values: np.ndarray, black: float, white: float) -> np.ndarray:
    shifted = values.astype(np.float32) - np.float32(black)
    return np.rint(shifted * np.float32(255 / (white - black))).clip(0, 255).astype(np.uint8)


def _repeat_grey(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[:, :, None], 3, axis=2)  # (H, W, 3)


def _what_it_is(data: bytes) -> str:
    """Says what bytes are that Pillow does not know."""
    head = data[:1024]
    for pattern, name in _OTHERS:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            return f"is {name}"
    if not re.search(rb"[\x00-\x08\x0e-\x1f\x7f-\xff]", head):
        return "is a text file, not a picture"
    return f"is not a picture of a known format ({', '.join(FORMATS)})"


def _damage(error: Exception) -> str:
    text = first_line(error)
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return "is truncated: its end is missing"
    if isinstance(error, _NONSENSE):  # says more about Pillow than about the picture
        return "is damaged: its header or metadata make no sense"
    return f"is damaged: {text}"


class Pictures:
    """The pictures of one split; those that are not held are decoded each time they are asked for.

    Args:
        table: Where they stand.
        column: The table's column of pictures: structs of bytes and path, bytes, or paths.
        rows: The table's row of each picture, int64 (N,).
        folder: What relative paths start from; None: the working directory.
        held: Decoded pictures, uint8 (H, W, 3) each; None where they do not fit in memory.
        sizes: Height and width of each in pixels, int64 (N, 2); zeros before they are known.
    """

    def __init__(
        self,
        table: Table,
        column: str,
        rows: np.ndarray,
        folder: str | None = None,
        held: list[np.ndarray] | None = None,
        sizes: np.ndarray | None = None,
    ):
        self.table = table
        self.column = column
        self.rows = rows
        self.folder = folder
        self.held = held
        self.sizes = np.zeros((len(rows), 2), np.int64) if sizes is None else sizes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> np.ndarray:
        """Returns a picture, uint8 (H, W, 3); a held one is not a copy: do not write to it.

        Raises:
            BadInput: Its file has changed since the check and cannot be read.
        """
        if self.held is not None:
            return self.held[row]
        data = self.encoded(row)
        try:
            return decode(data)
        except BadPicture as reason:
            raise self._changed(row, reason) from None

    def encoded(self, row: int) -> bytes:
        """Returns the bytes of a picture's file.

        Raises:
            BadInput: Its file has changed since the check and cannot be read.
        """
        try:
            return self.read(row)
        except BadPicture as reason:
            raise self._changed(row, reason) from None

    def read(self, row: int) -> bytes:
        """Returns the bytes of a picture's file.

        Raises:
            BadPicture: There are none.
        """
        data, path = self._cell(row)
        if data is not None:
            return data
        if not path:
            raise BadPicture("has no picture")
        if re.match("https?://", path):
            raise BadPicture("is an address, not a file; download it")
        return _read(os.path.join(self.folder or "", path))

    def take(self, rows: np.ndarray) -> "Pictures":
        """Returns the chosen pictures (int64)."""
        held = None if self.held is None else [self.held[row] for row in rows]
        return Pictures(self.table, self.column, self.rows[rows], self.folder, held, self.sizes[rows])

    def place(self, row: int) -> str:
        """Says where a picture stands, with its path: "train.csv line 17 (cats/1.jpg)"."""
        place = self.table.place(int(self.rows[row]))
        path = self._path(row) if self.table.places is None else None
        return f"{place} ({printable(path)})" if path else place

    def places(self) -> Places:
        """Returns where the pictures stand in the user's data."""
        return Places(self.rows, self.place, "image", lambda row: self._path(row) or "")

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
            raise BadPicture(f"has {value!r:.40} where a picture or a path should be")
        return data, path

    def _path(self, row: int) -> str | None:
        try:
            return self._cell(row)[1]
        except BadPicture:  # no path in a value of another kind
            return None

    def _changed(self, row: int, reason: BadPicture) -> BadInput:
        return BadInput(f"{self.place(row)} {reason}; it could be read when the run began: put it back")


@dataclass(frozen=True)
class Checked:
    """The pictures of a split that can be read.

    Args:
        pictures: Those pictures, N of them.
        digests: SHA-256 (hex) of the encoded bytes of each, strings (N,).
        rows: Their rows in the table, int64 (N,), ascending.
        bytes_held: Bytes of the decoded pictures that are held in memory; 0: none is.
        warnings: Lines to show to the user.
    """

    pictures: Pictures
    digests: pa.ChunkedArray
    rows: np.ndarray
    bytes_held: int
    warnings: list[str]


def check_pictures(table: Table, column: str, *, folder: str | None, skip_bad: bool, room: int) -> Checked:
    """Reads every picture of a split once, in as many threads as there are cores.

    Args:
        table: The split.
        column: Its column of pictures (see `Pictures`).
        folder: What relative paths start from.
        skip_bad: Leave out pictures that cannot be read, with a warning.
        room: Bytes that decoded pictures may take; a split that needs more is not held at all.

    Raises:
        BadInput: Pictures cannot be read; the message names the first, the details the others.
    """
    count = len(table.columns[column])
    everything = Pictures(table, column, np.arange(count), folder)
    memory = _Memory(room)

    def examine(row: int) -> tuple[str, str]:
        """Returns (digest, "") of a good picture, ("", reason) of a bad one."""
        try:
            data = everything.read(row)
            picture = decode(data)
        except BadPicture as reason:
            return "", str(reason)
        memory.keep(row, picture)
        everything.sizes[row] = picture.shape[:2]
        return hashlib.sha256(data).hexdigest(), ""

    results: list[tuple[str, str]] = []
    bar = progress_bar(f"checking {table.name}", count)
    with _quiet(), bar as tick, ThreadPoolExecutor(os.cpu_count()) as pool:
        blocks = (range(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK))
        for block in pool.map(lambda rows: [examine(row) for row in rows], blocks):
            results += block
            tick(len(block))
    problems = [f"{everything.place(row)} {reason}" for row, (_, reason) in enumerate(results) if reason]
    found = _judge(table, problems, count, skip_bad)
    rows = np.array([row for row, (_, reason) in enumerate(results) if not reason], dtype=np.int64)
    held = None if memory.held is None else [memory.held[row] for row in rows]
    digests = pa.chunked_array([pa.array([digest for digest, _ in results if digest], pa.string())])
    pictures = Pictures(table, column, rows, folder, held, everything.sizes[rows])
    return Checked(pictures, digests, rows, memory.taken if held else 0, found)


class _Memory:
    """Decoded pictures of one split, all or none: none from the moment they take more than the room."""

    def __init__(self, room: int):
        self.held: dict[int, np.ndarray] | None = {}
        self.taken = 0
        self._room = room
        self._lock = threading.Lock()

    def keep(self, row: int, picture: np.ndarray) -> None:
        with self._lock:
            self.taken += picture.nbytes
            if self.held is not None and self.taken <= self._room:
                self.held[row] = picture
            else:
                self.held = None


def _judge(table: Table, problems: list[str], count: int, skip_bad: bool) -> list[str]:
    """Returns the warning about bad pictures, or raises it."""
    if not problems:
        return []
    first, number = problems[0], len(problems)
    if number == count:
        raise BadInput(f"{table.name}: none of its {count:,} pictures can be read; {first}", problems[1:])
    if skip_bad:
        verb = "picture cannot be read and is" if number == 1 else "pictures cannot be read and are"
        return [f"{table.name}: {number:,} of {count:,} {verb} left out (the first: {first})"]
    more = f" ({number - 1:,} more cannot be read)" if number > 1 else ""
    raise BadInput(f"{first}{more}; --skip_bad_images leaves such pictures out", problems[1:])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences Pillow's warnings, of damaged metadata for example: what matters here is an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def room_for_pictures() -> int:
    """Returns how many bytes decoded pictures may take: a quarter of the memory that is free now."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux
        return 1 << 30
    free = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return free[0] * 1024 // 4 if free else 1 << 30
