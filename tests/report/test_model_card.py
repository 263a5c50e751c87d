"""The model card: the Hub takes it, its code runs as printed, its numbers are the run's."""

import errno
import json
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard, metadata_load, parse_eval_result_entries
from markdown_it import MarkdownIt
from PIL import Image
from sklearn.metrics import precision_recall_fscore_support
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

from hftune.data.text.vocabulary import train_tokenizer
from hftune.errors import BadInput
from hftune.models.standalone.bag import BagConfig, BagForSequenceClassification
from hftune.report.model_card import Card, write_card
from hftune.report.model_use import set_repo_id
from hftune.settings.image import ImageSettings
from hftune.settings.text import TextSettings
from hftune.tasks import task_of
from hftune.tasks.single_label import SingleLabel
from tests.forked import run_python

SHARED_HUB = Path(__file__).resolve().parents[3] / "shared" / "hub"
CODE = {"auto_map": {"AutoConfig": "bag.BagConfig"}, "architectures": ["BagForSequenceClassification"]}
VERSIONS = {"python": "3.11.7", "hftune": "0.1.0"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
COUNTS = np.array([[40, 10], [5, 45]])
RESULTS = {
    "epoch": 3.0,
    "train_steps": 30,
    "train_runtime": 90.0,
    "train_samples": 4321,
    "validation_samples": 50,
    "test_samples": 100,
    "train_truncated_rows_share": 0.25,
    "train_truncated_tokens_share": 0.125,
    "eval_accuracy": 0.8125,
    "eval_f1": 0.801,
    "test_accuracy": 0.85,
    "test_f1": 0.857142857142857,
    "test_ece": 0.0432,
    "test_loss": 0.4321,
    "test_accuracy_low": 0.766,
    "test_accuracy_high": 0.907,
    "test_f1_low": 0.771,
    "test_f1_high": 0.919,
    "test_ece_low": 0.021,
    "test_ece_high": 0.071,
    "test_loss_low": 0.312,
    "test_loss_high": 0.532,
    "test_majority_accuracy": 0.5,
    "test_tfidf_accuracy": 0.713,
    "test_accuracy_over_tfidf": 0.137,
    "test_accuracy_over_tfidf_low": 0.051,
    "test_accuracy_over_tfidf_high": 0.223,
}


def per_class(counts, labels):
    sides = np.indices(counts.shape).reshape(2, -1)
    true, predicted = (np.repeat(side, counts.ravel()) for side in sides)
    return SingleLabel(tuple(labels)).label_scores({"logits": np.eye(len(counts))[predicted]}, true)


def card_of(settings=None, **changes) -> Card:
    parts = {
        "name": "reviews",
        "modality": "text",
        "settings": settings or TextSettings(dataset_name="acme/reviews", model_name_or_path="acme/encoder"),
        "task": SingleLabel(("negative", "positive")),
        "results": RESULTS,
        "versions": VERSIONS,
        "label_scores": per_class(COUNTS, ("negative", "positive")),
    }
    return Card(**{**parts, **changes})


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """A run with a card to write; the working folder is another one."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": ["BertForSequenceClassification"]}))
    return folder


def written(run_dir: Path, card: Card) -> str:
    write_card(run_dir, card)
    return (run_dir / "README.md").read_text(encoding="utf-8")


def tables(page: str) -> list[list[list[str]]]:
    """Returns the text of each table's cells, as a reader of Markdown shows them."""
    found, cell = [], False
    for token in MarkdownIt().enable("table").parse(page.split("\n---\n", 1)[1]):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("th_open", "td_open"):
            cell = True
        elif token.type == "inline" and cell:
            cell = False
            found[-1][-1].append("".join(child.content for child in token.children))
    return found


def table(page: str, head: str) -> dict[str, list[str]]:
    """Returns a table's rows by their first cell, the head included."""
    (rows,) = [rows for rows in tables(page) if rows[0][0] == head]
    assert len({len(row) for row in rows}) == 1
    return {row[0]: row[1:] for row in rows}


def section(page: str, title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", page, re.M | re.S)[1]


def front(run_dir: Path) -> dict:
    return metadata_load(run_dir / "README.md")


def test_the_front_matter_is_what_the_hub_reads(run_dir):
    settings = TextSettings(
        dataset_name="acme/reviews", dataset_config_name="plain", model_name_or_path="acme/encoder"
    )
    page = written(run_dir, card_of(settings, dataset_commit=COMMIT))
    data = ModelCard.load(run_dir / "README.md").data
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-classification")
    assert (data.base_model, data.datasets, data.tags) == ("acme/encoder", ["acme/reviews"], ["hftune"])
    assert data.metrics == ["accuracy", "f1"]
    assert data.license is None
    scores = {score.metric_name: score.metric_value for score in data.eval_results}
    tested = {"accuracy": "accuracy", "F1": "f1", "ECE": "ece", "log loss": "loss"}
    assert scores == {name: RESULTS[f"test_{metric}"] for name, metric in tested.items()}
    for score in data.eval_results:
        assert (score.task_type, score.dataset_type) == ("text-classification", "acme/reviews")
        assert (score.dataset_config, score.dataset_split) == ("plain", "test")
        assert score.dataset_revision == COMMIT
    assert str(ModelCard(page)) == page  # nothing is lost or moved when others load and save it


def test_the_evaluation_results_are_the_same(run_dir):
    settings = TextSettings(dataset_name="acme/reviews", dataset_revision="v2")
    write_card(run_dir, card_of(settings, hub_id="ann/reviews"))
    (path,) = run_dir.glob(".eval_results/*")
    assert path.name == "acme-reviews.yaml"
    (entry,) = parse_eval_result_entries(yaml.safe_load(path.read_text()))
    assert (entry.dataset_id, entry.task_id, entry.dataset_revision) == ("acme/reviews", "default", "v2")
    assert entry.value == 0.85
    assert entry.source_url == "https://huggingface.co/ann/reviews"
    assert entry.notes == "accuracy on 100 test rows, 95 % interval 0.766 to 0.907"


@pytest.mark.shared
@pytest.mark.skipif(not SHARED_HUB.exists(), reason="no stand-in for the Hub")
@pytest.mark.parametrize("tested", [True, False])
def test_the_hub_finds_no_fault(run_dir, monkeypatch, tested):
    monkeypatch.syspath_prepend(str(SHARED_HUB))
    from store import read_card

    changes = {} if tested else {"results": {"eval_accuracy": 0.8}, "label_scores": ()}
    page = written(run_dir, card_of(**changes))
    read, errors = read_card(page)
    assert not errors
    assert read["pipeline_tag"] == "text-classification"


def test_the_page_shows_the_results(run_dir):
    page = written(run_dir, card_of())
    scores = table(page, "score")
    titles = ["test", "95 % interval", "TF-IDF + logistic regression", "majority class", "validation"]
    assert scores["score"] == titles
    assert scores["accuracy"] == ["0.850", "0.766 to 0.907", "0.713", "0.500", "0.812"]
    assert scores["log loss"] == ["0.432", "0.312 to 0.532", "–", "–", "–"]
    said = "is better than TF-IDF + logistic regression by 0.137 [0.051, 0.223] accuracy"
    assert said in section(page, "How good it is")
    assert "F1: of the class 'positive'" in page
    assert table(page, "class")["negative"] == ["0.889", "0.800", "0.842", "50"]
    assert table(page, "split") == {
        "split": ["rows"],
        "train": ["4,321"],
        "validation": ["50"],
        "test": ["100"],
    }
    assert "25.0% of the training texts were longer, and 12.5% of all tokens were cut" in page
    assert "30 optimizer steps, 3 epochs, 1.5 minutes" in page
    assert "python 3.11.7, hftune 0.1.0" in page
    assert "4.3 points away" in section(page, "Limits")


def test_a_model_that_does_not_beat_the_floor_says_so(run_dir):
    lower = {**RESULTS, "test_accuracy_over_tfidf_low": -0.1}
    assert "the model does not beat TF-IDF" in written(run_dir, card_of(results=lower))


def test_the_floor_of_images(run_dir):
    results = {name.replace("tfidf", "thumbnails"): value for name, value in RESULTS.items()}
    page = written(run_dir, card_of(ImageSettings(), modality="image", results=results))
    assert "better than thumbnails + logistic regression" in page
    assert "thumbnails + logistic regression" in table(page, "score")["score"]
    assert "tokens" not in page


def test_without_a_floor_nothing_is_claimed(run_dir):
    results = {name: value for name, value in RESULTS.items() if "tfidf" not in name}
    assert "nothing to compare these scores with" in written(run_dir, card_of(results=results))


def test_the_majority_class_alone_is_a_floor_too(run_dir):
    gain = {"": 0.35, "_low": 0.25, "_high": 0.44}
    results = {name: value for name, value in RESULTS.items() if "tfidf" not in name}
    results |= {f"test_accuracy_over_majority{end}": value for end, value in gain.items()}
    assert "differs by +0.350 (0.250 to 0.440) from always" in written(run_dir, card_of(results=results))


def test_without_a_test_set(run_dir):
    results = {name: value for name, value in RESULTS.items() if not name.startswith("test_")}
    page = written(run_dir, card_of(results=results, label_scores=()))
    assert "There was no test set" in page
    assert table(page, "score") == {"score": ["validation"], "accuracy": ["0.812"], "F1": ["0.801"]}
    assert "model-index" not in front(run_dir)
    assert "95 %" not in page
    assert "## Class by class" not in page
    assert "Not tested" in section(page, "Limits")
    assert "calibration) was not measured" in section(page, "Limits")
    assert not (run_dir / ".eval_results").exists()


def test_a_score_that_is_not_defined_is_a_dash(run_dir):
    page = written(run_dir, card_of(results={**RESULTS, "test_f1": np.nan, "test_f1_low": np.nan}))
    assert table(page, "score")["F1"][:2] == ["–", ""]
    (index,) = front(run_dir)["model-index"]
    assert [m["type"] for m in index["results"][0]["metrics"]] == [
        "accuracy",
        "expected_calibration_error",
        "loss",
    ]


@pytest.mark.parametrize("classes", [2, 3, 150])
def test_per_class_is_scikit_learns_of_the_rows(classes):
    random = np.random.default_rng(classes)
    counts = random.integers(0, 4, (classes, classes))
    true, predicted = np.nonzero(counts)
    rows = np.repeat(true, counts[true, predicted]), np.repeat(predicted, counts[true, predicted])
    expected = precision_recall_fscore_support(*rows, labels=range(classes), zero_division=np.nan)
    found = per_class(counts, [str(number) for number in range(classes)])
    assert [row.label for row in found] == [str(number) for number in range(classes)]
    np.testing.assert_allclose([row[1:5] for row in found], np.transpose(expected), rtol=1e-12)


def test_what_per_class_cannot_know_is_nan():
    with warnings.catch_warnings(action="error"):
        never_given, never_there = per_class(np.array([[0, 3, 0], [0, 4, 0], [0, 0, 0]]), "abc")[::2]
    assert np.isnan(never_given.precision)
    assert (never_given.recall, never_given.f1, never_given.rows) == (0, 0, 3)
    assert np.isnan(never_there[1:4]).all()
    assert never_there.rows == 0


def test_of_many_classes_the_weakest_are_shown(run_dir):
    labels = [f"class {number}" for number in range(150)]
    counts = np.eye(150, dtype=int) * 50
    for number in range(30, 60):
        counts[number, number], counts[number, 0] = 50 - number // 2, number // 2
    asked, scores = SingleLabel(tuple(labels)), per_class(counts, labels)
    page = written(run_dir, card_of(task=asked, label_scores=scores))
    rows = table(page, "class")
    assert len(rows) == 1 + 20
    scores = [float(row[2]) for row in list(rows.values())[1:]]
    assert scores == sorted(scores)
    expected = sorted(row.f1 for row in per_class(counts, labels))[:20]
    np.testing.assert_allclose(scores, expected, atol=0.0005)
    assert "20 classes of 150 with the lowest F1" in page
    assert "**class 19** and 130 more" in page
    assert "**class 20**" not in page


def test_odd_names_stay_what_they_are(run_dir):
    labels = (
        "a|b",
        "yes: no",
        "two\nlines",
        "\u202e👩‍🚀 *bold* `x`",
        "<script>&amp;",
        "not_hot_dog",
        "_x_",
        r"\|",
    )
    shown = ("a|b", "yes: no", "two lines", "👩‍🚀 *bold* `x`", "<script>&amp;", "not_hot_dog", "_x_", r"\|")
    counts = np.eye(len(labels), dtype=int) * 40
    page = written(
        run_dir,
        card_of(
            task=SingleLabel(tuple(labels)),
            label_scores=per_class(counts, labels),
            name="a\n---\nb: [x](y) | 'é'",
        ),
    )
    assert tuple(table(page, "class"))[1:] == shown
    assert ModelCard(page).data.model_name == "a --- b: [x](y) | 'é'"
    tokens = MarkdownIt().parse(page.split("\n---\n", 1)[1])
    assert "".join(child.content for child in tokens[1].children) == "a --- b: [x](y) | 'é'"
    assert "\u202e" not in page
    assert not [child for token in tokens for child in token.children or [] if child.type == "html_inline"]


def test_local_data_and_models_are_never_named(run_dir):
    here = Path.cwd()
    for folder in ("mine/secret_data", "mine/secret_model"):
        (here / folder).mkdir(parents=True)
    settings = TextSettings(
        dataset_name="mine/secret_data",
        model_name_or_path=str(here / "mine/secret_model"),
        output_dir="/home/secret/run",
    )
    page = written(run_dir, card_of(settings, data_origin="mine/secret_data, validation: 0.1 of train"))
    files = TextSettings(
        train_file="/home/secret/a.csv",
        test_file="secret.csv",
        model_type="bag",
        embeddings="secret.vec",
        text_column_name="secret",
    )
    pages = [page, written(run_dir, card_of(files, data_origin="/home/secret/a.csv"))]
    gone = TextSettings(dataset_name="./secret_folder", model_name_or_path="secret/gone/")
    pages.append(written(run_dir, card_of(gone)))
    for page in pages:
        assert "secret" not in page
        assert "Data of the author's own" in page
    assert table(pages[1], "setting")["embeddings"] == ["a file of the author's own"]
    assert "fine-tuned from weights of the author's own" in pages[0]
    assert "trained from scratch" in pages[1]
    assert not {"datasets", "base_model"} & front(run_dir).keys()
    assert front(run_dir)["model-index"][0]["results"][0]["dataset"]["type"] == "custom"
    assert not (run_dir / ".eval_results").exists()


def test_hub_data_and_models_are_linked(run_dir):
    card = card_of(dataset_commit=COMMIT, data_origin="acme/reviews, validation: 0.1 of train")
    page = written(run_dir, card)
    assert "fine-tuned from [acme/encoder](https://huggingface.co/acme/encoder)" in page
    assert "[acme/reviews](https://huggingface.co/datasets/acme/reviews)" in page
    assert f"revision `{COMMIT}`" in page
    assert "validation: 0.1 of train" in page


@pytest.mark.parametrize(("name", "published"), [("sample", True), ("acme/photos", False)])
def test_mistakes_are_shown_of_the_sample_alone(run_dir, name, published):
    for image in ("confusion", "curve", "mistakes", "gradcam"):
        (run_dir / f"{image}.png").write_bytes(b"")
    page = written(run_dir, card_of(ImageSettings(dataset_name=name), modality="image"))
    assert ("mistakes.png" in page) == published
    assert re.findall(r"\]\((\w+)\.png\)", page)[:2] == ["confusion", "curve"]
    assert "gradcam" not in page
    assert ("of no use for real images" in page) == published
    assert ("datasets" in front(run_dir)) != published
    kind = "hftune-sample" if published else name
    assert front(run_dir)["model-index"][0]["results"][0]["dataset"]["type"] == kind


def test_only_settings_that_hftune_did_not_choose_are_listed(run_dir):
    @dataclass(frozen=True, kw_only=True)
    class Settings(TextSettings):
        dataset_name: str = "acme/reviews"
        learning_rate: float = 1e-3
        freeze: str | None = "bert|pooler"
        own: str | None = None
        notes: str | None = None

    changes = {"own": "x", "notes": "/home/secret/x", "save_total_limit": 1, "seed": 7}
    page = written(run_dir, card_of(Settings(push_to_hub=True, hub_model_id="ann/x", **changes)))
    rows = {name: cell for name, (cell,) in table(page, "setting").items()}
    assert rows == {
        "setting": "value",
        "learning_rate": "0.001",
        "freeze": "bert|pooler",
        "own": "x",
        "notes": "a file of the author's own",
    }
    assert "Seed 7" in page


def test_the_same_card_gives_the_same_files_and_leaves_nothing_behind(run_dir):
    first = written(run_dir, card_of())
    assert written(run_dir, card_of()) == first
    names = {path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*")}
    assert names == {"config.json", "README.md", ".eval_results", ".eval_results/acme-reviews.yaml"}


def test_a_folder_without_a_model_gets_no_card(tmp_path):
    with pytest.raises(BadInput, match=r"config\.json"):
        write_card(tmp_path, card_of())
    assert not list(tmp_path.iterdir())


def printed_code(page: str) -> str:
    return re.search(r"```python\n(.*?)```", page, re.S)[1]


def test_source_code_of_the_model_is_announced(run_dir):
    (run_dir / "config.json").write_text(json.dumps(CODE))
    page = written(run_dir, card_of(hub_id="ann/reviews"))
    call = 'pipeline("text-classification", "ann/reviews", trust_remote_code=True)'
    assert call in printed_code(page)
    assert "runs `bag.py`" in page
    assert "Adding `revision=" in page


def test_readdressed_a_card_is_the_card_of_the_other_place(run_dir):
    (run_dir / "config.json").write_text(json.dumps(CODE))
    entries = run_dir / ".eval_results/acme-reviews.yaml"

    def both(card: Card) -> tuple[str, list]:
        return written(run_dir, card), yaml.safe_load(entries.read_text())

    expected = both(card_of(hub_id="bob/copy"))
    for hub_id in ("ann/reviews", None):  # pushed before, or used from its folder until then
        assert both(card_of(hub_id=hub_id)) != expected
        set_repo_id(run_dir, "bob/copy", task_of)
        assert ((run_dir / "README.md").read_text(), yaml.safe_load(entries.read_text())) == expected


def test_a_card_that_its_author_has_changed_keeps_the_changes(run_dir):
    page = written(run_dir, card_of(hub_id="ann/reviews"))
    mine = page.replace("pipeline_tag: text-classification\n", "license: mit\n") + "\n## Thanks\n\nto Zoë\n"
    (run_dir / "README.md").write_text(mine, encoding="utf-8")
    set_repo_id(run_dir, "bob/copy", task_of)
    changed = (run_dir / "README.md").read_text(encoding="utf-8")
    assert changed == mine.replace("ann/reviews", "bob/copy")
    (run_dir / "README.md").write_bytes(mine.encode("latin-1", "replace"))
    with pytest.raises(BadInput, match=rf"^{run_dir}/README\.md: byte \d+ is not UTF-8"):
        set_repo_id(run_dir, "ann/reviews", task_of)


def test_to_the_same_place_nothing_is_written(run_dir, monkeypatch):
    write_card(run_dir, card_of(hub_id="ann/reviews"))

    def fail(path, *_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr("hftune.report.model_use.write_text", fail)
    set_repo_id(run_dir, "ann/reviews", task_of)
    with pytest.raises(OSError, match="Read-only"):
        set_repo_id(run_dir, "bob/copy", task_of)


def test_a_model_without_source_code_asks_for_no_trust(run_dir):
    page = written(run_dir, card_of(hub_id="ann/reviews"))
    assert 'pipeline("text-classification", "ann/reviews")' in printed_code(page)
    assert "trust_remote_code" not in page


def test_timm_is_said_to_be_needed(run_dir):
    (run_dir / "config.json").write_text(
        json.dumps({"model_type": "timm_wrapper", "architecture": "vit_tiny"})
    )
    page = written(run_dir, card_of(ImageSettings(), modality="image"))
    assert "pip install transformers torch torchvision pillow timm" in page
    assert front(run_dir)["tags"] == ["hftune", "timm"]
    assert front(run_dir)["library_name"] == "transformers"


def save_text_model(folder: Path) -> None:
    tokenizer = train_tokenizer(
        ["good film", "bad film"], tokenizer_type="word", vocab_size=50, min_frequency=1, max_length=8
    )
    BagConfig.register_for_auto_class()
    BagForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
    names = {0: "negative", 1: "positive"}
    BagForSequenceClassification(
        BagConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, id2label=names)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_image_model(folder: Path) -> None:
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = ViTConfig(image_size=32, patch_size=16, id2label={0: "negative", 1: "positive"}, **small)
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


@pytest.mark.parametrize("modality", ["text", "image"])
def test_the_code_runs_as_printed(tmp_path, modality):
    """In another Python, in the folder that the page names, with no hftune to import."""
    run_dir = tmp_path / "it's a run"
    save_text_model(run_dir) if modality == "text" else save_image_model(run_dir)
    settings = TextSettings() if modality == "text" else ImageSettings()
    page = written(run_dir, card_of(settings, modality=modality))
    assert ("trust_remote_code=True" in page) == (modality == "text")
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.jpg")
    code = printed_code(page)
    if modality == "image":
        code += code.splitlines()[-1].split("# your own: ")[1]  # what the comment offers runs too
    code = f"import sys; sys.modules['hftune'] = None\n{code}"
    done = run_python(["-I", "-c", code], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\[\{'label': '(negative|positive)', 'score': [\d.]+\}", done.stdout)


def test_images_that_a_pipeline_may_see_otherwise_are_told(run_dir):
    results = {"images_above_8_bits": 12.0, "images_with_transparency": 3.0}
    said = written(run_dir, card_of(results={**card_of().results, **results}))
    assert "- 12 of its images had grey values of more than 8 bits." in said
    assert "- 3 of its images had transparent pixels; the colours that the files store" in said
    assert "8 bits" not in written(run_dir, card_of())
