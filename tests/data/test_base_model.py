"""What stands under the name of a model is said in one line where it is none, or one of the other kind."""

import json
from pathlib import Path

import pytest
from safetensors import SafetensorError
from transformers import AddedToken

from hftune.data.base_model import check_embeddings, check_folder, check_kind, kind_of, why_not_loaded
from hftune.errors import BadInput
from tests.tiny import tiny_model, tiny_tokenizer


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(json.dumps(content))


FOLDERS = {  # what is in `runs/x/model`, what the line says
    "nothing": ({}, "an empty folder"),
    "an adapter": ({"adapter_config__json": {"base_model_name_or_path": "a/b"}}, "a PEFT adapter of a/b"),
    "weights alone": ({"model__safetensors": 0}, "weights without a config.json"),
    "a checkpoint": ({"manifest__json": {}}, "the run directory that this checkpoint lies in"),
    "a run that goes on": ({"run__json": {}}, "this run is not finished"),
    "something else": ({"notes__txt": 0}, "it has no config.json; pass a run directory"),
    "images": ({"config__json": {"model_type": "vit"}}, r"a model of images \(vit\)"),
    "timm's": ({"config__json": {"architecture": "vit_x", "pretrained_cfg": {}}}, r"of images \(vit_x\)"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_holds_no_model_of_texts_is_named(case, tmp_path):
    files, said = FOLDERS[case]
    write(tmp_path / "model", **files)
    with pytest.raises(BadInput, match=f"^--model NAME: .*{said}"):
        check_folder(str(tmp_path / "model"), "--model NAME", "texts")


def test_the_model_in_a_folder_of_the_cache_is_found(tmp_path):
    write(tmp_path / "snapshots" / "abc", config__json={"model_type": "bert"})
    with pytest.raises(BadInput, match=r"did you mean .*snapshots/abc"):
        check_folder(str(tmp_path), "NAME")
    check_folder(str(tmp_path / "snapshots" / "abc"), "NAME", "texts")
    check_folder("owner/name", "NAME", "texts")


def test_kinds_are_told_by_the_config():
    for name in ("bert", "textcnn", "pooled_encoder", "gpt2"):
        assert kind_of({"model_type": name}) == "texts"
    for name in ("vit", "resnet", "timm_wrapper", "resnet9"):
        assert kind_of({"model_type": name}) == "images"
    assert kind_of({"model_type": "perceiver"}) is kind_of({}) is None
    with pytest.raises(BadInput, match=r"a model of texts \(bert\); this recipe needs a model of images"):
        check_kind({"model_type": "bert"}, "NAME", "images")


def test_a_token_without_an_embedding_is_refused_with_both_numbers():
    model, tokenizer = tiny_model("bert"), tiny_tokenizer("bert")
    check_embeddings(model, tokenizer, "NAME")
    rows = len(tokenizer)
    model.resize_token_embeddings(rows + 8)  # padded to a round number
    tokenizer.add_tokens([AddedToken("<url>")])
    check_embeddings(model, tokenizer, "NAME")
    model.resize_token_embeddings(rows)
    with pytest.raises(BadInput, match=f"{rows + 1} tokens .the last is '<url>'.* embeddings for {rows};"):
        check_embeddings(model, tokenizer, "NAME")
    check_embeddings(model, object(), "NAME")  # an image processor


def test_what_the_libraries_raise_becomes_one_line():
    backend = ValueError("Couldn't instantiate the backend tokenizer from one of: \n(1) a file")
    assert why_not_loaded(backend).startswith("it has no tokenizer.json")
    assert "was not downloaded whole" in why_not_loaded(SafetensorError("header too large"))
    unknown = ValueError("Unrecognized configuration class <class 'a.WhisperConfig'> for this kind\nmore")
    assert "no such classifier of the kind Whisper" in why_not_loaded(unknown)
    assert why_not_loaded(KeyError()) == "KeyError"
