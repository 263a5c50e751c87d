"""Of a run's folder, what a model is loaded from is known, and whether it is as it was scored."""

import hashlib
from pathlib import Path

from hftune.storage.model_files import changed_files, hash_model


def saved_model(folder: Path) -> Path:
    contents = {"config.json": "{}", "model.safetensors": "weights", "tokenizer.json": "words"}
    for name, content in {**contents, "README.md": "card", "own.py": "code", "rows.csv": "rows"}.items():
        (folder / name).write_text(content)
    return folder


def test_what_a_model_is_loaded_from_is_hashed_and_nothing_else(tmp_path):
    saved_model(tmp_path)
    hashes = hash_model(tmp_path)
    assert hashes.keys() == {"config.json", "model.safetensors", "tokenizer.json"}
    assert hashes["tokenizer.json"] == hashlib.sha256(b"words").hexdigest()
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "own.Model"}}')
    assert hash_model(tmp_path).keys() == hashes.keys() | {"own.py"}


def test_each_file_that_is_not_as_it_was_scored_is_named(tmp_path):
    scored = hash_model(saved_model(tmp_path))
    assert changed_files(tmp_path, scored) == {}
    (tmp_path / "README.md").write_text("another card")
    (tmp_path / "own.py").write_text("nobody's code")
    assert changed_files(tmp_path, scored) == {}
    (tmp_path / "config.json").write_text('{"id2label": {}}')
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "added_tokens.json").write_text("{}")
    assert changed_files(tmp_path, scored) == {
        "added_tokens.json": "was not there when the model was scored",
        "config.json": "not the one that was scored (other sha256)",
        "tokenizer.json": "missing",
    }


def test_a_record_that_holds_the_weights_alone_is_compared_with_the_weights_alone(tmp_path):
    older = {"model.safetensors": hash_model(saved_model(tmp_path))["model.safetensors"]}
    (tmp_path / "config.json").write_text('{"id2label": {}}')
    assert changed_files(tmp_path, older) == {}
    (tmp_path / "model.safetensors").write_text("others")
    assert changed_files(tmp_path, older).keys() == {"model.safetensors"}
