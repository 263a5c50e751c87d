"""Saved models answer as transformers' pipeline does, in order; what cannot be loaded is one line."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, BitImageProcessorPil, pipeline

from hftune.errors import BadInput
from hftune.inference.load import load_model
from hftune.inference.predict import predict_rows
from hftune.models.standalone import STANDALONE
from hftune.models.standalone.bag import BagConfig, BagForSequenceClassification
from hftune.models.standalone.bilstm import BiLSTMConfig, BiLSTMForSequenceClassification
from hftune.models.standalone.pooled import PooledEncoderConfig, PooledEncoderForSequenceClassification
from hftune.models.standalone.resnet9 import ResNet9Config, ResNet9ForImageClassification
from hftune.models.standalone.textcnn import TextCNNConfig, TextCNNForSequenceClassification
from tests.forked import run_python
from tests.loopback import Fault, Hub
from tests.runs import write_record
from tests.tiny import FAMILIES, SIZES, WORDS, tiny_checkpoint, tiny_model, tiny_tokenizer

ROOT = Path(__file__).parents[2]
LABELS = {0: "bad", 1: "fair", 2: "good"}
OURS = ("textcnn", "bilstm", "bag", "pooled")


def random_texts(count: int, longest: int) -> list[str]:
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS[:60], random.integers(1, longest))) for _ in range(count)]


def save_ours(kind: str, folder: Path) -> Path:
    """Saves one of our text models with a tokenizer that cuts at 40 tokens."""
    tokenizer = tiny_tokenizer("bert")
    tokenizer.model_max_length = 40
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "embedding_dim": 8}
    torch.manual_seed(0)
    model = {
        "textcnn": lambda: TextCNNForSequenceClassification(TextCNNConfig(**sizes, id2label=LABELS)),
        "bilstm": lambda: BiLSTMForSequenceClassification(BiLSTMConfig(**sizes, id2label=LABELS)),
        "bag": lambda: BagForSequenceClassification(BagConfig(**sizes, num_buckets=50, id2label=LABELS)),
        "pooled": lambda: PooledEncoderForSequenceClassification(
            PooledEncoderConfig(encoder_config=tiny_model("bert").config, pooling="mean", id2label=LABELS)
        ),
    }[kind]()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_images_model(folder: Path) -> Path:
    torch.manual_seed(0)
    model = ResNet9ForImageClassification(ResNet9Config(width=4, id2label=LABELS))
    with torch.no_grad():
        model.train()(pixel_values=torch.randn(8, 3, 16, 16))  # statistics that do something
    model.save_pretrained(folder)
    side = {"height": 16, "width": 16}
    BitImageProcessorPil(size={"shortest_edge": 20}, crop_size=side).save_pretrained(folder)
    return folder


def softmax(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).softmax(-1).numpy()


def scores_of(line: list[dict], labels: tuple[str, ...]) -> list[float]:
    by_label = {entry["label"]: entry["score"] for entry in line}
    return [by_label[label] for label in labels]


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return tiny_checkpoint("bert", tmp_path_factory.mktemp("bert"), num_labels=3, id2label=LABELS)


@pytest.mark.parametrize("family", [*FAMILIES, *OURS])
def test_texts_get_the_pipelines_scores_in_their_order(family, tmp_path):
    if family in OURS:
        save_ours(family, tmp_path)
    else:
        tiny_checkpoint(family, tmp_path, num_labels=3, id2label=LABELS)
    saved = load_model(str(tmp_path))
    assert saved.inputs.modality == "text"
    assert saved.labels == ("bad", "fair", "good")
    assert saved.inputs.truncation == "head"
    assert saved.inputs.max_length == (40 if family in OURS else 64)
    texts = random_texts(23, longest=90)
    rows = saved.inputs.rows(texts)
    assert rows.lengths.max() == saved.inputs.max_length < rows.tokens.max()
    seen: list[int] = []
    logits = predict_rows(saved, rows, rows_per_batch=4, on_progress=seen.append)["logits"]
    assert (logits.dtype, logits.shape, sum(seen)) == (np.float32, (23, 3), 23)
    theirs = pipeline("text-classification", str(tmp_path), top_k=None)
    expected = [scores_of(line, saved.labels) for line in theirs(texts, truncation=True)]
    np.testing.assert_allclose(softmax(logits), expected, atol=1e-5)
    assert np.ptp(softmax(logits), axis=0).max() > 1e-3, "every text gets the same answer"


def test_images_get_the_pipelines_scores_in_their_order(tmp_path):
    from PIL import Image

    saved = load_model(str(save_images_model(tmp_path)))
    assert (saved.inputs.modality, saved.labels) == ("image", (*LABELS.values(),))
    random = np.random.default_rng(0)
    images = [random.integers(0, 255, (20 + row, 50 - row, 3), dtype=np.uint8) for row in range(9)]
    logits = predict_rows(saved, saved.inputs.rows(images), rows_per_batch=4)["logits"]
    theirs = pipeline("image-classification", str(tmp_path), top_k=3)
    expected = [scores_of(line, saved.labels) for line in theirs([Image.fromarray(p) for p in images])]
    np.testing.assert_allclose(softmax(logits), expected, atol=1e-5)
    assert np.ptp(softmax(logits), axis=0).max() > 1e-3, "every image gets the same answer"


def test_a_run_says_how_its_texts_are_cut(tmp_path, bert):
    folder = tiny_checkpoint("bert", tmp_path, num_labels=3)
    write_record(folder, max_length=10, truncation="tail")
    saved = load_model(str(folder))
    assert (saved.inputs.max_length, saved.inputs.truncation) == (10, "tail")
    words = ["bad", "get", "do", "great", "been", "because", "people", "will", "other", "also", "into"]
    rows = saved.inputs.rows([" ".join(words), "\x01", "film"])  # the second has no sign at all
    tokenizer = saved.inputs.processor
    cls, sep, unknown = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.unk_token_id
    assert rows[0]["input_ids"].tolist() == [cls, *tokenizer.convert_tokens_to_ids(words[-8:]), sep]
    assert rows[1]["input_ids"].tolist() == [cls, unknown, sep]
    assert rows.lengths.tolist() == [10, 3, 3]
    assert rows.tokens.tolist() == [13, 3, 3]
    assert rows.targets.tolist() == [0, 0, 0]


def configured(folder: Path, **changes) -> Path:
    """Changes a saved tokenizer's own file; None removes what it says."""
    path = folder / "tokenizer_config.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return folder


