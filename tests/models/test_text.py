"""From settings to models: pretrained weights as they were saved, in float32, under the data's labels."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from hftune.data.dataset import Data
from hftune.data.text.tokenize import TextCollator
from hftune.data.text.vocabulary import train_tokenizer
from hftune.errors import BadInput
from hftune.models.cpu_attention import NAME
from hftune.models.heads import label_order
from hftune.models.standalone import TEXT
from hftune.models.text import build_text_classifier
from hftune.settings.text import TextSettings
from hftune.tasks.single_label import SingleLabel
from tests.tiny import FAMILIES, POSITIONS, WORDS, tiny_checkpoint, tiny_model, tiny_tokenizer

LABELS = ("bad", "fair", "good")


class Rows(torch.utils.data.Dataset):
    """Texts of the given numbers of tokens."""

    def __init__(self, lengths):
        self.lengths = np.array(lengths)
        self.targets = np.arange(len(lengths)) % 3

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, row):
        return {"input_ids": np.arange(self.lengths[row]) % 40 + 5, "label": int(self.targets[row])}


def data_of(tokenizer, *, train=(3, 9), validation=(4,), test=None) -> Data:
    return Data(
        train=Rows(train),
        validation=Rows(validation),
        test=None if test is None else Rows(test),
        collate=TextCollator(tokenizer.pad_token_id or 0, "token_type_ids" in tokenizer.model_input_names),
        task=SingleLabel(LABELS),
        processor=tokenizer,
        fingerprint="x",
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Returns a function that gives the folder of a tiny checkpoint; each is made once."""
    made = {}

    def folder(family: str, *arguments, **changes):
        name = repr((family, arguments, sorted(changes.items())))
        if name not in made:
            made[name] = tiny_checkpoint(family, tmp_path_factory.mktemp(family), *arguments, **changes)
        return made[name]

    return folder


def build(folder, family="bert", data=None, **changes):
    tokenizer = tiny_tokenizer(family)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return build_text_classifier(
        TextSettings(model_name_or_path=str(folder), **changes), data or data_of(tokenizer)
    )


def backbone_weights(model) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in model.base_model.state_dict().items() if "pooler" not in name}


def assert_pretrained(model, folder) -> None:
    """Every weight of the backbone is the file's."""
    saved = load_file(folder / "model.safetensors")
    weights = backbone_weights(model)
    assert len(weights) > 10
    for name, tensor in weights.items():
        prefixed = [saved[key] for key in (name, f"{model.base_model_prefix}.{name}") if key in saved]
        assert torch.equal(tensor, prefixed[0].float()), name


def assert_labelled(model) -> None:
    assert model.config.num_labels == 3
    assert model.config.id2label == {0: "bad", 1: "fair", 2: "good"}
    assert model.config.label2id == {"bad": 0, "fair": 1, "good": 2}
    assert model.config.problem_type == "single_label_classification"


