"""Every image of a split is read once: bad ones are named or left out, good ones held or read again."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from hftune.data.image import images as images
from hftune.data.image.decode import decode
from hftune.data.image.images import Images, check_images, memory_budget
from hftune.data.tables.read import Table
from hftune.errors import BadInput
from tests.data.image.test_decode import JPEG, PNG, animation, encode, noise


def make_files(folder: Path) -> None:
    (folder / "folder.jpg").mkdir()
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    os.mkfifo(folder / "pipe.jpg")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nothing.jpg", "does not exist"),  # such as a metadata.csv may name
        ("nothing.jpg/inside.jpg", "does not exist"),
        ("folder.jpg", "is a folder"),
        ("gone.jpg", "is a link to a file that does not exist"),
        ("loop.jpg", "is a link that leads back to itself"),
        ("pipe.jpg", "is not a file"),
        ("x" * 300 + ".jpg", "cannot be opened: File name too long"),
        ("https://example.org/x.jpg", "is an address, not a file; download it"),
        ("\ud800.jpg", "does not exist"),
        ("nul\0.jpg", "does not exist"),
    ],
)
def test_what_is_no_file_is_named(path, reason, tmp_path):
    make_files(tmp_path)
    table = Table("list.jsonl", {"image": [path, None], "label": [0, 0]}, lines=[1, 2])
    with pytest.raises(BadInput) as caught:
        check_images(table, "image", folder=str(tmp_path), skip_bad=True, room=0)
    shown = path.replace("\ud800", r"\ud800").replace("\0", r"\x00")
    assert f"none of its 2 images can be read; list.jsonl line 1 ({shown}) {reason}" in str(caught.value)
    assert "list.jsonl line 2 has no image" in str(caught.value)
    str(caught.value).encode()  # prints on any terminal


def hub_table(*values: dict | None) -> Table:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return Table(
        "owner/set train",
        {"image": pa.chunked_array([pa.array(values[:1], kind), pa.array(values[1:], kind)])},
    )


def test_bytes_and_paths_are_read_alike(tmp_path):
    (tmp_path / "x.jpg").write_bytes(JPEG)
    table = hub_table({"bytes": PNG, "path": "named.png"}, {"bytes": None, "path": "x.jpg"})
    checked = check_images(table, "image", folder=str(tmp_path), skip_bad=False, room=1 << 20)
    assert checked.rows.tolist() == [0, 1]
    assert checked.digests.to_pylist() == [hashlib.sha256(data).hexdigest() for data in (PNG, JPEG)]
    assert [checked.images.encoded(row) for row in (0, 1)] == [PNG, JPEG]
    np.testing.assert_array_equal(checked.images[0], noise())
    np.testing.assert_array_equal(checked.images[1], decode(JPEG))
    assert checked.images.place(0) == "owner/set train row 0 (named.png)"
    assert checked.warnings == []


def test_a_bad_hub_row_is_named():
    table = hub_table(
        {"bytes": PNG, "path": None}, {"bytes": b"", "path": None}, {"bytes": None, "path": None}, None
    )
    with pytest.raises(BadInput) as caught:
        check_images(table, "image", folder=None, skip_bad=False, room=0)
    assert str(caught.value).splitlines() == [
        "owner/set train row 1 is empty (0 bytes) (2 more cannot be read); --skip_bad_images leaves such "
        "images out",
        "  - owner/set train row 2 has no image",
        "  - owner/set train row 3 has no image",
    ]


def test_values_that_are_no_images_are_named():
    table = Table("x.jsonl", {"image": [{"bytes": PNG}, 5, {"bytes": "text"}]}, lines=[1, 2, 3])
    with pytest.raises(BadInput, match=r"x.jsonl line 2 has 5 where an image or a path should be"):
        check_images(table, "image", folder=None, skip_bad=False, room=0)


def test_bad_images_are_left_out_when_asked():
    bad = Table("x.parquet", {"image": [b"cut", PNG, JPEG[:300], JPEG]})
    checked = check_images(bad, "image", folder=None, skip_bad=True, room=1 << 20)
    assert checked.rows.tolist() == [1, 3]
    assert len(checked.images) == len(checked.digests) == 2
    np.testing.assert_array_equal(checked.images[0], noise())
    assert checked.images.place(1) == checked.images.take(np.array([1])).place(0) == "x.parquet row 3"
    assert checked.warnings == [
        "x.parquet: 2 of 4 images cannot be read and are left out (the first: x.parquet row 0 is a text "
        "file, not an image)"
    ]


def test_images_that_may_not_be_seen_as_meant_are_told():
    clear = encode(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))
    deep = encode(np.full((4, 4), 300, np.uint16))
    table = Table("x.parquet", {"image": [PNG, deep, clear, b"cut", clear, animation("GIF")]})
    checked = check_images(table, "image", folder=None, skip_bad=True, room=0, trains=True)
    assert checked.facts == {"images_above_8_bits": 1, "images_with_transparency": 2}
    _, bits, clears, frames = checked.warnings
    assert bits.startswith("x.parquet: 1 of 5 images have more than 8 bits a channel: ")
    assert "save them with 8 bits (the first: x.parquet row 1)" in bits
    assert clears.startswith(
        "x.parquet: 2 of 5 images have transparent pixels: the colours that the files store"
    )
    assert "--transparent_background white" in clears
    assert clears.endswith("(the first: x.parquet row 2)")
    assert frames.startswith("x.parquet: 1 of 5 images have several frames or pages: the first is read")
    on_white = check_images(table, "image", folder=None, skip_bad=True, room=0, background="white")
    assert on_white.images[2].min() == on_white.images.take(np.array([2]))[0].min() == 255
    assert checked.images[2].max() == 0
    assert "put on white; `pipeline` does not" in on_white.warnings[2]
    assert not any("--" in line for line in on_white.warnings)  # no flags of a command that has none


def test_other_bytes_of_the_same_pixels_look_the_same():
    table = Table("x.parquet", {"image": [PNG, encode(noise(), "BMP"), JPEG, encode(noise()[::-1])]})
    checked = check_images(table, "image", folder=None, skip_bad=False, room=0)
    looks = checked.looks.to_pylist()
    assert looks[0] == looks[1]
    assert len(set(looks)) == 3
    assert len(set(checked.digests.to_pylist())) == 4


def test_files_whose_format_is_not_read_are_bad_images(tmp_path):
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.DNG").write_bytes(encode(noise(), "TIFF"))  # Pillow would read a preview
    table = Table("list", {"image": ["a.png", "b.DNG"]}, places=["a.png", "b.DNG"])
    checked = check_images(table, "image", folder=str(tmp_path), skip_bad=True, room=0)
    assert checked.rows.tolist() == [0]
    assert "b.DNG has the format .DNG, which is not read; convert it to PNG" in checked.warnings[0]


@pytest.mark.parametrize("room", [2 * noise().nbytes, 2 * noise().nbytes - 1])
def test_all_images_are_held_or_none(room, tmp_path):
    paths = [str(tmp_path / name) for name in ("a.png", "b.jpg")]
    for path, data in zip(paths, (PNG, JPEG), strict=True):
        Path(path).write_bytes(data)
    table = Table("data", {"image": paths}, places=["data/a.png", "data/b.jpg"])
    checked = check_images(table, "image", folder=None, skip_bad=False, room=room)
    fits = room >= 2 * noise().nbytes
    assert checked.bytes_held == (2 * noise().nbytes if fits else 0)
    chosen = checked.images.take(np.array([1]))
    Path(paths[1]).unlink()
    if fits:
        np.testing.assert_array_equal(chosen[0], decode(JPEG))
    else:
        with pytest.raises(
            BadInput, match=r"^data/b.jpg does not exist; it could be read when the run began"
        ):
            chosen[0]
        Path(paths[1]).write_bytes(JPEG[:300])
        with pytest.raises(
            BadInput, match=r"^data/b.jpg is truncated.*; it could be read when the run began"
        ):
            chosen[0]


def test_many_images_keep_their_order(monkeypatch):
    monkeypatch.setattr(images, "_BLOCK", 7)
    made = [encode(Image.new("L", (1 + row % 3, 2), row)) for row in range(100)]
    table = Table("x.parquet", {"image": pa.chunked_array([pa.array(made)])})
    checked = check_images(table, "image", folder=None, skip_bad=False, room=1 << 20)
    assert [int(checked.images[row][0, 0, 0]) for row in range(100)] == list(range(100))
    assert checked.digests.to_pylist() == [hashlib.sha256(data).hexdigest() for data in made]


def test_images_are_read_in_worker_processes():
    import torch

    table = Table("x.parquet", {"image": pa.chunked_array([pa.array([PNG, JPEG])])})
    rows = Images(table, "image", np.arange(2))
    loader = torch.utils.data.DataLoader(rows, batch_size=None, num_workers=2, collate_fn=lambda one: one)
    for image, data in zip(loader, (PNG, JPEG), strict=True):
        np.testing.assert_array_equal(image, decode(data))


def test_room_is_a_share_of_the_memory():
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory_budget() <= pages // 4