def test_a_tokenizer_that_keeps_the_end_is_cut_as_the_pipeline_cuts(tmp_path):
    configured(tiny_checkpoint("bert", tmp_path, num_labels=3), truncation_side="left", model_max_length=12)
    saved = load_model(str(tmp_path))
    assert (saved.inputs.max_length, saved.inputs.truncation) == (12, "tail")
    texts = random_texts(9, longest=60)
    rows = saved.inputs.rows(texts)
    assert rows.tokens.max() > 30
    theirs = pipeline("text-classification", str(tmp_path), top_k=None)
    assert theirs.tokenizer.truncation_side == "left"
    expected = [scores_of(line, saved.labels) for line in theirs(texts, truncation=True)]
    np.testing.assert_allclose(softmax(predict_rows(saved, rows)["logits"]), expected, atol=1e-5)
    write_record(tmp_path, max_length=10, truncation="head+tail")  # a run knows better
    saved = load_model(str(tmp_path))
    assert (saved.inputs.max_length, saved.inputs.truncation) == (10, "head+tail")


def test_a_tokenizer_that_leaves_no_room_for_a_text_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    configured(tiny_checkpoint("bert", tmp_path / "model", num_labels=3), model_max_length=2)
    with pytest.raises(BadInput, match=r"^model: a max_length of 2: the special tokens alone are 2$"):
        load_model("model").inputs.rows(["good film"])


def test_weights_in_half_precision_answer_in_float32(tmp_path):
    tiny_checkpoint("bert", tmp_path, num_labels=3, dtype=torch.bfloat16)
    saved = load_model(str(tmp_path))
    assert {parameter.dtype for parameter in saved.model.parameters()} == {torch.float32}
    assert not saved.model.training


