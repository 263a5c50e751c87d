"""From settings to data: one tokenizer, all splits, and what was found out about them."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
from huggingface_hub import metadata_load
from transformers import AutoTokenizer

from hftune.data.text import splits as text_splits
from hftune.data.text.load import load_text, load_tokenizer
from hftune.errors import BadInput
from hftune.recipes import imdb_bag
from hftune.settings.text import TextSettings
from hftune.training.result import describe_result
from tests.tiny import POSITIONS, WORDS, tiny_checkpoint, tiny_tokenizer


@pytest.fixture
def reviews(tmp_path):
    """24 training, 8 validation and 8 test rows as json lines; every third text is long."""
    random = np.random.default_rng(0)
    for name, rows in (("train", 24), ("validation", 8), ("test", 8)):
        lines = []
        for row in range(rows):
            words = random.choice(WORDS[:90], 40 if row % 3 == 0 else 5)
            text = " ".join([name, str(row), *words])
            lines.append(json.dumps({"text": text, "label": ["bad", "good"][row % 2]}))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def settings_for(reviews, splits=("train", "validation", "test"), **changes) -> TextSettings:
    files = {f"{name}_file": str(reviews / f"{name}.jsonl") for name in splits}
    return TextSettings(**files, **changes)


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_every_split_has_the_checkpoints_ids(reviews, tmp_path, family):
    folder = tiny_checkpoint(family, tmp_path / family)
    data = load_text(settings_for(reviews, model_name_or_path=str(folder), max_length=30))
    assert data.labels == ("bad", "good")
    assert (len(data.train), len(data.validation), len(data.test)) == (24, 8, 8)
    tokenizer = tiny_tokenizer(family)
    for name, split in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        text = json.loads((reviews / f"{name}.jsonl").read_text().splitlines()[1])["text"]
        assert split[1]["input_ids"].tolist() == tokenizer(text)["input_ids"][:30]
        assert split.lengths.max() == 30
    batch = data.collate([data.train[0], data.train[1]])
    assert batch["input_ids"].shape == (2, 30)
    assert ("token_type_ids" in batch) == (family == "bert")
    assert data.facts["train_samples"] == 24
    assert data.facts["test_samples"] == 8
    assert data.facts["train_truncated_rows"] == (data.train.tokens > 30).sum() > 0
    assert data.processor.model_max_length == 30
    assert data.processor.padding_side == "right"
    assert data.processor.pad_token_id is not None


@pytest.mark.parametrize(("truncation", "side"), [("head", "right"), ("tail", "left"), ("head+tail", "left")])
@pytest.mark.parametrize("kind", ["a checkpoint's", "learned"])
def test_whoever_loads_the_model_cuts_at_the_end_that_was_cut(reviews, tmp_path, kind, truncation, side):
    """A side that the checkpoint came with does not stay: the saved tokenizer says what this run did."""
    if kind == "learned":
        model = {"model_type": "textcnn", "min_frequency": 1}
    else:
        folder = tiny_checkpoint("bert", tmp_path / "bert")
        config = json.loads((folder / "tokenizer_config.json").read_text())
        other = "right" if side == "left" else "left"
        (folder / "tokenizer_config.json").write_text(json.dumps({**config, "truncation_side": other}))
        model = {"model_name_or_path": str(folder)}
    data = load_text(settings_for(reviews, max_length=30, truncation=truncation, **model))
    data.processor.save_pretrained(tmp_path / "saved")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert loaded.truncation_side == side
    text = json.loads((reviews / "train.jsonl").read_text().splitlines()[0])["text"]
    if truncation != "head+tail":  # for which transformers has no word
        cut = loaded(text, truncation=True)["input_ids"]
        assert cut == data.train[0]["input_ids"].tolist()


def test_without_a_test_set_there_is_no_floor(reviews, tmp_path):
    folder = tiny_checkpoint("bert", tmp_path / "bert")
    data = load_text(settings_for(reviews, ("train", "validation"), model_name_or_path=str(folder)))
    assert data.test is None
    assert data.baseline is None


def test_the_floor_answers_every_test_row(reviews, tmp_path):
    folder = tiny_checkpoint("bert", tmp_path / "bert")
    data = load_text(settings_for(reviews, model_name_or_path=str(folder)))
    for answers in data.task.baselines(data.train.targets, 8, data.baseline).values():
        assert answers["logits"].shape == (8, 2)


def test_a_vocabulary_comes_from_the_train_split_alone(reviews):
    data = load_text(settings_for(reviews, model_type="bag", min_frequency=1, max_length=POSITIONS))
    known = {*data.processor.get_vocab()}
    assert "train" in known
    assert not {"validation", "test"} & known
    assert data.test[0]["input_ids"][0] == data.processor.unk_token_id


def test_what_is_cut_is_told(reviews, tmp_path, caplog):
    folder = tiny_checkpoint("bert", tmp_path / "bert")
    with caplog.at_level("INFO", "hftune"):
        load_text(settings_for(reviews, model_name_or_path=str(folder), max_length=30, truncation="tail"))
    assert "24 train, 8 validation, 8 test" in caplog.text
    assert "max_length 30 (tail) cuts 8 of 24 train texts (33.3 %)" in caplog.text


@pytest.mark.parametrize("missing", ["tokenizer", "everything", "half of it"])
def test_no_tokenizer_is_bad_input(tmp_path, missing):
    """Without its files transformers makes up one that knows no word, and says nothing."""
    folder = tiny_checkpoint("bert", tmp_path / "bert")
    name = str(folder)
    if missing == "tokenizer":
        for file in folder.glob("tokenizer*"):
            file.unlink()
    elif missing == "everything":
        name = str(tmp_path / "nothing")
    elif missing == "half of it":
        (folder / "tokenizer.json").write_text('{"version"')
    with pytest.raises(BadInput, match="--model_name_or_path"):
        load_tokenizer(TextSettings(model_name_or_path=name), None)


def test_no_model_at_all_is_bad_input():
    with pytest.raises(BadInput, match="no model: give --model_name_or_path NAME, or --model_type KIND"):
        load_tokenizer(TextSettings(), None)


@pytest.mark.parametrize("commit", ["0123456789abcdef0123456789abcdef01234567", ""])
def test_the_commit_of_a_hub_data_set_reaches_the_card(commit, reviews, tmp_path, monkeypatch):
    settings = settings_for(reviews)
    source = dataclasses.replace(text_splits.find_source(settings, None), commit=commit)
    monkeypatch.setattr(text_splits, "find_source", lambda *_: source)
    of_the_hub = TextSettings(dataset_name="acme/reviews", model_type="bag")
    data = load_text(of_the_hub)
    (tmp_path / "config.json").write_text('{"architectures": ["Bag"]}')
    run = SimpleNamespace(recipe=imdb_bag.recipe, settings=of_the_hub, run_dir=tmp_path)
    describe_result(run, data, {"eval_accuracy": 0.5, "test_accuracy": 0.5}, [], None)
    (result,) = metadata_load(tmp_path / "README.md")["model-index"][0]["results"]
    assert result["dataset"].get("revision", "") == commit
