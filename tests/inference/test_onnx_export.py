"""ONNX files that answer as PyTorch does, for every kind of model, and alone with onnxruntime."""

import logging
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers
import torch
from transformers import AutoImageProcessor, TimmWrapperConfig

from hftune.cli import export
from hftune.data.image.decode import decode
from hftune.data.image.inputs import ImageInputs
from hftune.data.text.inputs import TextInputs
from hftune.data.text.sample import load_sample
from hftune.data.tokens.tagged import TaggedText
from hftune.errors import BadInput, HftuneError
from hftune.inference import onnx_export
from hftune.inference.load import load_model
from hftune.inference.onnx_export import ROWS, _describe, write_onnx
from hftune.inference.predict import predict_rows
from hftune.models.standalone.textcnn import TextCNNForSequenceClassification
from hftune.storage.files import read_json
from hftune.storage.run_dir import RunRecord
from tests.data.image.test_splits import files_of, write_class_folders
from tests.kinds import another
from tests.runs import write_record
from tests.tiny import saved_images, saved_tagger, saved_texts

MISSING = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}")

ROOT = Path(__file__).parents[2]


def texts() -> list[str]:
    return [*load_sample()["test"]["text"][:ROWS], "", "film " * 70]


def test_pairs_bring_their_segments(tmp_path):
    saved = saved_texts("bert", tmp_path / "model")
    saved = replace(saved, inputs=saved.inputs.of_pairs())
    (tmp_path / "onnx").mkdir()
    pairs = list(zip(texts()[:ROWS], texts()[ROWS - 1 :: -1], strict=True))
    rows = saved.inputs.rows([*pairs, *saved.inputs.edge_cases(pairs)])
    comparison = write_onnx(saved, rows, tmp_path / "onnx")
    assert comparison.rows == ROWS + 2
    assert comparison.difference < 1e-5
    tokenizer = tokenizers.Tokenizer.from_file(str(tmp_path / "onnx" / "tokenizer.json"))
    encoded = tokenizer.encode("film " * 70, "a good plot")
    assert encoded.ids == saved.inputs.rows([("film " * 70, "a good plot")])[0]["input_ids"].tolist()
    batch = {"input_ids": encoded.ids, "attention_mask": encoded.attention_mask}
    batch["token_type_ids"] = encoded.type_ids
    found = ask(tmp_path / "onnx", **{name: np.array([values]) for name, values in batch.items()})
    expected = predict_rows(saved, saved.inputs.rows([("film " * 70, "a good plot")]))["logits"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def images() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (ROWS, 40, 32, 3), np.uint8))


def ask(folder: Path, **inputs) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(folder / "model.onnx").run(None, inputs)[0]


@pytest.mark.parametrize("kind", ["textcnn", *map(another, ["pooled", "bag", "bilstm", "windows", "bert"])])
def test_texts_of_any_number_and_length_get_the_same_answer(kind, tmp_path):
    saved = saved_texts(kind, tmp_path / "model")
    (tmp_path / "onnx").mkdir()
    comparison = write_onnx(saved, saved.inputs.rows(texts()), tmp_path / "onnx")
    assert comparison.rows == ROWS + 2
    assert comparison.difference < 1e-5
    assert comparison.agreement == 1
    assert comparison.bytes[0] <= comparison.bytes[1] < comparison.bytes[0] + 100_000
    assert min(comparison.rows_per_second) > 0
    file = (tmp_path / "onnx" / "model.onnx").read_bytes()
    assert not any(path.encode() in file for path in (str(tmp_path), str(ROOT), sys.prefix, "hftune"))
    ids = torch.randint(5, 50, (3, 17))
    mask = torch.ones_like(ids)
    mask[0, 9:] = mask[1, 1:] = 0
    for rows, length in ((3, 17), (1, 17), (2, 1)):
        batch = {"input_ids": ids[:rows, :length], "attention_mask": mask[:rows, :length]}
        with torch.no_grad():
            expected = saved.model(**batch).logits.numpy()
        answers = ask(tmp_path / "onnx", **{name: values.numpy() for name, values in batch.items()})
        np.testing.assert_allclose(answers, expected, atol=1e-5)
    assert expected.std() > 0.01, "nothing was compared"
    assert {path.name for path in (tmp_path / "onnx").iterdir()} >= {
        *("model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json")
    }


@pytest.mark.parametrize("kind", ["bert", another("bilstm_crf")])
def test_words_of_texts_of_any_length_get_the_same_tags(kind, tmp_path):
    saved = saved_tagger(kind, tmp_path / "model")
    (tmp_path / "onnx").mkdir()
    words = [TaggedText.of_words(text.split()[: 3 + row % 40]) for row, text in enumerate(texts()[:ROWS])]
    comparison = write_onnx(saved, saved.inputs.rows(words), tmp_path / "onnx")
    assert comparison.rows == ROWS
    assert comparison.difference < 1e-5
    ids, mask = torch.randint(5, 50, (2, 9)), torch.ones(2, 9, dtype=torch.int64)
    mask[1, 4:] = 0
    with torch.no_grad():
        expected = saved.model(input_ids=ids, attention_mask=mask).logits.numpy()
    found = ask(tmp_path / "onnx", input_ids=ids.numpy(), attention_mask=mask.numpy())
    np.testing.assert_allclose(found[mask > 0], expected[mask > 0], atol=1e-5)


