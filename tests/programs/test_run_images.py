"""Runs on images from flags to files, as a user meets them; and every bad image in one line."""

import csv
import io
import json
import os
import re
import struct
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from hftune.errors import HftuneError
from hftune.recipes import shapes
from hftune.storage.checkpoint import list_checkpoints
from hftune.training.log import read_log
from tests.data.image.test_splits import CLASSES, files_of, painted, png, write_class_folders, write_list
from tests.forked import run_python
from tests.runs import run_recipe

pytestmark = pytest.mark.usefixtures("quick_disk")
ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
SMALL = {  # four steps of a tiny network
    "config_overrides": "width=4",
    "image_size": 16,
    "max_steps": 4,
    "per_device_train_batch_size": 8,
    "save_strategy": "steps",
    "save_steps": 4,
    "eval_strategy": "steps",
    "eval_steps": 4,
    "bf16": "false",
    "train_dir": "pets/train",
    "test_dir": "pets/test",
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with pets/train (5 of each class) and pets/test (3 of each)."""
    monkeypatch.chdir(tmp_path)
    write_class_folders(tmp_path / "pets/train", 5)
    write_class_folders(tmp_path / "pets/test", 3, "test")
    return tmp_path


def small(**changes) -> list:
    """Returns the flags of a small run; a change of None leaves the flag out."""
    given = {name: value for name, value in (SMALL | changes).items() if value is not None}
    return [part for name, value in given.items() for part in (f"--{name}", value)]


def refused(flags: list, capsys, recipe=shapes.recipe, code: int = 2) -> list[str]:
    """Runs what must end before the first step; returns the error's lines."""
    run = Path("run")
    with pytest.raises(HftuneError) as ending:
        run_recipe(recipe, flags, run)
    said = capsys.readouterr().err
    lines = said.strip().splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith("error: ")]
    assert ending.value.exit_code == code, said
    assert len(starts) == 1, said
    assert "Traceback" not in said
    error = lines[starts[0] :]
    assert all(line.startswith("  - ") for line in error[1:]), said
    assert len(error) <= 6
    if run.is_dir():
        assert json.loads((run / "exit.json").read_text())["code"] == code
        assert not list_checkpoints(run)
        assert not (run / "log.jsonl").exists() or not read_log(run / "log.jsonl")
    return error