def test_a_model_without_positions_in_its_tokenizer_is_cut_at_its_own(tmp_path):
    tiny_checkpoint("roberta", tmp_path, num_labels=3)
    configured(tmp_path, model_max_length=None)
    saved = load_model(str(tmp_path))
    assert saved.inputs.max_length == 64  # of 66 positions RoBERTa leaves two out
    assert np.isfinite(predict_rows(saved, saved.inputs.rows(random_texts(2, longest=300)))["logits"]).all()


def changed(folder: Path, **changes) -> Path:
    """Changes a saved model's config."""
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def backbone(folder: Path) -> Path:
    BertModel(BertConfig(vocab_size=200, **SIZES)).save_pretrained(folder)
    tiny_tokenizer("bert").save_pretrained(folder)
    return folder


def pickled(folder: Path) -> Path:
    """A checkpoint of old: were it opened, it would make a file."""
    tiny_checkpoint("bert", folder, num_labels=3)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    return folder


def without(folder: Path, name: str) -> Path:
    tiny_checkpoint("bert", folder, num_labels=3)
    (folder / name).unlink()
    return folder


def shortened(folder: Path) -> Path:
    """Weights of another size than the config says."""
    tiny_checkpoint("bert", folder, num_labels=3)
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"] = tensors["classifier.weight"][:2].contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def cut_off(folder: Path) -> Path:
    tiny_checkpoint("bert", folder, num_labels=3)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:1000])
    return folder


def without_tokenizer(folder: Path) -> Path:
    tiny_model("bert", 3).save_pretrained(folder)
    return folder


def labels_of(count: int) -> dict:
    return {"id2label": {str(number): f"LABEL_{number}" for number in range(count)}}


def no_model(folder: Path) -> Path:
    (folder / "config.json").write_text('{"note": "this is something else"}')
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def checkpoint(folder: Path) -> Path:
    (folder / "manifest.json").write_text("{}")
    return folder