@pytest.mark.parametrize("kind", ["resnet9", *map(another, ["vit", "test_resnet"])])
def test_any_number_of_images_gets_the_same_answer(kind, tmp_path, monkeypatch):
    if kind == "resnet9":  # as if one file could not hold it
        monkeypatch.setattr(onnx_export, "PROTOBUF_LIMIT", 0)
    saved = saved_images(kind, tmp_path / "model")
    (tmp_path / "onnx").mkdir()
    comparison = write_onnx(saved, saved.inputs.rows(images()), tmp_path / "onnx")
    assert comparison.rows == ROWS
    assert comparison.difference < 1e-5
    pixels = torch.stack([row["pixel_values"] for row in saved.inputs.rows(images()[:3])])
    with torch.no_grad():
        expected = saved.model(pixel_values=pixels).logits.numpy()
    np.testing.assert_allclose(ask(tmp_path / "onnx", pixel_values=pixels.numpy()), expected, atol=1e-5)
    assert expected.std() > 0.01, "nothing was compared"
    assert (tmp_path / "onnx" / "preprocessor_config.json").is_file()
    assert (tmp_path / "onnx" / "model.onnx.data").is_file() == (kind == "resnet9")


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A run on the built-in texts, of which the last 24 tokens are read."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    saved_texts("textcnn", tmp_path / "run")
    settings = {"dataset_name": "sample", "max_length": 24, "truncation": "tail", "model_type": "textcnn"}
    return write_record(tmp_path / "run", **settings)


