"""Tests of which pooling a checkpoint gets."""

import json
import logging

import pytest

from hftune.errors import BadInput
from hftune.models.pooling import choose_pooling, trained_pooling
from hftune.settings.text import TextSettings

MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


def sentence_encoder(folder, pooling, modules=MODULES):
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    return str(folder)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "cls", "include_prompt": True}, "cls"),
        ({"pooling_mode": "weightedmean"}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_max_tokens": True}, "mean"),  # both, side by side
        ({}, "mean"),
    ],
)
def test_a_sentence_encoder_is_pooled_as_its_files_say(tmp_path, config, pooling):
    assert trained_pooling(sentence_encoder(tmp_path / "encoder", config)) == pooling


def test_what_is_no_sentence_encoder_has_no_pooling_of_its_own(tmp_path):
    assert trained_pooling(str(tmp_path)) is None
    cross_encoder = sentence_encoder(tmp_path / "cross", {"pooling_mode": "cls"}, MODULES[:1])
    assert trained_pooling(cross_encoder) is None


def test_a_hub_id_tells_it_where_the_hub_is_out_of_reach():
    assert trained_pooling("sentence-transformers/all-MiniLM-L6-v2") == "mean"
    assert trained_pooling("google-bert/bert-base-uncased") is None


def test_what_was_asked_for_rules(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    name = sentence_encoder(tmp_path / "encoder", {"pooling_mode": "cls"})
    settings = TextSettings(model_name_or_path=name)
    assert choose_pooling(settings) == "cls"
    assert "pooling: cls, as this sentence encoder was trained; --pooling chooses another" in caplog.text
    assert choose_pooling(settings.replace(pooling="max")) == "max"
    assert choose_pooling(settings.replace(pooling="native")) is None
    assert choose_pooling(settings.replace(pooling="native", truncation="window")) == "mean"
    assert choose_pooling(settings.replace(truncation="window")) == "cls"
    plain = TextSettings(model_name_or_path=str(tmp_path))
    assert choose_pooling(plain) is None
    assert choose_pooling(plain.replace(truncation="window")) == "mean"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "modules.json: not JSON at line 1"),
        ("{}", "its modules.json lists no modules of sentence-transformers; pass --pooling"),
        ("[{}]", "its modules.json lists no modules"),
        ("[3]", "its modules.json lists no modules"),
    ],
)
def test_a_damaged_list_of_modules_is_one_line(tmp_path, content, message):
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(BadInput, match=message):
        trained_pooling(str(tmp_path))
