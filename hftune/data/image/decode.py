"""Decodes images: encoded bytes or a file becomes RGB pixels, or one reason why not.

Rules of reading, each with its reason:

- What the bytes are decides, not the file's name, and only `FORMATS` are tried: Pillow would start
  Ghostscript for an EPS file.
- An image is turned as its EXIF says, the first frame of an animation counts, every mode becomes RGB and
  alpha is dropped: what `transformers.pipeline` does with a file, so that both see the same pixels. Alone
  a background that was asked for is laid under transparent pixels, which `pipeline` cannot do.
- Grey values of more than 8 bits are scaled down. Pillow, and so `pipeline`, cuts them off at 255, which
  leaves white: `inspect` tells such images, as a model answers otherwise to them there.
- The header's size is checked before anything is decoded: a few kilobytes can claim gigabytes.
"""

import errno
import io
import os
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from hftune.data.failed_download import failed_download
from hftune.errors import first_line

# TGA is last: it begins with no mark of its own.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "TGA")
NOT_READ = (  # of images that are not read: left out when asked to, or an error that says so
    *(".eps", ".ps", ".psd", ".svg", ".svgz", ".ai", ".xcf", ".jxl", ".exr", ".dcm", ".hdr", ".qoi", ".pcx"),
    # Within these Pillow would find the small preview, and take it for the photo.
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw"),
)
MAX_PIXELS = 89_478_485  # Pillow's own limit, a quarter GiB of RGB, from which on it warns

_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_DEEP = (*_SIXTEEN_BITS, "I", "F")
_NONSENSE = (TypeError, LookupError, ArithmeticError, struct.error, zlib.error)
# What Pillow raises for damaged data; MemoryError is not among them.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, *_NONSENSE)
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_ENVIRONMENT = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # says nothing about the file
_OTHERS = (  # first bytes (a regular expression) of what is taken for an image, and what it is
    (rb"%!PS|\xc5\xd0\xd3\xc6", "an EPS file; convert it to PNG"),
    (rb"8BPS", "a Photoshop file; convert it to PNG"),
    (rb"\s*<svg|\s*<\?xml.*<svg", "an SVG file; convert it to PNG"),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL", "a JPEG XL file; convert it to PNG or JPEG"),
    (rb"%PDF", "a PDF file, not an image"),
    (rb"\x1f\x8b|PK\x03\x04", "a compressed archive; unpack it"),
)


class BadImage(ValueError):
    """An image cannot be read; the message is a few words that go on from its name: "is truncated"."""


class Inspected(NamedTuple):
    """An image, and what in its file the pixels do not show.

    Args:
        pixels: uint8 of shape (H, W, 3).
        deep: Its grey values have more than 8 bits: `transformers.pipeline` sees other pixels.
        transparent: It has pixels that are not opaque.
        frames: It is an animation, or has several pages. The second image within a phone's photo (MPO,
            HEIC) does not count: it is for the phone.
    """

    pixels: np.ndarray
    deep: bool
    transparent: bool
    frames: bool


def decode(source: bytes | str, background: str | None = None) -> np.ndarray:
    """Decodes an image.

    Args:
        source: The encoded bytes, or the path of a file.
        background: The colour behind transparent pixels, as Pillow names it; None: alpha is dropped, which
            shows the colours that the file stores for them.

    Returns:
        RGB pixels, uint8 of shape (H, W, 3), in an array of its own.

    Raises:
        BadImage: It cannot be read, or has more than `MAX_PIXELS` pixels.
    """
    with _opened(source) as image:
        return _rgb(image, _alpha(image) if background else None, background)


def inspect(source: bytes | str, background: str | None = None) -> Inspected:
    """Decodes an image as `decode` does, and looks at what else its file holds.

    Raises:
        BadImage: It cannot be read, or has more than `MAX_PIXELS` pixels.
    """
    with _opened(source) as image:
        alpha = _alpha(image)
        transparent = alpha is not None and bool(np.asarray(alpha).min() < 255)
        pixels = _rgb(image, alpha, background)
        deep = image.mode in _DEEP and _is_cut_off(image)
        return Inspected(pixels, deep, transparent, _has_frames(image))  # the last: it may seek


