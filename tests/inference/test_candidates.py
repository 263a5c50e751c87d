"""Tests of which models may be averaged: a mean of others would be no model, or scored on learned rows."""

import json
from pathlib import Path

import pytest

from hftune.errors import BadInput
from hftune.inference.candidates import Candidate, refuse_unlike
from hftune.storage.run_dir import change_record
from hftune.tasks.regression import Regression
from hftune.tasks.single_label import SingleLabel
from tests.runs import write_record

TASK = SingleLabel(("no", "yes"))
BERT = {"model_type": "bert", "hidden_size": 16, "hidden_dropout_prob": 0.1, "transformers_version": "5.23"}
SETTINGS = {"model_name_or_path": "acme/encoder", "seed": 1, "truncation": "head", "learning_rate": 1e-4}


def write_run(folder: Path, task=TASK, config=(), tokenizer="{}", record=(), **settings) -> Path:
    folder.mkdir()
    write_record(folder, **{**SETTINGS, **settings})
    parts = {
        "sources": {"model.safetensors of --model_name_or_path": "a"},
        "data_fingerprints": {"data": "1"},
    }
    change_record(folder, **{**parts, **dict(record)})
    (folder / "config.json").write_text(json.dumps({**BERT, **task.model_config(), **dict(config)}))
    (folder / "tokenizer.json").write_text(tokenizer)
    (folder / "model.safetensors").write_bytes(folder.name.encode())  # never the same
    return folder


def candidates(*folders: Path) -> list[Candidate]:
    return [Candidate.find(str(folder)) for folder in folders]


def test_runs_of_one_start_may_differ_in_how_they_were_trained(tmp_path):
    other = {"hidden_dropout_prob": 0.3, "transformers_version": "5.24", "thresholds": None}
    first = write_run(tmp_path / "a")
    second = write_run(tmp_path / "b", config=other, seed=2, learning_rate=1e-5)
    forgotten = write_run(tmp_path / "c", record={"sources": {}})  # an earlier hftune noted none
    refuse_unlike(candidates(first, second, forgotten))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"task": SingleLabel(("yes", "no"))}, "their labels are no, yes and yes, no"),
        (
            {"task": Regression(("stars",))},
            "they answer other questions, single_label_classification and reg",
        ),
        ({"model_name_or_path": "acme/other"}, "--model_name_or_path is acme/encoder and acme/other"),
        ({"truncation": "tail"}, "--truncation is head and tail"),
        (
            {"record": {"sources": {"model.safetensors of --model_name_or_path": "b"}}},
            "they began with other weights, model.safetensors of --model_name_or_path had changed",
        ),
        ({"config": {"hidden_size": 24}}, "config.json has hidden_size 16 and 24"),
        ({"config": {"encoder_config": {"layers": 2}}}, "config.json has encoder_config None and"),
        ({"tokenizer": "[]"}, "they read rows in other ways, their tokenizer.json differs"),
        ({"record": {"data_fingerprints": {"data": "2"}}}, "they have other rows, so one may have learned"),
    ],
)
def test_others_are_refused_by_name(changes, why, tmp_path):
    first, good = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    other = write_run(tmp_path / "c", **changes)
    with pytest.raises(BadInput) as caught:
        refuse_unlike(candidates(first, good, other))
    assert caught.value.message.startswith(f"{first} and {other} cannot be averaged: {why}")


def test_seeds_of_a_model_from_scratch_have_no_common_start(tmp_path):
    scratch = {"model_name_or_path": None, "model_type": "textcnn"}
    first = write_run(tmp_path / "a", **scratch)
    refuse_unlike(candidates(first, write_run(tmp_path / "b", **scratch, learning_rate=1e-3)))
    with pytest.raises(BadInput, match="they began from scratch with seeds 1 and 2, so with other weights"):
        refuse_unlike(candidates(first, write_run(tmp_path / "c", **scratch, seed=2)))


def test_what_is_no_finished_run_is_refused(tmp_path):
    begun = write_run(tmp_path / "begun", record={"finished": False})
    (begun / "checkpoint-3").mkdir()
    (begun / "checkpoint-3/manifest.json").write_text("{}")
    for folder in (begun, begun / "checkpoint-3"):
        with pytest.raises(BadInput, match=f"{folder}: its run is not finished; repeat its command"):
            Candidate.find(str(folder))
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(BadInput, match=f"{folder}: neither a run directory nor a checkpoint of one"):
            Candidate.find(str(folder))
    change_record(begun, finished=True)
    found = Candidate.find(str(begun / "checkpoint-3"))
    assert (found.run_dir, found.short_name) == (begun, "begun/checkpoint-3")
    change_record(begun, settings={"lora_r": 8})
    assert Candidate.find(str(begun)).checkpoint is None
    with pytest.raises(BadInput, match=f"{begun}/checkpoint-3: holds adapters of LoRA without their base"):
        Candidate.find(str(begun / "checkpoint-3"))
