"""Images with several labels: drawn ones, listed in a metadata file beside them, from folder to answer."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import pipeline

from hftune.data.image import sample
from hftune.recipes import shapes
from hftune.seed import generator
from tests.runs import run_recipe

NAMES = ("circle", "cross", "star")
SIZES = {"train": 60, "validation": 24, "test": 24}


def draw_several(names: list[str], address: tuple) -> np.ndarray:
    """Draws some shapes on one ground, uint8 (48, 48, 3)."""
    random = generator(*address)
    ground, paint = sample._colours(random)
    image = ground + sample._clouds(random, strength=50)
    for name in names:
        shape = sample._placed(random, sample.SHAPES[name], random.uniform(9, 13))
        image = sample._over(image, shape, paint)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A data set of images as the Hub has them: each split's metadata.jsonl has a list of labels a file."""
    root = tmp_path_factory.mktemp("several")
    for split, rows in SIZES.items():
        (root / split).mkdir()
        lines = []
        for row in range(rows):
            names = [name for place, name in enumerate(NAMES) if (row >> place) & 1]
            Image.fromarray(draw_several(names, ("several", split, row))).save(root / split / f"{row}.png")
            lines.append(json.dumps({"file_name": f"{row}.png", "labels": names}))
        (root / split / "metadata.jsonl").write_text("\n".join(lines))
    return root


def test_a_run_on_images_with_a_list_of_labels_and_its_model_in_plain_transformers(folder, tmp_path):
    flags = ["--dataset_name", folder, "--task", "multi_label", "--max_steps", 4, "--baselines", "true"]
    flags += ["--config_overrides", "width=4", "--per_device_train_batch_size", 16, "--bf16", "false"]
    run = tmp_path / "run"
    results = run_recipe(shapes.recipe, flags, run, figures=True)
    assert {"test_map", "test_f1_macro", "test_thumbnails_f1_macro", "test_class_star_f1"} <= results.keys()
    assert (run / "labels.png").is_file()
    code = next(
        part for part in (run / "README.md").read_text().split("```") if "thresholds = classify" in part
    )
    classify = pipeline("image-classification", str(run), trust_remote_code=True)
    rows = list(csv.DictReader((run / "test_predictions.csv").open()))
    expected = ["|".join(name for place, name in enumerate(NAMES) if (row >> place) & 1) for row in range(24)]
    assert [row["label"] for row in rows] == expected
    lines = code.removeprefix("python\n").replace('"photo.jpg"', "photo").replace("print(", "given = (")
    for number, row in enumerate(rows):
        known = {"classify": classify, "photo": Image.open(folder / f"test/{number}.png")}
        exec(lines, known)
        assert sorted(known["given"]) == sorted(filter(None, row["prediction"].split("|")))
        for one in known["answers"]:
            assert one["score"] == pytest.approx(float(row[one["label"]]), abs=1e-5)