@pytest.mark.parametrize("pooling", ["native", "mean", "cls", "attention", "last"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_of_each_family_answers_and_learns(checkpoint, family, pooling):
    folder = checkpoint(family)
    tokenizer = tiny_tokenizer(family)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    data = data_of(tokenizer, train=(3, 9, POSITIONS))
    model = build(folder, family, data, pooling=pooling)
    assert_pretrained(model, folder)
    assert_labelled(model)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    batch = data.collate([data.train[row] for row in range(3)])
    output = model(**batch)
    assert output.logits.shape == (3, 3)
    output.loss.backward()
    assert all(
        parameter.grad is not None for name, parameter in model.named_parameters() if "embeddings" not in name
    )
    assert model.config.get_text_config().pad_token_id == tokenizer.pad_token_id


@pytest.mark.skipif(torch.accelerator.is_available(), reason="of a CPU")
@pytest.mark.parametrize("pooling", ["native", "mean"])
def test_an_encoder_on_a_cpu_attends_text_by_text(checkpoint, pooling):
    backbone = build(checkpoint("bert"), pooling=pooling).base_model
    assert backbone.config._attn_implementation == NAME


@pytest.mark.parametrize("pooling", ["native", "mean"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_checkpoints_train_in_float32(checkpoint, dtype, pooling):
    folder = checkpoint("bert", None, dtype)
    assert load_file(folder / "model.safetensors")["embeddings.LayerNorm.weight"].dtype == dtype
    model = build(folder, pooling=pooling)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert_pretrained(model, folder)


@pytest.mark.parametrize("pooling", ["native", "max"])
def test_what_is_saved_loads_with_its_labels_and_answers_the_same(checkpoint, pooling, tmp_path):
    model = build(checkpoint("bert"), pooling=pooling).eval()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "fair", "2": "good"}
    assert config["dtype"] == "float32"
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    ids = torch.tensor([[2, 9, 8, 3]])
    assert torch.equal(loaded(input_ids=ids).logits, model(input_ids=ids).logits)


@pytest.mark.parametrize("saved_labels", [2, 3, 7])
def test_a_head_for_other_labels_is_replaced(checkpoint, saved_labels):
    """One of as many labels without names keeps its head: so a model that was saved without names goes on."""
    folder = checkpoint("bert", saved_labels)
    model = build(folder)
    assert_pretrained(model, folder)
    assert_labelled(model)
    assert model.classifier.weight.shape == (3, 16)
    saved = load_file(folder / "model.safetensors")["classifier.weight"]
    assert torch.equal(model.classifier.weight[:2], saved[:2]) == (saved_labels == 3)


@pytest.mark.parametrize("pooling", ["native", "mean"])
@pytest.mark.parametrize(
    ("family", "name", "place"),
    [
        ("bert", "attention_probs_dropout_prob", "layer.0.attention.self.dropout"),
        ("distilbert", "attention_dropout", "transformer.layer.0.attention.dropout"),
        ("gpt2", "attn_pdrop", "h.0.attn.attn_dropout"),
    ],
)
def test_attention_weights_are_not_dropped_on_a_cpu_unless_asked_for(
    checkpoint, monkeypatch, caplog, family, name, place, pooling
):
    def dropped(**changes) -> float:
        model = build(checkpoint(family), family, pooling=pooling, **changes)
        (module,) = [module for path, module in model.named_modules() if path.endswith(place)]
        return module.p

    monkeypatch.setattr("hftune.models.encoder.computes_on_cpu", lambda: True)
    with caplog.at_level("INFO", "hftune"):
        assert dropped() == 0
    assert f"--config_overrides {name}=0.1 brings it back" in caplog.text
    caplog.clear()
    assert dropped(config_overrides=f"{name}=0.2") == 0.2
    monkeypatch.setattr("hftune.models.encoder.computes_on_cpu", lambda: False)
    assert dropped() == 0.1
    assert "brings it back" not in caplog.text


def test_overrides_reach_the_config_and_its_modules(checkpoint):
    overrides = "hidden_dropout_prob=0.3,classifier_dropout=0.4"
    native = build(checkpoint("bert"), config_overrides=overrides)
    assert native.config.hidden_dropout_prob == 0.3
    assert native.bert.embeddings.dropout.p == 0.3
    assert native.dropout.p == 0.4
    pooled = build(checkpoint("bert"), config_overrides=overrides, pooling="mean")
    assert pooled.encoder.embeddings.dropout.p == 0.3
    assert pooled.dropout.p == 0.4
    fewer = build(checkpoint("bert"), config_overrides="num_hidden_layers=1")
    assert len(fewer.bert.encoder.layer) == 1


def relabelled(folder, family, labels):
    """Builds from a checkpoint for data of other labels; the same seed each time."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return build(folder, family, dataclasses.replace(data_of(tokenizer), task=SingleLabel(labels))).eval()


def named_checkpoint(kind, vocabulary, folder):
    """Saves a classifier of bad, fair and good: a native one, a pooled one or a small net."""
    if kind in TEXT:
        settings = TextSettings(model_type=kind, config_overrides="embedding_dim=8")
        model, tokenizer = build_text_classifier(settings, data_of(vocabulary)), vocabulary
    elif kind == "pooled":
        model = build(tiny_checkpoint("bert", folder / "bare"), pooling="attention")
        tokenizer = tiny_tokenizer("bert")
    else:
        names = {"id2label": dict(enumerate(LABELS)), "label2id": dict(zip(LABELS, range(3), strict=True))}
        model, tokenizer = tiny_model(kind, 3, **names), tiny_tokenizer(kind)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


KINDS = ("bert", "roberta", "gpt2", "pooled", *TEXT)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_for_as_many_other_labels_is_new(vocabulary, kind, tmp_path, caplog):
    folder = named_checkpoint(kind, vocabulary, tmp_path)
    with caplog.at_level("INFO", "hftune"):
        model = relabelled(folder, kind, ("news", "sport", "wit"))
    assert "the checkpoint's classifier is for bad, fair, good, not news, sport, wit" in caplog.text
    assert "the classifier is new" in caplog.text
    assert model.config.id2label == {0: "news", 1: "sport", 2: "wit"}
    saved = load_file(folder / "model.safetensors")
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, saved[name])}
    place = {"roberta": "classifier.out_proj", "gpt2": "score"}.get(kind, "classifier")
    assert changed == {f"{place}.{name}" for name in ("weight", "bias") if f"{place}.{name}" in saved}
    weight, bias = model.get_parameter(f"{place}.weight"), model.state_dict().get(f"{place}.bias")
    assert 0 < weight.std() < 1
    assert weight.requires_grad
    assert bias is None or not bias.any()
    again = relabelled(folder, kind, ("news", "sport", "wit"))
    assert torch.equal(again.get_parameter(f"{place}.weight"), weight)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_that_knows_the_labels_answers_in_their_order(vocabulary, kind, tmp_path, caplog):
    folder = named_checkpoint(kind, vocabulary, tmp_path)
    batch = {"input_ids": torch.tensor([[7, 9, 8, 12, 11]]), "attention_mask": torch.ones(1, 5).long()}
    with caplog.at_level("INFO", "hftune"):
        same = relabelled(folder, kind, LABELS)
        assert "the classifier is" not in caplog.text
        turned = relabelled(folder, kind, ("good", "bad", "fair"))
    assert "the classifier is kept, in the data's order of labels: good, bad, fair" in caplog.text
    assert turned.config.label2id == {"good": 0, "bad": 1, "fair": 2}
    saved = load_file(folder / "model.safetensors")
    for name, weight in same.state_dict().items():
        assert torch.equal(weight, saved[name]), name
    bad, fair, good = same(**batch).logits[0].tolist()
    assert len({bad, fair, good}) == 3
    assert turned(**batch).logits[0].tolist() == pytest.approx([good, bad, fair], abs=1e-5)


@pytest.mark.parametrize("labels", [("GOOD", "Bad", "fair"), ("good", "bad")])
def test_labels_of_other_letters_are_known_and_fewer_labels_are_others(vocabulary, labels, tmp_path, caplog):
    """As where NLI checkpoints say ENTAILMENT, or have three labels for data of two."""
    folder = named_checkpoint("bert", vocabulary, tmp_path)
    with caplog.at_level("INFO", "hftune"):
        model = relabelled(folder, "bert", labels)
    assert model.config.id2label == dict(enumerate(labels))
    saved = load_file(folder / "model.safetensors")["classifier.weight"]
    if len(labels) == 3:
        assert "the classifier is kept, in the data's order of labels: GOOD, Bad, fair" in caplog.text
        assert torch.equal(model.classifier.weight, saved[[LABELS.index(name.lower()) for name in labels]])
    else:
        assert "the checkpoint's classifier is for bad, fair, good, not good, bad" in caplog.text
        assert "the classifier is new: it starts from random numbers" in caplog.text
        assert model.classifier.weight.shape == (2, saved.shape[1])


@pytest.mark.parametrize(("saved", "line"), [(3, True), (2, False), (None, False)])
def test_a_head_without_names_is_kept_and_said(checkpoint, saved, line, caplog):
    with caplog.at_level("INFO", "hftune"):
        build(checkpoint("bert", saved))
    assert ("the classifier is kept: the checkpoint has as many labels, without names" in caplog.text) is line


POOLINGS = pytest.mark.parametrize("pooling", ["native", "mean"])


@POOLINGS
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            "hidden_dropout=0.3",
            "--config_overrides hidden_dropout: bert has no such setting; did you mean",
        ),
        ("hidden_dropout_prob=much", "--config_overrides hidden_dropout_prob=much: .*hidden_dropout_prob"),
        ("num_attention_heads=3", "not a multiple of the number of attention heads"),
        ("hidden_size=32", "--model_name_or_path .*weights"),
        ("vocab_size=50", "--model_name_or_path .*weights"),
        ("num_hidden_layers=3", "--model_name_or_path .*lacks 16 of the .*weights"),
    ],
)
def test_overrides_that_cannot_be_are_bad_input(checkpoint, overrides, message, pooling):
    """Above all those that would have made a pretrained backbone a random one, without a word."""
    with pytest.raises(BadInput, match=message) as caught:
        build(checkpoint("bert"), config_overrides=overrides, pooling=pooling)
    assert "\n" not in caught.value.message


@POOLINGS
def test_a_pickle_is_never_opened(tmp_path, pooling):
    folder = tiny_checkpoint("bert", tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(BadInput, match=f"--model_name_or_path {folder}"):
        build(folder, pooling=pooling)


@POOLINGS
@pytest.mark.parametrize("damage", ["cut weights", "no weights", "broken config", "no config", "no folder"])
def test_a_damaged_checkpoint_is_bad_input(tmp_path, damage, pooling):
    folder = tiny_checkpoint("bert", tmp_path / "checkpoint")
    weights, config = folder / "model.safetensors", folder / "config.json"
    if damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:9000])
    elif damage == "no weights":
        weights.unlink()
    elif damage == "broken config":
        config.write_text("{")
    elif damage == "no config":
        config.unlink()
    else:
        folder = tmp_path / "missing"
    with pytest.raises(BadInput, match=f"--model_name_or_path {folder}"):
        build(folder, pooling=pooling)


@POOLINGS
@pytest.mark.parametrize("family", FAMILIES)
def test_texts_longer_than_the_positions_are_bad_input(checkpoint, family, pooling):
    """In RoBERTa a position is lost to the padding's, and all before it: 66 rows, 64 tokens."""
    tokenizer = tiny_tokenizer(family)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    for split in ("train", "validation", "test"):
        data = data_of(tokenizer, **{split: (5, POSITIONS + 1)})
        with pytest.raises(
            BadInput, match=rf"--max_length 512: .* {POSITIONS} tokens at most; pass --max_length 64"
        ):
            build(checkpoint(family), family, data, pooling=pooling)
    fits = data_of(tokenizer, train=(POSITIONS,), validation=(POSITIONS,), test=(POSITIONS,))
    model = build(checkpoint(family), family, fits, pooling=pooling)
    assert model(**fits.collate([fits.train[0]])).logits.isfinite().all()


def test_the_limit_of_relatives_of_roberta_is_read_from_the_model(tmp_path):
    """MPNet and CamemBERT count positions the same way, under other names."""
    config = AutoConfig.for_model(
        "mpnet",
        vocab_size=115,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=POSITIONS + 2,
    )
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(BadInput, match=f"reads {POSITIONS} tokens at most"):
        build(tmp_path, data=data_of(tiny_tokenizer("bert"), train=(POSITIONS + 1,)))
    build(tmp_path, data=data_of(tiny_tokenizer("bert"), train=(POSITIONS,)))


@pytest.fixture(scope="module")
def vocabulary():
    return train_tokenizer([" ".join(WORDS)] * 2)


@pytest.mark.parametrize("kind", TEXT)
def test_a_small_model_fits_the_vocabulary_and_the_labels(vocabulary, kind, tmp_path):
    data = data_of(vocabulary)
    settings = TextSettings(model_type=kind, config_overrides="embedding_dim=8")
    model = build_text_classifier(settings, data)
    assert_labelled(model)
    assert model.get_input_embeddings().weight.shape == (len(vocabulary), 8)
    assert model.config.pad_token_id == vocabulary.pad_token_id
    output = model(**data.collate([data.train[0], data.train[1]]))
    assert output.logits.shape == (2, 3)
    assert output.loss.isfinite()
    model.save_pretrained(tmp_path)
    vocabulary.save_pretrained(tmp_path)
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == len(vocabulary)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bilstm", "config_overrides": "num_layer=2"}, "did you mean num_layers"),
        (
            {"model_type": "bilstm", "config_overrides": "hidden_size=big"},
            "--config_overrides hidden_size=big: ",
        ),
    ],
)
def test_a_small_model_that_cannot_be_is_bad_input(vocabulary, changes, message):
    with pytest.raises(BadInput, match=message):
        build_text_classifier(TextSettings(**changes), data_of(vocabulary))


@pytest.mark.parametrize("frozen", [True, False])
def test_word_vectors_are_put_in_and_frozen_on_demand(vocabulary, frozen, tmp_path, caplog):
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("film 1 2 3 4\nelsewhere 9 9 9 9\ngood -1 0 0.5 2\n")
    settings = TextSettings(model_type="textcnn", embeddings=str(vectors), freeze_embeddings=frozen)
    data = data_of(vocabulary)
    with caplog.at_level("INFO", "hftune"):
        model = build_text_classifier(settings, data)
    weight = model.get_input_embeddings().weight
    ids = vocabulary.get_vocab()
    assert weight.shape == (len(vocabulary), 4)
    assert weight[ids["film"]].tolist() == [1, 2, 3, 4]
    assert weight[ids["good"]].tolist() == [-1, 0, 0.5, 2]
    assert weight.requires_grad != frozen
    running = np.concatenate([data.train[row]["input_ids"] for row in range(len(data.train))])
    covered = np.isin(running, [ids["film"], ids["good"]]).mean()
    assert f"2 of {len(ids):,} words" in caplog.text
    assert f"{100 * covered:.1f} % of running tokens" in caplog.text


IN_WINDOWS = {"truncation": "window", "max_length": 20, "window_stride": 4, "max_windows": 2}


def test_windows_are_in_the_config_and_the_mean_is_their_pooling(checkpoint):
    folder = checkpoint("bert")
    model = build(folder, data=data_of(tiny_tokenizer("bert"), train=(3, 500)), **IN_WINDOWS)
    assert_pretrained(model, folder)
    assert_labelled(model)
    config = model.config
    assert (config.pooling, config.window, config.window_stride, config.max_windows) == ("mean", 20, 4, 64)
    assert (config.special_tokens_before, config.special_tokens_after) == (1, 1)
    assert build(folder, pooling="cls", **IN_WINDOWS).config.pooling == "cls"
    gpt2 = build(checkpoint("gpt2"), "gpt2", **IN_WINDOWS).config
    assert (gpt2.special_tokens_before, gpt2.special_tokens_after) == (0, 0)


def test_a_window_is_no_longer_than_the_model_reads(checkpoint):
    long = IN_WINDOWS | {"max_length": POSITIONS + 1}
    with pytest.raises(BadInput, match=f"reads {POSITIONS} tokens at most; pass --max_length {POSITIONS}"):
        build(checkpoint("bert"), **long)  # though every text here is shorter


@pytest.mark.parametrize("windows", [IN_WINDOWS, {}])
def test_a_pooled_model_goes_on_in_windows_with_its_pooling(checkpoint, tmp_path, windows):
    first = build(checkpoint("bert"), pooling="max", **windows)
    first.save_pretrained(tmp_path)
    tiny_tokenizer("bert").save_pretrained(tmp_path)
    second = build(tmp_path, **IN_WINDOWS | {"window_stride": 5})
    assert (second.config.window, second.config.window_stride, second.config.pooling) == (20, 5, "max")
    assert all(torch.equal(value, first.state_dict()[name]) for name, value in second.state_dict().items())
    with pytest.raises(BadInput, match=r"--pooling cls: .* has the pooling max; leave it out"):
        build(tmp_path, pooling="cls", **IN_WINDOWS)
    if windows:
        with pytest.raises(BadInput, match="in windows; pass --truncation window --max_length 20"):
            build(tmp_path)
    else:
        assert build(tmp_path).config.window is None


def test_the_mean_of_pairs_compares_their_texts_where_segments_tell_them_apart(checkpoint):
    def built(family, pooling, input_config):
        data = dataclasses.replace(data_of(tiny_tokenizer(family)), input_config=input_config)
        return build(checkpoint(family), family, data, pooling=pooling)

    pairs = {"text_pair": True, "truncation": "longest_first"}
    model = built("bert", "mean", pairs)
    assert model.config.compares_texts
    assert_labelled(model)
    assert_pretrained(model, checkpoint("bert"))
    assert not built("bert", "mean", {}).config.compares_texts
    assert not built("bert", "max", pairs).config.compares_texts
    assert not built("roberta", "mean", pairs).config.compares_texts  # its tokenizer makes no segments


def test_the_texts_of_a_pair_are_read_apart_where_that_was_asked_for(checkpoint):
    def built(family, pooling, input_config):
        data = dataclasses.replace(data_of(tiny_tokenizer(family)), input_config=input_config)
        return build(checkpoint(family), family, data, pooling=pooling, pair_encoder="bi")

    pairs = {"text_pair": True, "truncation": "longest_first"}
    assert built("bert", "mean", pairs).config.pair_encoder == "bi"
    for family, pooling, kind in (
        ("bert", "mean", {}),
        ("bert", "cls", pairs),
        ("bert", "native", pairs),
        ("roberta", "mean", pairs),
    ):
        with pytest.raises(BadInput, match="pair_encoder bi needs pairs"):
            built(family, pooling, kind)


def test_labels_in_the_same_order_stay_there_though_two_have_one_name():
    """ImageNet has two classes called crane."""
    names = ["crane", "dog", "crane"]
    assert label_order(names, names) == [0, 1, 2]
    assert label_order(["dog", "crane"], ["crane", "dog"]) == [1, 0]