BROKEN = {
    "unfinished": (lambda at: write_record(at, finished=False), "is not finished"),
    "empty": (lambda at: at, "no model could be loaded: it has no config.json; pass a run directory"),
    "checkpoint": (checkpoint, "pass the run directory that this checkpoint lies in"),
    "config": (lambda at: no_model(at), "model_type"),
    "not json": (lambda at: (at / "config.json").write_text("{") and at, "config.json: not JSON at line 1"),
    "pickled": (pickled, "only pickled weights (pytorch_model.bin), which are never opened; ask its owner"),
    "no weights": (lambda at: without(at, "model.safetensors"), "has no weights (model.safetensors)"),
    "cut off": (cut_off, "no text model could be loaded: Error while deserializing header"),
    "other size": (shortened, "classifier.weight of its weights has another shape than config.json says"),
    "backbone": (backbone, "is not trained to classify: its weights lack classifier"),
    "no tokenizer": (without_tokenizer, "no tokenizer could be loaded"),
    "several numbers": (
        lambda at: changed(tiny_checkpoint("bert", at, num_labels=3), problem_type="regression"),
        "gives 3 numbers a row; hftune reads regressions that give one",
    ),
    "one output": (
        lambda at: tiny_checkpoint("bert", at, num_labels=1),
        "has one output, and its config.json does not say what that is; where it is a number, write",
    ),
    "code": (
        lambda at: changed(
            tiny_checkpoint("bert", at, num_labels=3),
            auto_map={"AutoModelForSequenceClassification": "surprise.Model"},
        ),
        "comes with code of its own, which is not run unasked; read it, then pass --trust_remote_code",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_loaded_is_one_line(kind, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    make, message = BROKEN[kind]
    make(folder)
    (folder / "surprise.py").write_text("import pathlib\npathlib.Path('opened').touch()\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as refused:
        load_model("model")
    assert message in refused.value.message
    assert refused.value.message.startswith("model")
    assert "\n" not in refused.value.message
    assert str(tmp_path) not in str(refused.value)
    assert not Path("opened").exists()


def test_the_code_of_ours_is_never_taken_from_the_folder(tmp_path, monkeypatch):
    folder = save_ours("textcnn", tmp_path / "model")
    code = folder / "textcnn.py"
    assert code.exists()
    code.write_text("import pathlib\npathlib.Path('opened').touch()\n" + code.read_text())
    monkeypatch.chdir(tmp_path)
    for trust in (False, True):
        saved = load_model("model", trust_remote_code=trust)
        assert type(saved.model) is TextCNNForSequenceClassification
    assert not Path("opened").exists()
    assert {"textcnn", "resnet9"} <= STANDALONE.keys()


def test_code_that_was_asked_for_runs(tmp_path, monkeypatch):
    folder = save_ours("textcnn", tmp_path / "model")
    code = (folder / "textcnn.py").read_text().replace('"textcnn"', '"foreign"')
    (folder / "foreign.py").write_text("import pathlib\npathlib.Path('opened').touch()\n" + code)
    classes = {
        "AutoConfig": "TextCNNConfig",
        "AutoModelForSequenceClassification": TextCNNForSequenceClassification,
    }
    named = {key: f"foreign.{getattr(name, '__name__', name)}" for key, name in classes.items()}
    changed(folder, model_type="foreign", auto_map=named)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="--trust_remote_code"):
        load_model("model")
    assert not Path("opened").exists()
    saved = load_model("model", trust_remote_code=True)
    assert Path("opened").exists()
    assert saved.labels == ("bad", "fair", "good")


def test_offline_a_name_that_is_not_cached_is_one_line():
    with pytest.raises(BadInput, match="acme/gone: no such folder, and the Hub cannot be reached"):
        load_model("acme/gone")
    with pytest.raises(BadInput, match="runs/of/mine: no such folder, and not a Hub id"):
        load_model("runs/of/mine")


ON_THE_HUB = """
import sys
from hftune.errors import BadInput
from hftune.inference.predict import predict_rows
from hftune.inference.load import load_model
for name, revision in (("ann/good", None), ("ann/gone", None), ("ann/good", "v9"), ("ann/locked", None),
                       ("ann/pickled", None), ("ann/other", None), ("ann/ours", None)):
    try:
        saved = load_model(name, revision=revision)
        print(name, saved.labels, predict_rows(saved, saved.inputs.rows(["good film"]))["logits"][0].tolist())
    except BadInput as error:
        print(error)
"""


def test_models_come_from_the_hub_and_what_it_lacks_is_one_line(tmp_path, bert):
    ours = save_ours("bag", tmp_path / "ours")
    refused = {"ann/gone": "RepoNotFound", "ann/locked": "GatedRepo", "/resolve/v9/": "RevisionNotFound"}
    with Hub() as hub:
        for name, folder in {"ann/good": bert, "ann/ours": ours}.items():
            hub.create(
                name, files={path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
            )
        hub.create(
            "ann/pickled", files={"config.json": b'{"model_type": "bert"}', "pytorch_model.bin": b"no"}
        )
        hub.create("ann/other", files={"README.md": b"no model"})
        hub.faults += [
            Fault(path, times=99, status=404 if code != "GatedRepo" else 403, headers={"X-Error-Code": code})
            for path, code in refused.items()
        ]
        env = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
        env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1"}
        done = run_python(["-c", ON_THE_HUB], env=env, cwd=ROOT)
        assert not any("pytorch_model" in path and method == "GET" for method, path, _, _ in hub.log)
    assert done.returncode == 0, done.stderr
    good, gone, revision, locked, only_pickled, other, own = done.stdout.splitlines()
    saved = load_model(str(bert))
    expected = predict_rows(saved, saved.inputs.rows(["good film"]))["logits"][0].tolist()
    assert good == f"ann/good {saved.labels} {expected}"
    assert gone.startswith("ann/gone: no such folder, and no such model on the Hub, or a private one")
    assert revision == "ann/good has no revision 'v9'; pass a branch, a tag or a commit of it"
    assert locked.startswith("ann/locked is gated: ask for access")
    assert only_pickled.startswith("ann/pickled has only pickled weights (pytorch_model.bin)")
    assert other.startswith("ann/other: no config.json there")
    assert own.startswith("ann/ours ('bad', 'fair', 'good') [")
