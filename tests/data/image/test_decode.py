"""Odd images are read by a rule, and every kind of bad one ends in a line that names it."""

import base64
import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.image_utils import load_image

from hftune.data.image import decode as module
from hftune.data.image.decode import BadImage, decode, inspect
from hftune.data.image.images import check_images
from hftune.data.tables.read import read_table
from hftune.errors import BadInput

ROOT = Path(__file__).resolve().parents[3]
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
CORNERS = np.array([[RED, GREEN, BLUE], [WHITE, BLACK, RED]], dtype=np.uint8)  # 2 high, 3 wide


def encode(image: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def noise(height: int = 24, width: int = 32, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), dtype=np.uint8)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_of(width: int, height: int, rows: bytes = b"\0" * 100, header_bytes: int = 13) -> bytes:
    """A one-bit grey PNG with a header that claims a size and with whatever rows are given."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)[:header_bytes]
    packed = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + packed + chunk(b"IEND", b"")


def animation(kind: str) -> bytes:
    first, second = (Image.new("RGB", (4, 4), colour) for colour in (RED, BLUE))
    return encode(first, kind, save_all=True, append_images=[second], lossless=True)


def exif_with_a_word_for_a_number() -> bytes:
    """A JPEG that is to be turned, whose ImageWidth is the word "abc"."""
    entries = struct.pack(">HHI4sHHIHH", 0x0100, 2, 4, b"abc", 0x0112, 3, 1, 6, 0)
    return encode(noise(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + entries + bytes(4))


JPEG, PNG = encode(noise(), "JPEG"), encode(noise())


# --- odd images that are read ---


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_says_how_a_image_is_held(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = {
        1: CORNERS,
        2: CORNERS[:, ::-1],
        3: CORNERS[::-1, ::-1],
        4: CORNERS[::-1],
        5: CORNERS.swapaxes(0, 1),
        6: np.rot90(CORNERS, -1),
        7: np.rot90(CORNERS.swapaxes(0, 1), 2),
        8: np.rot90(CORNERS),
    }
    np.testing.assert_array_equal(decode(encode(CORNERS, exif=exif)), upright[orientation])


@pytest.mark.parametrize("value", [0, 1000, 32768, 65535])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled_not_cut_off(value, kind):
    grey = np.full((2, 3), value, dtype=np.uint16)
    assert decode(encode(grey, kind)) == pytest.approx(value / 65535 * 255, abs=0.51)
    big_endian = Image.frombytes("I;16B", (3, 2), grey.astype(">u2").tobytes())
    assert decode(encode(big_endian, "TIFF")) == pytest.approx(value / 65535 * 255, abs=0.51)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, 7.0, 200.0]], np.float32), [0, 7, 200]),
        (np.array([[0.0, 32768.0, 65535.0]], np.float32), [0, 128, 255]),
        (np.array([[-2.0, 0.0, 2.0]], np.float32), [0, 128, 255]),
        (np.array([[-3.0, -3.0]], np.float32), [0, 0]),
        (np.array([[0, 1, 200]], np.int32), [0, 1, 200]),
        (np.array([[0, 32768, 65535]], np.int32), [0, 128, 255]),
        (np.array([[0, 510_000, 1_000_000]], np.int32), [0, 130, 255]),
    ],
)
def test_grey_of_32_bits_is_scaled_into_8(values, expected):
    image = decode(encode(values, "TIFF"))
    assert image.dtype == np.uint8
    assert image.tolist() == [[[grey] * 3 for grey in expected]]


def test_float_grey_that_is_no_number_is_refused():
    with pytest.raises(BadImage, match="infinite or not a number"):
        decode(encode(np.array([[0.0, np.nan]], np.float32), "TIFF"))


def ordinary_images() -> dict[str, bytes]:
    rgb = Image.fromarray(noise())
    palette = rgb.quantize(8)
    alpha = Image.fromarray(noise(channels=4), "RGBA")
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "JPEG": encode(rgb, "JPEG"),
        "JPEG, grey": encode(rgb.convert("L"), "JPEG"),
        "JPEG, CMYK": encode(rgb.convert("CMYK"), "JPEG"),
        "JPEG, turned": encode(rgb, "JPEG", exif=exif),
        "PNG": encode(rgb),
        "PNG, 1 bit": encode(rgb.convert("1")),
        "PNG, RGBA": encode(alpha),
        "PNG, LA": encode(alpha.convert("LA")),
        "PNG, palette": encode(palette),
        "PNG, palette with alpha": encode(palette, transparency=bytes(range(0, 256, 32))),
        "PNG, palette with a hole": encode(palette, transparency=3),
        "PNG, colour that is a hole": encode(rgb, transparency=(1, 2, 3)),
        "GIF": encode(palette, "GIF", transparency=2),
        "GIF, animated": animation("GIF"),
        "PNG, animated": animation("PNG"),
        "WEBP": encode(rgb, "WEBP"),
        "WEBP, RGBA": encode(alpha, "WEBP"),
        "BMP": encode(rgb, "BMP"),
        "TIFF": encode(rgb, "TIFF"),
        "TIFF, CMYK": encode(rgb.convert("CMYK"), "TIFF"),
        "TIFF, two pages": animation("TIFF"),
        "TIFF, Lab": encode(Image.fromarray(noise(), "LAB"), "TIFF"),
        "AVIF": encode(rgb, "AVIF"),
        "AVIF, RGBA": encode(alpha, "AVIF"),
        "JPEG 2000": encode(rgb, "JPEG2000"),
        "JPEG 2000, RGBA": encode(alpha, "JPEG2000"),
        "MPO": encode(rgb, "MPO", save_all=True, append_images=[rgb]),
        "PPM": encode(rgb, "PPM"),
        "PGM": encode(rgb.convert("L"), "PPM"),
        "PBM": encode(rgb.convert("1"), "PPM"),
        "TGA": encode(rgb, "TGA"),
        "TGA, RGBA, packed": encode(alpha, "TGA", compression="tga_rle"),
        "ICO": encode(alpha, "ICO", sizes=[(16, 16), (24, 24)]),
    }


@pytest.mark.parametrize("name", ordinary_images())
def test_pixels_are_those_of_a_transformers_pipeline(name, tmp_path):
    data = ordinary_images()[name]
    path = str(tmp_path / "image")
    Path(path).write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(load_image(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # none of these is worth a line on the terminal
        image = decode(data)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(decode(path), image)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_counts(kind):
    np.testing.assert_allclose(decode(animation(kind))[2, 2], RED, atol=3)


def test_alpha_is_dropped_and_a_palette_looked_up():
    see_through = Image.fromarray(np.array([[[10, 20, 30, 0]]], np.uint8))
    assert decode(encode(see_through)).tolist() == [[[10, 20, 30]]]
    palette = Image.new("P", (1, 1), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    assert decode(encode(palette, "GIF")).tolist() == [[[9, 8, 7]]]
    cyan = Image.new("CMYK", (1, 1), (255, 0, 0, 0))
    assert decode(encode(cyan, "TIFF")).tolist() == [[[0, 255, 255]]]


def test_one_pixel_is_a_image_and_a_image_may_be_written_to():
    image = decode(encode(Image.new("L", (1, 1), 7)))
    image += 1
    assert image.tolist() == [[[8, 8, 8]]]


def test_the_content_decides_not_the_extension(tmp_path):
    (tmp_path / "x.jpg").write_bytes(PNG)
    np.testing.assert_array_equal(decode(str(tmp_path / "x.jpg")), noise())


def test_transparent_pixels_are_told_and_can_be_put_on_a_colour():
    half = np.array([[[255, 0, 0, 255], [10, 20, 30, 0]]], np.uint8)
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 10, 20, 30])
    palette.putpixel((1, 0), 1)
    rgb = Image.fromarray(half[..., :3])
    grey = Image.fromarray(np.array([[76, 10]], np.uint8))
    deep = np.array([[300, 2570]], np.uint16)
    for data in (
        encode(Image.fromarray(half)),
        encode(Image.fromarray(half), "WEBP", lossless=True, exact=True),
        encode(palette, transparency=1),
        encode(palette, "GIF", transparency=1),
        encode(rgb, transparency=(10, 20, 30)),
        encode(grey, transparency=10),
        encode(deep, transparency=2570),
    ):
        seen = inspect(data)
        assert seen.transparent
        np.testing.assert_array_equal(seen.pixels, decode(data))
        assert decode(data)[0, 1].max() <= 30
        assert decode(data, "white")[0, 1].tolist() == [255, 255, 255]
        assert inspect(data, "#0080ff").pixels[0, 1].tolist() == [0, 128, 255]
        np.testing.assert_array_equal(decode(data, "white")[0, 0], decode(data)[0, 0])
    opaque = np.array([[[255, 0, 0, 255], [10, 20, 30, 255]]], np.uint8)
    assert not inspect(encode(Image.fromarray(opaque))).transparent
    assert not inspect(encode(rgb)).transparent


def test_images_that_a_pipeline_cuts_off_are_told(tmp_path):
    values = np.array([[300, 40_000]])
    deep = [
        encode(values.astype(np.uint16)),
        encode(values.astype(np.uint16), "TIFF"),
        encode(values.astype(np.uint16), "PPM"),
        encode(Image.frombytes("I;16B", (2, 1), values.astype(">u2").tobytes()), "TIFF"),
        encode(values.astype(np.int32), "TIFF"),
        encode((values / 65535).astype(np.float32), "TIFF"),
    ]
    path = str(tmp_path / "x")
    for data in deep:
        Path(path).write_bytes(data)
        assert inspect(data).deep
        assert not np.array_equal(np.asarray(load_image(path)), decode(data))
    for same in (encode(noise()), encode(np.array([[3, 200]], np.int32), "TIFF")):
        assert not inspect(same).deep


@pytest.mark.parametrize(
    ("name", "several"),
    [
        (f"{kind}, {what}", what == "two")
        for kind in ("GIF", "PNG", "WEBP", "TIFF")
        for what in ("two", "one")
    ],
)
def test_files_of_several_frames_are_told(name, several):
    kind = name.split(",")[0]
    assert inspect(animation(kind) if several else encode(noise(), kind)).frames is several


def test_the_second_photo_of_a_phone_is_no_frame():
    photo = Image.fromarray(noise())
    assert not inspect(encode(photo, "MPO", save_all=True, append_images=[photo])).frames


# 16 x 16 pixels, left half red and right half blue
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAA"
    "AAAAACJpbG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAADwAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAA"
    "AA5waXRtAAAAAAABAAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNw"
    "AAADAJAAAAMAAAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPB"
    "iQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAEAAAAAEAAAAQAAAAAf///9AAAAAC"
    "////0AAAAAIAAAAQcGl4aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAARG1kYXQAAAA4KAGvEyF4YsDlMjb/"
    "gZPvXPrw1f2jiM6J/Dww16wpjT19a+4C+vJRpoB8x+jj2e4y+eekyy9Dz/A="
)


def test_heic_is_read_where_its_decoder_is_installed():
    pytest.importorskip("pi_heif")
    image = decode(HEIC)
    assert image.shape == (16, 16, 3)
    np.testing.assert_allclose(image[8, [2, 13]], [RED, BLUE], atol=4)
    with pytest.raises(BadImage, match=r"is truncated|is damaged|is a HEIC file without a readable header"):
        decode(HEIC[:400])


def test_heic_without_its_decoder_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    module._formats.cache_clear()
    try:
        with pytest.raises(BadImage, match=r"^is a HEIC file; to read it: pip install 'hftune\[image\]'$"):
            decode(HEIC)
    finally:
        module._formats.cache_clear()


# --- bad images ---

SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>'
BROKEN_CRC = PNG.replace(b"IHDR", b"IHDR", 1)[:29] + b"\0\0\0\0" + PNG[33:]
BROKEN_DATA = PNG[: len(PNG) // 2] + bytes(64) + PNG[len(PNG) // 2 + 64 :]
WEBP = encode(noise(), "WEBP", lossless=True)
DAMAGED_FRAME = WEBP[:26] + b"\xff" * (len(WEBP) - 26)
NONSENSE_EXIF = exif_with_a_word_for_a_number()
BAD = [  # what is wrong, bytes, what the reason says
    ("no bytes", b"", "is empty (0 bytes)"),
    ("truncated JPEG", JPEG[: len(JPEG) // 2], "is truncated"),
    ("truncated PNG", PNG[: len(PNG) // 2], "is truncated"),
    ("truncated GIF", encode(noise(), "GIF")[:900], "is truncated"),
    ("truncated BMP", encode(noise(), "BMP")[:900], "is truncated"),
    ("truncated WEBP", encode(noise(), "WEBP")[:300], "is damaged: could not create decoder"),
    ("JPEG, header alone", JPEG[:30], "is truncated"),
    ("PNG, header alone", PNG[:20], "is truncated"),
    ("PNG, checksum of the header", BROKEN_CRC, "is a PNG file without a readable header"),
    ("PNG, damaged data", BROKEN_DATA, "is damaged: "),
    ("PNG, damaged chunk", png_of(8, 8, b"")[:-12] + chunk(b"\x82DAT", b""), "is damaged: broken PNG file"),
    ("PNG, short header", png_of(8, 8, header_bytes=12), "is truncated"),
    ("WEBP, damaged frame", DAMAGED_FRAME, "is damaged: failed to read next frame"),
    ("EXIF, a word for a number", NONSENSE_EXIF, "is damaged: its header or metadata make no sense"),
    ("text", b"an image of a cat\n", "is a text file, not an image"),
    ("HTML", b"\n<!DOCTYPE html><html>404</html>", "is an HTML page, not an image"),
    ("LFS", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
    ("EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is an EPS file; convert it"),
    ("PSD", b"8BPS\0\1" + bytes(40), "is a Photoshop file; convert it"),
    ("SVG", SVG, "is an SVG file; convert it"),
    ("HEIC, header alone", b"\0\0\0\x18ftypheic" + bytes(40), "is a HEIC file"),
    ("AVIF, header alone", b"\0\0\0\x18ftypavif" + bytes(40), "is an AVIF file without a readable header"),
    ("truncated JPEG 2000", encode(noise(), "JPEG2000")[:300], "is damaged: broken data stream"),
    (
        "truncated ICO",
        encode(Image.fromarray(noise(32, 32)), "ICO")[:300],
        "is an ICO file without a readable header",
    ),
    ("truncated TGA", encode(noise(), "TGA")[:300], "is truncated"),
    ("truncated PPM", encode(noise(), "PPM")[:300], "is truncated"),
    ("gzip", b"\x1f\x8b\x08" + bytes(40), "is a compressed archive"),
    ("random", bytes(range(256)), "is not an image of a known format (JPEG, PNG, GIF"),
    (
        "between limit and bomb",
        png_of(10_000, 10_000),
        "has 100,000,000 pixels, more than 89,478,485; shrink",
    ),
    ("bomb", png_of(100_000, 100_000), "has 10,000,000,000 pixels, more than 89,478,485; shrink it"),
]


@pytest.mark.parametrize(("data", "reason"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_images_have_a_reason_and_a_place(data, reason, tmp_path, monkeypatch, recwarn):
    monkeypatch.chdir(tmp_path)
    Path("bad.jpg").write_bytes(data)
    Path("good.jpg").write_bytes(JPEG)
    Path("train.csv").write_text("image,label\ngood.jpg,a\nbad.jpg,b\n")
    table = read_table("train.csv")
    with pytest.raises(BadInput) as caught:
        check_images(table, "image", folder=None, skip_bad=False, room=0)
    message = caught.value.message
    assert message.startswith("train.csv line 3 (bad.jpg) " + reason)
    assert message.endswith("; --skip_bad_images leaves such images out")
    assert "\n" not in message
    assert not recwarn.list
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what a cautious user sets
        with pytest.raises(BadImage) as direct:
            decode(data)
    assert str(direct.value).startswith(reason)


def test_a_wrong_checksum_over_right_pixels_is_no_reason():
    """Pillow, and so the pipeline, trusts the checksum of the pixels within, which zlib verifies."""
    start = PNG.index(b"IDAT") - 4
    end = start + 8 + struct.unpack(">I", PNG[start : start + 4])[0]
    np.testing.assert_array_equal(decode(PNG[:end] + b"\0\0\0\0" + PNG[end + 4 :]), noise())


def test_a_file_without_permission_is_named(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(PNG)
    decode(str(path))  # loads the plugins, which another user may not read either
    path.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(BadImage, match="cannot be opened: no permission"):
            decode(str(path))
    finally:
        if is_root:
            os.seteuid(0)


def test_too_many_open_files_are_not_the_images_fault(monkeypatch, tmp_path):
    (tmp_path / "x.png").write_bytes(PNG)

    def refuse(*arguments):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(OSError, match="Too many open files"):
        decode(str(tmp_path / "x.png"))


@settings(max_examples=400)
@given(data=st.data())
def test_damage_never_escapes_as_another_error(data):
    kinds = {
        "JPEG": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
        **{kind: {} for kind in ("PNG", "GIF", "WEBP", "BMP")},
        "TIFF": {"compression": "tiff_lzw"},
        **{kind: {} for kind in ("AVIF", "JPEG2000", "PPM", "ICO", "TGA")},
    }
    kind = data.draw(st.sampled_from(sorted(kinds)))
    encoded = bytearray(encode(noise(12, 16), kind, **kinds[kind]))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(encoded) - 1) | st.integers(0, 80))
        encoded[place : place + 1] = data.draw(st.binary(max_size=3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(BadImage):
            image = decode(bytes(encoded))
            assert image.dtype == np.uint8
            assert image.shape[2:] == (3,)


def test_a_bomb_is_refused_before_it_takes_memory(tmp_path):
    rows = b"\0" * (13_000 * 1626)  # all that 13,000 pixels square need, one bit each
    for side in (13_000, 100_000):
        (tmp_path / f"{side}.png").write_bytes(png_of(side, side, rows))
    code = """
import resource, sys
from hftune.data.image.decode import BadImage, decode
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        decode(path)
    except BadImage as reason:
        assert "pixels, more than 89,478,485" in str(reason), reason
    else:
        raise AssertionError(path)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, tmp_path.iterdir())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100_000  # KiB; the pixels of the smaller one would take 500,000