# --- images of every kind ---


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def a_image(side: int = 24) -> Image.Image:
    """Smooth, so that a lossy format and another resizing change little."""
    ramp = np.linspace(0, 255, side)
    pixels = np.stack([*np.meshgrid(ramp, ramp), np.full((side, side), 90.0)], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(a_image().resize((40, 24)), "JPEG", exif=exif)


def animated() -> bytes:
    frames = [Image.fromarray(painted(label, 3)) for label in CLASSES]
    return saved(frames[0], "GIF", save_all=True, append_images=frames[1:])


def translucent() -> bytes:
    image = a_image().convert("RGBA")
    image.putalpha(Image.fromarray(np.asarray(a_image())[..., 0]))
    return saved(image, "PNG")


def sixteen_bits() -> bytes:
    return saved(Image.fromarray((np.asarray(a_image())[..., 0].astype(np.uint16)) * 257), "PNG")


ODD: dict[str, Callable[[], bytes]] = {  # valid images, by the name of a file that holds one
    "grey.png": lambda: saved(a_image().convert("L"), "PNG"),
    "black and white.png": lambda: saved(a_image().convert("1"), "PNG"),
    "grey with alpha.png": lambda: saved(a_image().convert("LA"), "PNG"),
    "palette.png": lambda: saved(a_image().convert("P"), "PNG"),
    "palette with transparency.gif": lambda: saved(a_image().convert("P"), "GIF", transparency=0),
    "inks.jpg": lambda: saved(a_image().convert("CMYK"), "JPEG"),
    "alpha.PNG": translucent,
    "turned.jpeg": rotated,
    "animated.gif": animated,
    "really a png.jpg": lambda: saved(a_image(), "PNG"),
    "really a jpeg.bmp": lambda: saved(a_image(), "JPEG"),
    "one pixel.png": lambda: saved(a_image().resize((1, 1)), "PNG"),
    "strip.png": lambda: saved(a_image().resize((90, 3)), "PNG"),
    "lossy.webp": lambda: saved(a_image(), "WEBP"),
    "pages.tiff": lambda: saved(a_image(), "TIFF", save_all=True, append_images=[a_image()]),
}


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims a size."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def with_wrong_checksum() -> bytes:
    data = bytearray(saved(a_image(), "PNG", compress_level=0))
    data[data.index(b"IDAT") + 200] ^= 1
    return bytes(data)


BAD: dict[str, tuple[bytes, str]] = {  # a file's name, what it holds, what is said of it
    "empty.jpg": (b"", "is empty (0 bytes)"),
    "cut.jpg": (saved(a_image(64), "JPEG")[:-300], "is truncated: its end is missing"),
    "words.jpg": (b"an image is worth a thousand of them\n", "is a text file, not an image"),
    "page.jpg": (b"<!DOCTYPE html><title>404</title>", "is an HTML page, not an image"),
    "pointer.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
    "bomb.png": (claiming(20_000, 20_000), "has 400,000,000 pixels, more than 89,478,485"),
    "large.png": (claiming(10_000, 10_000), "has 100,000,000 pixels, more than 89,478,485"),
    "post.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "is an EPS file; convert it to PNG"),
    "layers.png": (b"8BPS\x00\x01" + bytes(40), "is a Photoshop file; convert it to PNG"),
    "drawing.png": (b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', "is an SVG file; convert it to PNG"),
    "checksum.png": (with_wrong_checksum(), "is damaged: "),
    "noise.webp": (bytes(range(1, 256)), "is not an image of a known format"),
    os.fsdecode(b"caf\xe9.jpg"): (b"tea", "is a text file, not an image"),
}


def named(place: str) -> str:
    """Returns a path as messages show it."""
    return place.replace("\udce9", r"\udce9")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_ends_in_one_line_before_training(name, here, capsys):
    data, reason = BAD[name]
    (here / "pets/train/green" / name).write_bytes(data)
    (line,) = refused(small(), capsys)
    assert line.startswith(f"error: pets/train/green/{named(name)} {reason}")
    assert line.endswith("; --skip_bad_images leaves such images out")


def test_many_bad_images_are_five_bullets(here, capsys):
    for number in range(9):
        (here / f"pets/test/red/bad {number}.png").write_bytes(b"")
    first, *bullets = refused(small(), capsys)
    assert "bad 0.png is empty" in first
    assert "(8 more cannot be read)" in first
    assert len(bullets) == 5
    assert bullets[-1] == "  - and 4 more"


def lay(*paths: str) -> Callable[[], None]:
    def make() -> None:
        for path in map(Path, paths):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(painted("red", 1)))

    return make


def empty(*folders: str) -> Callable[[], None]:
    def make() -> None:
        for folder in folders:
            for path in sorted(Path(folder).rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()

    return make


def link(path: str, target: str) -> Callable[[], None]:
    return lambda: Path(path).symlink_to(target)


def only_red() -> None:
    for label in ("green", "blue"):
        for split in ("train", "test"):
            empty(f"pets/{split}/{label}")()
            Path(f"pets/{split}/{label}").rmdir()


def no_classes() -> None:
    empty("pets/train")()
    lay("pets/train/1.png", "pets/train/2.png")()


def lose(split: str) -> Callable[[], None]:
    def make() -> None:
        empty(f"pets/{split}/red")()
        Path(f"pets/{split}/red").rmdir()

    return make


# What is wrong with the folders, how it comes about, and what the line says.
BAD_FOLDERS: list[tuple[str, Callable[[], None], str]] = [
    ("an empty folder", empty("pets/train"), "pets/train is empty"),
    (
        "an empty class",
        empty("pets/train/green"),
        "pets/train has no images of the class 'green', which pets",
    ),
    ("one class", only_red, "every row has the label 'red'"),
    ("no class folders", no_classes, "pets/train holds images (1.png, ...) but no folders"),
    ("a class only in test", lay("pets/test/cow/1.png"), "pets/train has no images of the class 'cow', whi"),
    ("a class that train lacks", lose("train"), "pets/train has no images of the class 'red', wh"),
    ("an SVG", lay("pets/train/red/1.svg"), "pets/train/red/1.svg: images of the format .svg are not read"),
    ("an EPS", lay("pets/test/red/1.eps"), "pets/test/red/1.eps: images of the format .eps are not read"),
    ("a PSD", lay("pets/train/red/1.PSD"), "pets/train/red/1.PSD: images of the format .psd are not read"),
    (
        "a broken link",
        link("pets/train/red/l.png", "no.png"),
        "pets/train/red/l.png is a link to a file",
    ),
    ("a link to itself", link("pets/train/red/l.png", "l.png"), "pets/train/red/l.png is a link that leads"),
    ("a circle of folders", link("pets/train/red/l", ".."), "pets/train/red/l is a link to a folder that it"),
    ("a broken class link", link("pets/train/cow", "no"), "pets/train/cow is a broken link"),
    ("case of classes", lay("pets/train/RED/1.png"), "two classes that differ only by case"),
    ("a missing folder", lambda: Path("pets/train").rename("pets/Train2"), "pets/train: no such folder; did"),
]


@pytest.mark.parametrize(
    ("make", "message"), [case[1:] for case in BAD_FOLDERS], ids=[case[0] for case in BAD_FOLDERS]
)
def test_a_bad_folder_ends_in_one_line_before_training(make, message, here, capsys):
    make()
    error = refused(small(), capsys)
    assert message in error[0]


def test_a_file_without_permission_is_named(here, capsys):
    is_root = os.geteuid() == 0
    path = Path("pets/train/red/10.png")
    here.chmod(0o755)
    path.chmod(0)

    def load_data(settings):
        try:
            if is_root:
                os.seteuid(65534)  # root may read everything
            return shapes.recipe.load_data(settings)
        finally:
            if is_root:
                os.seteuid(0)

    (line,) = refused(small(), capsys, replace(shapes.recipe, load_data=load_data))
    assert line.startswith(f"error: {path} cannot be opened: no permission")


def test_a_file_that_vanishes_during_training_is_named(here, capsys, monkeypatch):
    """Images that do not fit in memory are read again and again."""
    monkeypatch.setattr("hftune.data.image.splits.memory_budget", lambda: 0)

    def vanish(steps, model):
        if steps == 1:
            for path, _ in files_of(here / "pets/train"):
                path.unlink()

    with pytest.raises(HftuneError) as ending:
        run_recipe(shapes.recipe.replace(after_step=vanish), small(), here / "run")
    assert ending.value.exit_code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert re.match(
        r"error: pets/train/\w+/\d\d\.png does not exist; it could be read when the run began", line
    )


def test_skipping_bad_images_loses_nothing_else(here, capsys):
    for split in ("train", "test"):
        for name, (data, _) in BAD.items():
            (here / f"pets/{split}/green" / name).write_bytes(data)
    results = run_recipe(shapes.recipe, small(skip_bad_images="true"), here / "run", figures=True)
    shown = capsys.readouterr().out
    for split, good in (("train", 15), ("test", 9)):
        (line,) = [line for line in shown.splitlines() if f"pets/{split}: {len(BAD)} of" in line]
        assert f"{len(BAD)} of {good + len(BAD)} images cannot be read and are left out" in line
        assert "(the first: pets/" in line
    assert results["train_samples"] + results["validation_samples"] == 15
    assert results["test_samples"] == 9
    assert len(read_predictions(here / "run")) == 9
    assert results["train_loss"] > 0


# --- whole runs ---


def read_predictions(run: Path) -> list[dict[str, str]]:
    with (run / "test_predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


ANSWER = """
import json, sys
from transformers import pipeline
run, *files = sys.argv[1:]
classify = pipeline("image-classification", run, trust_remote_code=True, top_k=None)
answers = [{answer["label"]: answer["score"] for answer in classify(file)} for file in files]
print(json.dumps(answers))
assert not any(name.split(".")[0] == "hftune" for name in sys.modules)
"""


def ask_pipeline(run: Path, files: list[Path], cwd: Path) -> list[dict[str, float]]:
    """Asks transformers alone, in a process and a folder where nothing of hftune can be found."""
    done = run_python(["-P", "-c", ANSWER, run, *files], cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_odd_images_train_and_the_result_is_what_the_pipeline_gives(here, capsys):
    for split in ("train", "test"):
        for name, make in ODD.items():
            (here / f"pets/{split}/blue" / name).write_bytes(make())
    # 16 bits: Pillow, and so the pipeline, makes almost all of them white; hftune does not
    (here / "pets/train/red/deep.png").write_bytes(sixteen_bits())
    for name in (".hidden.png", "Thumbs.db", "notes.txt"):
        (here / "pets/train/red" / name).write_bytes(b"no image")
    (here / "pets/train/red" / os.fsdecode(b"th\xe9.png")).write_bytes(png(painted("red", 20)))
    results = run_recipe(shapes.recipe, small(), here / "run", figures=True)
    shown = capsys.readouterr().out
    names = {path.name for path in (here / "run").iterdir()}
    assert names >= {
        *("config.json", "model.safetensors", "preprocessor_config.json", "resnet9.py", "run.json"),
        *("confusion.png", "mistakes.png", "curve.png", "test_predictions.csv", "all_results.json"),
        *("exit.json", "log.jsonl", "checkpoint-4"),
    }
    for name in ("confusion.png", "mistakes.png", "curve.png"):
        with Image.open(here / "run" / name) as drawn:
            assert min(drawn.size) > 200
    assert json.loads((here / "run/exit.json").read_text())["code"] == 0
    assert json.loads((here / "run/all_results.json").read_text()) == results
    assert results["train_samples"] + results["validation_samples"] == 15 + len(ODD) + 2
    assert results["test_samples"] == 9 + len(ODD)
    assert "1 file left out, no images by their extensions (the first: pets/train/red/notes.txt)" in shown
    assert 0 <= results["test_thumbnails_accuracy"] <= 1
    files = [path for path, _ in files_of(here / "pets/test")]
    written = read_predictions(here / "run")
    assert len(files) == len(written) == 9 + len(ODD)
    (here / "away").mkdir()
    answers = ask_pipeline(here / "run", files, here / "away")
    for path, row, answer in zip(files, written, answers, strict=True):
        assert row["label"] == path.parent.name
        for label, probability in answer.items():
            assert float(row[label]) == pytest.approx(probability, abs=1e-5), path.name
    assert len({row["red"] for row in written}) > 9  # the model tells images apart


def test_the_same_command_again_trains_nothing(here, capsys):
    flags = small(baselines="false")
    first = run_recipe(shapes.recipe, flags, here / "run")
    written = (here / "run/model.safetensors").stat().st_mtime_ns
    assert run_recipe(shapes.recipe, flags, here / "run") == first
    assert (here / "run/model.safetensors").stat().st_mtime_ns == written
    assert "finished" in capsys.readouterr().out


def test_other_images_do_not_continue_a_run(here, capsys):
    flags = small(baselines="false", save_steps=2)

    def stop(steps, model):
        if steps == 2:
            raise KeyboardInterrupt

    recipe = shapes.recipe.replace(after_step=stop)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, flags, here / "run")
    (here / "pets/train/red/10.png").write_bytes(png(painted("red", 40)))
    with pytest.raises(HftuneError) as ending:
        run_recipe(recipe, flags, here / "run")
    assert ending.value.exit_code == 2
    assert "holds a run on other data" in capsys.readouterr().err


def test_flags_for_blends_mirrors_weights_and_validation_images(here):
    write_class_folders(here / "pets/val", 2, "validation")
    flags = small(train_dir=None, test_dir=None, dataset_name="pets", mixup=0.2, cutmix=1)
    more = ["--test_time_augmentation", "--augmentation", "strong", "--eval_image_size", 24]
    results = run_recipe(shapes.recipe, [*flags, *more], here / "run", figures=True)
    assert results["validation_samples"] == 6
    assert "test_mirrored_accuracy_low" in results


def test_without_test_images_there_are_no_test_scores(here, capsys):
    results = run_recipe(shapes.recipe, small(test_dir=None), here / "run", figures=True)
    assert "no labelled test split: there will be no test scores" in capsys.readouterr().out
    assert not any(name.startswith("test_") for name in results)
    assert results["eval_loss"] > 0
    names = {path.name for path in (here / "run").iterdir()}
    assert names >= {"config.json", "model.safetensors", "preprocessor_config.json", "curve.png"}
    assert not names & {"test_predictions.csv", "confusion.png", "mistakes.png"}
    assert "pipeline_tag: image-classification" in (here / "run/README.md").read_text()


# --- flags that cannot be met ---

TIMM = {"model_type": "resnet18", "config_overrides": None}
NO_DATA = {"train_dir": None, "test_dir": None}
BAD_FLAGS: list[tuple[dict, str]] = [
    ({"augmentation": "stong"}, "got 'stong'; did you mean strong?"),
    ({"model_type": "resnt9"}, "did you mean resnet9?"),
    (TIMM | {"model_type": "mobilnetv2_100"}, "did you mean mobilenetv2_100?"),
    (
        {"model_type": "vit", "config_overrides": "num_hidden_layers=1", "image_size": 8},
        "--image_size 8: vit cuts an image into patches of 16 x 16 pixels",
    ),
    ({"image_size": 4}, "--image_size 4: must be at least 8"),
    ({"eval_image_size": 4}, "--eval_image_size 4: must be at least 8"),
    ({"image_size": "big"}, "--image_size"),
    ({"config_overrides": "widht=4"}, "did you mean width?"),
    ({"config_overrides": "width=-4"}, "--config_overrides width=-4"),
    ({"model_type": "vit", "config_overrides": "patch_size=0"}, "--config_overrides patch_size=0"),
    (TIMM | {"config_overrides": "depth=4"}, "--config_overrides depth=4"),
    ({"max_train_samples": 1}, "--max_train_samples 1: rows of one class are left"),
    (TIMM | {"checkpoint_path": "w.pth"}, "--checkpoint_path w.pth is not a safetensors file"),
    (TIMM | {"checkpoint_path": "no.safetensors"}, "--checkpoint_path no.safetensors: No such file"),
    (TIMM | {"checkpoint_path": "w.safetensors"}, "does not fit --model_type resnet18"),
    ({"checkpoint_path": "w.safetensors"}, "--model_type resnet9 is no architecture of timm"),
    ({"mixup": 0.2, "class_weight": "balanced"}, "--class_weight and --mixup contradict each other"),
    ({"cutmix": 1, "class_weight": "1,2,3"}, "--class_weight and --cutmix contradict each other"),
    ({"class_weight": "1,2"}, "--class_weight"),
    ({"freeze": "backbone"}, "--freeze backbone: ResNet9ForImageClassification has no backbone"),
    ({"freeze": "."}, "--freeze .: nothing is left to train"),
    ({"dataset_name": "pets"}, "--train_dir and --dataset_name contradict each other"),
    ({"train_file": "list.csv"}, "--train_dir and --train_file contradict each other"),
    ({"train_dir": None}, "--test_dir needs --train_dir"),
    ({"image_mean": "0.5,0.5"}, "--image_mean 0.5,0.5: must be one number or three"),
    ({"image_std": 0}, "--image_std 0: must be above 0"),
    ({"train_dri": "pets"}, "did you mean --train_dir?"),
    ({"max_length": 128}, "--max_length"),
    ({"metric_for_best_model": "acuracy"}, "unknown metric 'acuracy': did you mean 'accuracy'?"),
    (NO_DATA | {"train_file": "list.csv"}, "list.csv line 3 (pets/no.png) does not exist"),
    (NO_DATA | {"dataset_name": "./pests"}, "./pests"),
    (NO_DATA | {"dataset_name": "pets/train/red"}, "pets/train/red"),
    (NO_DATA | {"dataset_name": "sample", "image_column_name": "picture"}, "has no column 'picture'"),
]


@pytest.mark.parametrize(
    ("changes", "message"), BAD_FLAGS, ids=[f"{message:.40}" for _, message in BAD_FLAGS]
)
def test_flags_that_cannot_be_met_end_in_one_line(changes, message, here, capsys):
    if "resnet18" in str(changes) or "mobil" in str(changes):
        pytest.importorskip("timm")
    torch.save({"weight": torch.ones(3)}, "w.pth")
    save_file({"weight": torch.ones(3)}, "w.safetensors")
    write_list(here / "list.csv", [("pets/train/red/10.png", "red"), ("pets/no.png", "blue")])
    assert message in refused(small(**changes), capsys)[0]


def test_a_recipe_without_a_model_says_what_to_pass(here, capsys):
    recipe = shapes.recipe.replace(model_type=None, config_overrides=None)
    (line,) = refused(small(config_overrides=None), capsys, recipe)
    assert line.startswith("error: no model: pass --model_name_or_path")


# --- waiting for data ---


@pytest.mark.parametrize("slow", [True, False])
def test_waiting_for_slow_rows_is_told(slow, here, capsys):
    def load_data(settings):
        data = shapes.recipe.load_data(settings)
        view = data.train.view

        def slow_view(image, row):
            time.sleep(0.01)
            return view(image, row)

        if slow:
            data.train.view = slow_view
        return data

    def after_step(steps, model):  # a model that takes longer than an image of 20 pixels
        time.sleep(0 if slow else 0.03)

    recipe = replace(shapes.recipe, load_data=load_data, after_step=after_step)
    flags = small(
        max_steps=30, save_steps=30, eval_steps=30, per_device_train_batch_size=2, baselines="false"
    )
    run_recipe(recipe, flags, here / "run")
    shown = capsys.readouterr().out
    assert ("goes into waiting for data: try --dataloader_num_workers 2 (now 0)" in shown) == slow


# --- real images and a real model ---


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "hub").is_dir(), reason="no loopback Hub beside the project")
@pytest.mark.every_kind
def test_hot_dogs_by_their_ids_on_a_hub(tmp_path):
    pytest.importorskip("timm")
    sys.path.insert(0, str(SHARED / "hub"))
    try:
        from hub import Hub
    finally:
        sys.path.remove(str(SHARED / "hub"))
    from hftune.recipes import hotdog

    model = "timm/mobilenetv2_100.ra_in1k"
    repos = {
        f"datasets/{hotdog.recipe.settings.dataset_name}": str(SHARED / "data/hot_dog_not_hot_dog"),
        f"models/{model}": str(SHARED / "models/mobilenetv2_100"),
    }
    mapping = tmp_path / "mapping.json"
    mapping.write_text(json.dumps({"repos": repos}))
    flags = ["--max_steps", "2", "--max_eval_samples", "16", "--image_size", "64", "--bf16", "false"]
    flags += [
        "--per_device_train_batch_size",
        "4",
        "--baselines",
        "false",
        "--output_dir",
        str(tmp_path / "run"),
    ]
    with Hub(str(tmp_path / "root"), str(mapping)) as hub:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        variables = {**inherited, **hub.env(token=None, home=tmp_path / "home")}
        done = run_python([ROOT / "recipes/hotdog.py", *flags], env=variables)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run/all_results.json").read_text())
    assert results["train_samples"] + 25 == 498  # one in twenty is kept for validation
    assert results["test_samples"] == 16
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert config["architecture"] == "mobilenetv2_100"
    assert load_file(tmp_path / "run/model.safetensors")["classifier.weight"].shape == (2, 1280)
