import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hftune.data.tokens.load import load_tokens
from hftune.data.tokens.sample import ROWS, load_sample
from hftune.errors import BadInput
from hftune.settings.tokens import TokenSettings

SENTENCES = [("Anna sleeps", "B-PER O"), ("Bo met Anna Bell", "B-PER O B-PER I-PER"), ("it rains", "O O")]


def settings(**changes) -> TokenSettings:
    return TokenSettings(**{"model_type": "bilstm_crf", "max_length": 12, "window_stride": 3, **changes})


def write(folder: Path, kind: str) -> str:
    rows = [(words.split(), tags.split()) for words, tags in SENTENCES * 4]
    path = folder / f"train.{kind}"
    if kind == "conll":
        path.write_text("\n\n".join("\n".join(map(" ".join, zip(*row, strict=True))) for row in rows))
    elif kind == "parquet":
        columns = {"tokens": [words for words, _ in rows], "ner_tags": [tags for _, tags in rows]}
        pq.write_table(pa.table(columns), path)
    else:
        marks = [
            [[0, 4, "PER"]]
            if words[0] == "Anna"
            else [[0, 2, "PER"], [7, 16, "PER"]]
            if tags[0] != "O"
            else []
            for words, tags in rows
        ]
        lines = [{"text": " ".join(words), "label": of} for (words, _), of in zip(rows, marks, strict=True)]
        path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def test_the_sample_is_found_learned_and_new_in_its_test_rows():
    data = load_tokens(settings(dataset_name="sample", max_train_samples=200, max_length=128))
    assert len(data.test) == ROWS["test"]
    assert data.labels == ("O", "B-person", "I-person", "B-place", "I-place")
    names = {
        split: {word for row in part["tokens"] for word in row if word.istitle() and len(word) > 5}
        for split, part in load_sample().items()
    }
    assert len(names["test"] & names["train"]) < 0.5 * len(names["test"])


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_the_form_of_a_file_changes_nothing(kind, tmp_path):
    first, second = (load_tokens(settings(train_file=write(tmp_path, form))) for form in ("conll", kind))
    assert first.fingerprint == second.fingerprint
    assert first.task == second.task
    assert [row.tags for row in first.train.targets] == [row.tags for row in second.train.targets]


def test_other_tags_are_other_data(tmp_path):
    name = write(tmp_path, "conll")
    before = load_tokens(settings(train_file=name)).fingerprint
    Path(name).write_text(Path(name).read_text().replace("rains O", "rains B-PER", 1))
    assert load_tokens(settings(train_file=name)).fingerprint != before


def test_the_entities_of_validation_rows_are_not_seen(tmp_path):
    data = load_tokens(settings(train_file=write(tmp_path, "conll"), train_val_split=0.3))
    assert data.task.seen <= {"anna", "bo", "anna bell"}
    assert data.facts["train_samples"] + data.facts["validation_samples"] == 12


def test_a_training_row_is_a_window(tmp_path):
    path = tmp_path / "long.conll"
    path.write_text("\n\n".join("\n".join(["Anna B-PER", *["sleeps O"] * 40]) for _ in range(8)))
    data = load_tokens(settings(train_file=str(path)))
    assert data.facts["train_windows"] == len(data.train) > data.facts["train_samples"]
    assert data.train.lengths.max() <= 12 < data.validation.lengths.max()
    assert data.train.weights.sum() == 41 * data.facts["train_samples"]


def test_without_tags_nothing_can_be_learned(tmp_path):
    path = tmp_path / "plain.jsonl"
    path.write_text('{"text": "Anna sleeps"}\n{"text": "it rains"}\n')
    with pytest.raises(BadInput, match=r"plain.jsonl has no column of tags .* or marks"):
        load_tokens(settings(train_file=str(path)))


def test_a_vocabulary_without_room_for_the_letters_is_refused(tmp_path):
    with pytest.raises(BadInput, match="--vocab_size 5: the letters of the training words alone are"):
        load_tokens(settings(train_file=write(tmp_path, "conll"), vocab_size=5))