def test_the_command_and_the_example_of_its_help_without_torch(trained, capsys):
    export.main([str(trained)])
    folder = trained / "onnx"
    printed = capsys.readouterr().out
    assert re.search(r"^size, MB +\d+\.\d +\d+\.\d$", printed, re.MULTILINE)
    assert re.search(rf"^same label +{ROWS + 2} of {ROWS + 2} rows$", printed, re.MULTILINE)
    assert printed.endswith(f"wrote {folder}\n")
    assert not list(trained.glob(".tmp*"))

    example = [line[4:] for line in str(export.__doc__).splitlines() if line.startswith("    ")]
    lines = [line for line in example if not line.startswith("hftune ")]
    assert len(lines) == 4
    text = "a boring plot " * 20 + "but good"
    program = "\n".join(lines).replace("runs/imdb/onnx", str(folder)).replace("What a film!", text)
    program += "\nprint(ids)\nimport sys\nassert not {'torch', 'transformers', 'hftune'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    saved = load_model(str(trained))
    rows = saved.inputs.rows([text])
    answers, ids = done.stdout.rsplit("\n", 2)[:2]
    assert ids == str(rows[0]["input_ids"].tolist())
    numbers = [float(number) for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", answers)]
    np.testing.assert_allclose(numbers, predict_rows(saved, rows)["logits"][0], atol=1e-5)


@pytest.mark.parametrize("factor", [1.1, another(float("nan"))])
def test_other_answers_are_an_error_and_nothing_is_left(factor, trained, monkeypatch):
    before = sorted(trained.rglob("*"))

    def spoil(model):
        model.classifier.weight.data.mul_(factor)

    monkeypatch.setattr(onnx_export, "_make_exportable", spoil)
    with pytest.raises(HftuneError, match=r"run: ONNX Runtime gives row \d+ of 66 another") as caught:
        export.main([str(trained)])
    assert caught.value.exit_code == 1
    assert sorted(trained.rglob("*")) == before


def test_what_onnx_has_not_is_one_line(trained, monkeypatch):
    model, read = TextCNNForSequenceClassification, TextCNNForSequenceClassification._read
    monkeypatch.setattr(model, "_read", lambda *inputs: torch.special.bessel_j0(read(*inputs)))
    level = logging.getLogger("torch.onnx").level
    with pytest.raises(BadInput, match=f"run: {model.__name__} cannot be written as ONNX: ") as caught:
        export.main([str(trained)])
    assert logging.getLogger("torch.onnx").level == level
    assert "bessel" in caught.value.message
    assert "\n" not in caught.value.message
    assert not (trained / "onnx").exists()


@pytest.fixture
def compared(monkeypatch):
    """The rows that the command compares on; nothing is written in this test."""
    rows = []

    def write(saved, given, folder):
        (folder / "model.onnx").touch()
        rows.extend(given[row] for row in range(len(given)))
        return onnx_export.Comparison(len(given), 0.0, "in a probability", 1.0, (1, 1), (1.0, 1.0), threads=1)

    monkeypatch.setattr(onnx_export, "write_onnx", write)
    return rows


def test_rows_of_a_file(trained, compared, tmp_path):
    (trained / "run.json").unlink()
    file = tmp_path / "rows.csv"
    lines = [f"{place},{'a good film ' * (place // ROWS + 1)}\n" for place in range(2 * ROWS)]
    file.write_text("number,review\n" + "".join(lines))
    export.main([str(trained), "--test_file", str(file), "--output", str(tmp_path / "a" / "out")])
    assert sorted(tmp_path.glob("a/*/*")) == [tmp_path / "a" / "out" / "model.onnx"]
    assert not list(tmp_path.glob(".tmp*"))
    lengths = [len(row["input_ids"]) for row in compared]
    assert lengths == [3 + 2] * (ROWS // 2) + [6 + 2] * (ROWS // 2) + [1 + 2, 64]  # from all over the file


def test_class_folders_of_a_run(compared, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    saved_images("resnet9", tmp_path / "run")
    for split in ("train", "test"):
        write_class_folders(tmp_path / "pets" / split, 12, split)
    write_record(tmp_path / "run", dataset_name=str(tmp_path / "pets"))
    export.main([str(tmp_path / "run")])
    assert len(compared) == ROWS
    first = load_model(str(tmp_path / "run")).inputs.rows(
        [decode(str(files_of(tmp_path / "pets/test")[0][0]))]
    )
    assert torch.equal(compared[0]["pixel_values"], first[0]["pixel_values"])


def test_few_rows_are_repeated_and_that_is_said(tmp_path, monkeypatch, capsys):
    (tmp_path / "rows.csv").write_text("text,label\na good film,1\na bad film,0\n")
    model = SimpleNamespace(inputs=TextInputs(None, 9))
    found = export._values(model, {"test_file": str(tmp_path / "rows.csv")}, 5)
    assert found == ["a good film", "a bad film"] * 2 + ["a good film"]
    said = capsys.readouterr().out
    assert said == f"--test_file {tmp_path}/rows.csv: 2 rows, repeated up to 5 to compare the models on\n"


REFUSED = [
    ([], "hftune export needs one model"),
    (["run", "more"], "hftune export needs one model"),
    (["run", "--outptu", "x"], "--outptu"),
    (["nowhere/at/all"], "nowhere/at/all: no such folder"),
    (["run", "--output", "full"], "--output full: is there already"),
    (["run", "--output", "rows.csv"], "--output rows.csv: is there already"),
    (["run", "--output", "rows.csv/out"], "rows.csv/out: "),
    (["run", "--test_dir", "full"], "--test_dir full: run reads texts; pass --test_file FILE"),
    (["run", "--test_file", "gone.csv"], "gone.csv"),
    (["run", "--test_file", "rows.csv", "--text_column_name", "body"], "rows.csv has no column 'body'"),
    (["run", "--test_file", "numbers.csv"], "numbers.csv: which column holds the texts?"),
    (["moved"], "moved: no rows to compare on (.*gone.csv.*); pass --test_file FILE"),
    (["plain"], "plain: no rows to compare on (it is no run directory of hftune); pass --test_file FILE"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_refused_with_one_line(words, message, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    (tmp_path / "rows.csv").write_text("text,label\na good film,1\na bad film,0\n")
    (tmp_path / "numbers.csv").write_text("a,b\n1,2\n")
    shutil.copytree(trained, tmp_path / "plain")
    (tmp_path / "plain" / "run.json").unlink()
    shutil.copytree(trained, tmp_path / "moved")
    record = RunRecord.read(trained)
    replace(record, settings={"train_file": "gone.csv"}).write(tmp_path / "moved")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BadInput) as caught:
        export.main(words)
    assert re.search(re.escape(message).replace(r"\.\*", ".*"), caught.value.message)
    assert sorted(tmp_path.rglob("*")) == before


def test_without_the_packages_the_message_names_the_extra(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(BadInput, match=r"hftune\[export\]"):
        export.main([str(trained)])


def test_the_processor_of_a_loaded_timm_model_is_written_too(tmp_path):
    """Transformers saves nothing of it; it stands in config.json."""
    config = TimmWrapperConfig(
        architecture="resnet18",
        pretrained_cfg={"input_size": (3, 48, 48), "mean": (0.5,) * 3, "std": (0.25,) * 3},
        id2label={0: "cat", 1: "dog"},
        label2id={"cat": 0, "dog": 1},
    )
    config.save_pretrained(tmp_path / "run")
    processor = AutoImageProcessor.from_pretrained(tmp_path / "run")
    saved = SimpleNamespace(
        model=SimpleNamespace(config=config), labels=("cat", "dog"), inputs=ImageInputs(processor)
    )
    _describe(saved, tmp_path)
    written = AutoImageProcessor.from_pretrained(tmp_path)
    assert written.data_config == processor.data_config
    assert read_json(tmp_path / "config.json")["id2label"] == {"0": "cat", "1": "dog"}