@contextmanager
def _opened(source: bytes | str) -> Iterator[Image.Image]:
    """Opens an image upright; whatever goes wrong with it, now or in the block, is a `BadImage`."""
    data = source if isinstance(source, bytes) else read_file(source)
    if not data:
        raise BadImage("is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            _check_size(image.width * image.height)
            ImageOps.exif_transpose(image, in_place=True)
            yield image
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage(_what_it_is(data)) from None
    except _BOMBS as error:
        _check_size(max(int(number) for number in re.findall("[0-9]+", str(error))))
        raise BadImage(f"is damaged: {first_line(error)}") from None
    except _DAMAGE as error:
        raise BadImage(_damage(error)) from None


def read_file(path: str) -> bytes:
    """Returns the bytes of a file.

    Raises:
        BadImage: It cannot be read.
    """
    try:
        if stat.S_ISREG(os.stat(path).st_mode):  # a pipe would never end
            with open(path, "rb") as file:
                return file.read()
    except OSError as error:
        if error.errno in _ENVIRONMENT:
            raise
        raise BadImage(_why_unreadable(path, error)) from None
    except ValueError:  # NUL, or a lone surrogate: json can hold both, names of files cannot
        raise BadImage("does not exist") from None
    raise BadImage("is a folder" if os.path.isdir(path) else "is not a file")


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
        raise BadImage(f"has {pixels:,} pixels, more than {MAX_PIXELS:,}; shrink it")


def _rgb(image: Image.Image, alpha: Image.Image | None, background: str | None) -> np.ndarray:
    if image.mode in _DEEP:
        values = np.asarray(image)
        limits = (0, 65535) if image.mode in _SIXTEEN_BITS else _value_range(values)
        pixels = np.repeat(_scale(values, *limits)[:, :, None], 3, axis=2)  # (H, W, 3)
    else:
        image.info.pop("transparency", None)  # it does not change RGB values, and bytes make Pillow warn
        pixels = np.array(image.convert("RGB"))
    if alpha is None or background is None:
        return pixels
    drawn = Image.fromarray(pixels)
    drawn.putalpha(alpha)
    return np.array(Image.alpha_composite(Image.new("RGBA", image.size, background), drawn).convert("RGB"))


def _alpha(image: Image.Image) -> Image.Image | None:
    """Returns how opaque each pixel is, 0 to 255, of mode L; None where the file does not say."""
    if not image.has_transparency_data or image.mode in ("I", "F"):
        return None
    if image.mode in _SIXTEEN_BITS:  # Pillow does not convert these
        opaque = np.asarray(image) != image.info["transparency"]
        return Image.fromarray(np.where(opaque, 255, 0).astype(np.uint8))
    return (image if "A" in image.getbands() else image.convert("RGBA")).getchannel("A")


def _is_cut_off(image: Image.Image) -> bool:
    """Tells whether Pillow alone makes other pixels of grey values of more than 8 bits."""
    try:
        theirs = np.asarray(image.convert("RGB"))
    except ValueError:  # or none
        return True
    return bool(np.abs(_rgb(image, None, None) - theirs.astype(np.int16)).max() > 1)


def _has_frames(image: Image.Image) -> bool:
    try:
        return image.format not in ("MPO", "HEIF") and getattr(image, "is_animated", False)
    except _DAMAGE:  # of a second frame
        return True


def _value_range(values: np.ndarray) -> tuple[float, float]:
    """Returns what is black and what is white in grey values that do not say so (32 bits, floats).

    The smallest usual range that holds them all: 0 to 1 (floats only), 255 or 65535. Other values are
    stretched between their own least and greatest.
    """
    if not np.isfinite(values).all():
        raise BadImage("has values that are infinite or not a number")
    low, high = float(values.min()), float(values.max())
    usual = (1, 255, 65535) if values.dtype.kind == "f" else (255, 65535)
    fitting = [(0.0, float(top)) for top in usual if low >= 0 and high <= top]
    return fitting[0] if fitting else (low, max(high, low + 1))


def _scale(values: np.ndarray, black: float, white: float) -> np.ndarray:
    shifted = values.astype(np.float32) - np.float32(black)
    return np.rint(shifted * np.float32(255 / (white - black))).clip(0, 255).astype(np.uint8)


@cache
def _formats() -> tuple[str, ...]:
    """Returns the formats that can be read here; HEIC needs a decoder of its own."""
    try:
        from pi_heif import register_heif_opener
    except ImportError:
        return FORMATS
    register_heif_opener()
    return (*FORMATS[:-1], "HEIF", FORMATS[-1])


def _what_it_is(data: bytes) -> str:
    """Says what bytes are that Pillow does not know."""
    head = data[:1024]
    if what := failed_download(head, "an image"):
        return f"is {what}"
    if "HEIF" not in _formats() and re.match(rb"....ftyp(hei|hev|mif|msf)", head, re.DOTALL):
        return "is a HEIC file; to read it: pip install 'hftune[image]'"
    for pattern, name in _OTHERS:
        if re.match(pattern, head, re.DOTALL | re.IGNORECASE):
            return f"is {name}"
    if not re.search(rb"[\x00-\x08\x0e-\x1f\x7f-\xff]", head):
        return "is a text file, not an image"
    for name in _formats():
        accepts = Image.OPEN[name][1]
        if accepts and accepts(head):
            article = "an" if name[0] in "AI" else "a"
            file = name.replace("HEIF", "HEIC")  # as phones call it
            return f"is {article} {file} file without a readable header; replace it"
    return f"is not an image of a known format ({', '.join(_formats())})"


def _damage(error: Exception) -> str:
    text = first_line(error)
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return "is truncated: its end is missing"
    if isinstance(error, _NONSENSE):  # says more about Pillow than about the image
        return "is damaged: its header or metadata make no sense"
    return f"is damaged: {text}"
