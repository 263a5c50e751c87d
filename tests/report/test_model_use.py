"""How to use a model: from its folder or from the Hub, with code of its own or without."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hftune.data.image.decode import decode
from hftune.report.model_use import how_to_use, use_line
from hftune.tasks.multi_label import MultiLabel
from hftune.tasks.single_label import SingleLabel

TASK = SingleLabel(("neg", "pos"))


def test_a_model_in_a_folder_is_never_asked_of_the_hub(tmp_path):
    said = how_to_use(tmp_path / "imdb", TASK, "text", {}, None)
    assert 'classify = pipeline("text-classification", "./imdb")' in said
    assert "Start Python in the folder that holds the model's own." in said
    assert "trust_remote_code" not in said


def test_a_published_model_is_named_as_the_hub_knows_it():
    said = how_to_use(Path("imdb"), TASK, "text", {}, "ann/films")
    assert 'pipeline("text-classification", "ann/films")' in said
    assert "Start Python" not in said


@pytest.mark.parametrize(
    ("modality", "config", "packages"),
    [
        ("text", {}, "transformers torch"),
        ("image", {}, "transformers torch torchvision pillow"),
        ("image", {"model_type": "timm_wrapper"}, "transformers torch torchvision pillow timm"),
    ],
)
def test_what_must_be_installed_is_what_the_model_needs(modality, config, packages):
    assert f"Needs `pip install {packages}`," in how_to_use(Path("x"), TASK, modality, config, "ann/x")


@pytest.mark.parametrize("colour", ["white", "#0080ff"])
def test_the_lines_for_transparent_images_make_what_the_model_was_trained_on(colour, tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), np.uint8)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pixels).save("icon.png")
    config = {"transparent_background": colour}
    said = how_to_use(Path("x"), TASK, "image", config, "ann/x")
    code = said.split("```python\n")[2].split("```")[0]
    seen = []
    exec(code, {"Image": Image, "classify": seen.append, "print": lambda _: None})
    np.testing.assert_array_equal(np.asarray(seen[0]), decode("icon.png", colour))
    assert "icon.png" not in how_to_use(Path("x"), TASK, "image", {"transparent_background": None}, "ann/x")


@pytest.mark.parametrize("task", [TASK, MultiLabel(("neg", "pos"), thresholds=(0.3, 0.6))])
def test_pairs_are_cut_as_in_training_wherever_a_call_is_shown(task):
    said = how_to_use(Path("x"), task, "text pair", {"truncation": "only_first"}, None)
    calls = re.findall(r"classify\(.*\)", said)
    assert len(calls) == (1 if task is TASK else 2)
    assert all('truncation="only_first"' in call for call in calls)
    assert "truncation=True" in how_to_use(
        Path("x"), task, "text pair", {"truncation": "longest_first"}, None
    )


def test_every_file_that_would_run_is_named_once():
    auto_map = {
        "AutoConfig": "textcnn.TextCNNConfig",
        "AutoModelForSequenceClassification": "textcnn.TextCNNForSequenceClassification",
        "AutoTokenizer": [None, "ann/words--tokenizer.WordTokenizer"],
    }
    said = how_to_use(Path("x"), TASK, "text", {"auto_map": auto_map}, "ann/x")
    assert "trust_remote_code=True)" in said
    assert "`trust_remote_code=True` runs `textcnn.py` and `tokenizer.py`, the model's source code." in said
    assert 'Adding `revision="COMMIT"` then pins' in said
    assert "pins" not in how_to_use(Path("x"), TASK, "text", {"auto_map": auto_map}, None)


def test_the_printed_line_cuts_long_texts_and_is_the_cards(tmp_path):
    config = {"auto_map": {"AutoConfig": "textcnn.TextCNNConfig"}}
    line = use_line(tmp_path, TASK, config)
    call = f'pipeline("text-classification", "{tmp_path}", trust_remote_code=True)'
    assert line.startswith(f"from transformers import pipeline; {call}(")
    assert line.endswith(", truncation=True)")
    assert "truncation=True" in how_to_use(tmp_path, TASK, "text", config, None)
    (tmp_path / "preprocessor_config.json").touch()
    assert "truncation" not in use_line(tmp_path, TASK, {})
