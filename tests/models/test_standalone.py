"""The small models: padding, gradients, and saved models that load where hftune is not installed."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from hftune.models import standalone
from hftune.models.standalone.bag import BagConfig, BagForSequenceClassification, hash_pairs
from hftune.models.standalone.bilstm import BiLSTMConfig, BiLSTMForSequenceClassification
from hftune.models.standalone.pooled import (
    POOLINGS,
    PooledEncoderConfig,
    PooledEncoderForSequenceClassification,
)
from hftune.models.standalone.textcnn import TextCNNConfig, TextCNNForSequenceClassification
from tests.forked import run_python

VOCAB = 50
NAMES = {"id2label": {0: "bad", 1: "fair", 2: "good"}, "label2id": {"bad": 0, "fair": 1, "good": 2}}
SMALL = {
    "textcnn": lambda: TextCNNForSequenceClassification(
        TextCNNConfig(vocab_size=VOCAB, embedding_dim=8, kernel_sizes=[2, 5], num_filters=6, **NAMES)
    ),
    "textcnn-mean": lambda: TextCNNForSequenceClassification(
        TextCNNConfig(
            vocab_size=VOCAB, embedding_dim=8, kernel_sizes=[2, 5], num_filters=6, readout="max+mean", **NAMES
        )
    ),
    "bag": lambda: BagForSequenceClassification(
        BagConfig(vocab_size=VOCAB, embedding_dim=8, num_buckets=97, initializer_range=1.0, **NAMES)
    ),
    "bag-hidden": lambda: BagForSequenceClassification(
        BagConfig(vocab_size=VOCAB, embedding_dim=8, ngrams=1, hidden_size=8, initializer_range=1.0, **NAMES)
    ),
    **{
        f"bilstm-{readout}": lambda readout=readout: BiLSTMForSequenceClassification(
            BiLSTMConfig(
                vocab_size=VOCAB, embedding_dim=8, hidden_size=6, num_layers=2, readout=readout, **NAMES
            )
        )
        for readout in ("final", "mean", "max", "attention")
    },
}
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": VOCAB,
    "pad_token_id": 0,
}
BACKBONES = {
    "bert": SIZES,
    "roberta": {**SIZES, "max_position_embeddings": 40},
    "electra": {**SIZES, "embedding_size": 8},
    "modernbert": {**SIZES, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "vocab_size": VOCAB},
    "gpt2": {
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 40,
        "vocab_size": VOCAB,
        "pad_token_id": 0,
    },
}
texts = st.lists(st.lists(st.integers(1, VOCAB - 1), min_size=1, max_size=9), min_size=1, max_size=5)


def test_the_list_has_every_file():
    files = {path.stem for path in Path(standalone.__file__).parent.glob("*.py")}
    assert {place.split(".")[0] for place in standalone.STANDALONE.values()} == files - {"__init__"}


def small(name: str):
    torch.manual_seed(0)
    return SMALL[name]().eval()


def pooled(backbone: str, pooling: str):
    torch.manual_seed(0)
    encoder = AutoConfig.for_model(backbone, **BACKBONES[backbone])
    config = PooledEncoderConfig(encoder_config=encoder, pooling=pooling, **NAMES)
    return PooledEncoderForSequenceClassification(config).eval()


def pad(rows: list[list[int]], extra: int = 0, side: str = "right") -> dict[str, torch.Tensor]:
    """Pads rows to a common length plus `extra`; its id is a word's, so only the mask tells."""
    length = max(map(len, rows)) + extra
    fill = [[1] * (length - len(row)) for row in rows]
    ids = [row + more if side == "right" else more + row for row, more in zip(rows, fill, strict=True)]
    mask = [
        [1] * len(row) + [0] * len(more) if side == "right" else [0] * len(more) + [1] * len(row)
        for row, more in zip(rows, fill, strict=True)
    ]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=25, deadline=None)
@given(rows=texts, extra=st.integers(0, 12), side=st.sampled_from(["left", "right"]))
def test_neither_padding_nor_neighbours_change_a_logit(name, rows, extra, side):
    model = small(name)
    with torch.no_grad():
        together = model(**pad(rows, extra, side)).logits
        alone = torch.cat([model(**pad([row])).logits for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", SMALL)
def test_without_a_mask_the_padding_id_is_padding(name):
    model = small(name)
    with torch.no_grad():
        short = model(torch.tensor([[5, 6, 7]])).logits
        long = model(torch.tensor([[5, 6, 7, 0, 0, 0, 0]])).logits
        empty = model(torch.tensor([[0, 0, 0]])).logits
    torch.testing.assert_close(short, long, atol=1e-6, rtol=0)
    assert empty.isfinite().all()


@pytest.mark.parametrize("name", SMALL)
def test_order_of_words_matters_only_where_it_should(name):
    model = small(name)
    with torch.no_grad():
        same = torch.allclose(
            model(torch.tensor([[5, 6, 7, 8]])).logits, model(torch.tensor([[8, 6, 7, 5]])).logits, atol=1e-6
        )
    assert same == (name == "bag-hidden")  # words alone; all others see at least pairs


@pytest.mark.parametrize("name", SMALL)
def test_padding_gets_no_gradient_and_everything_else_some(name):
    model = small(name).train()
    batch = {"input_ids": torch.tensor([[5, 6, 7, 0, 0], [8, 9, 10, 11, 12]])}
    loss = model(**batch, labels=torch.tensor([0, 2])).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert model.get_input_embeddings().weight.grad[0].abs().max() == 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_loss_is_mean_cross_entropy(name):
    model = small(name)
    batch, labels = pad([[5, 6, 7], [8]]), torch.tensor([2, 1])
    out = model(**batch, labels=labels)
    torch.testing.assert_close(out.loss, -out.logits.log_softmax(1)[[0, 1], labels].mean())


@pytest.mark.parametrize("name", SMALL)
def test_runs_under_autocast_with_a_float32_loss(name):
    if name.startswith("bilstm") and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this CPU computes no LSTM in bfloat16")
    model = small(name).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**pad([[5, 6, 7], [8]]), labels=torch.tensor([2, 1])).loss
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()


def test_textcnn_takes_the_maximum_over_windows():
    model = small("textcnn")
    row = [5, 6, 7, 8, 9, 10, 11]
    with torch.no_grad():
        once, twice = model(**pad([row])).logits, model(**pad([row + row])).logits
        vectors = model.embedding(torch.tensor(row)).T  # (E, L)
        narrow, wide = model.convolutions
        windows = [
            [
                torch.relu(
                    (c.weight * torch.nn.functional.pad(vectors, (0, w))[:, t : t + w]).sum((1, 2)) + c.bias
                )
                for t in range(len(row))
            ]
            for c, w in ((narrow, 2), (wide, 5))
        ]
        by_hand = model.classifier(torch.cat([torch.stack(w).amax(0) for w in windows]))
    torch.testing.assert_close(once[0], by_hand, atol=1e-5, rtol=0)
    assert not torch.equal(once, twice)  # windows across the seam


@pytest.mark.parametrize("readout", ["final", "mean", "max", "attention"])
def test_bilstm_equals_torchs_bidirectional_lstm_over_packed_texts(readout):
    model = small(f"bilstm-{readout}")
    reference = torch.nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True)
    for layer in (0, 1):
        for ours, suffix in ((model.forward_lstms[layer], ""), (model.backward_lstms[layer], "_reverse")):
            for name, weights in ours.state_dict().items():  # weight_ih_l0 and so on
                reference.get_parameter(name[:-1] + f"{layer}{suffix}").data.copy_(weights)
    batch = pad([[5, 6, 7, 8], [9, 10], [11]], extra=3)
    lengths = batch["attention_mask"].sum(1)
    with torch.no_grad():
        packed = pack_padded_sequence(
            model.embedding(batch["input_ids"]), lengths, True, enforce_sorted=False
        )
        states, (final, _) = reference(packed)
        states, _ = pad_packed_sequence(states, batch_first=True, padding_value=torch.nan)
        pooled = {"final": torch.cat([final[2], final[3]], 1), "mean": states.nanmean(1)}
        pooled["max"] = states.nan_to_num(-torch.inf).amax(1)
        if readout == "attention":  # Yang et al. 2016, equations 5 to 7
            hidden, _, context = model.attention
            scores = (states @ hidden.weight.T + hidden.bias).tanh() @ context.weight[0]
            words = [slice(int(length)) for length in lengths]
            weights = [scores[row, these].softmax(0) for row, these in enumerate(words)]
            pooled["attention"] = torch.stack(
                [weights[row] @ states[row, these] for row, these in enumerate(words)]
            )
        by_hand = model.classifier(pooled[readout])
        logits = model(**batch).logits
    torch.testing.assert_close(logits, by_hand, atol=1e-6, rtol=0)


def test_bilstm_starts_with_an_open_forget_gate():
    for lstm in small("bilstm-mean").backward_lstms:
        gates = (lstm.bias_ih_l0 + lstm.bias_hh_l0).view(4, 6)
        assert gates.tolist() == [[0.0] * 6, [1.0] * 6, [0.0] * 6, [0.0] * 6]


@given(st.lists(st.integers(0, 2**20), min_size=2, max_size=9), st.integers(1, 10**6))
def test_a_pair_has_one_bucket_wherever_it_stands(ids, buckets):
    whole = hash_pairs(torch.tensor([ids]), buckets)[0, :-1].tolist()
    pairs = [hash_pairs(torch.tensor([ids[t : t + 2]]), buckets)[0, 0].item() for t in range(len(ids) - 1)]
    assert whole == pairs
    assert all(0 <= bucket < buckets for bucket in whole)


def test_pairs_spread_over_the_buckets():
    grid = torch.cartesian_prod(torch.arange(300), torch.arange(300))  # 90,000 pairs, as many buckets
    used = hash_pairs(grid, 90_000)[:, 0].unique().numel() / 90_000
    assert used == pytest.approx(1 - 1 / torch.e, abs=0.01)  # what a random function fills
    there, back, _ = hash_pairs(torch.tensor([[3, 4, 3]]), 500_000)[0].tolist()
    assert there != back


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_takes_every_pooling(backbone, pooling):
    model = pooled(backbone, pooling)
    rows = [[5, 6, 7, 8, 9, 10], [11, 12, 13], [14]]
    with torch.no_grad():
        together = model(**pad(rows, extra=4)).logits
        alone = torch.cat([model(**pad([row])).logits for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    model.train()
    model(**pad(rows), labels=torch.tensor([0, 1, 2])).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert model.base_model is model.encoder
    assert model.encoder.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_reads_tokens_and_nothing_else(pooling, side):
    model = pooled("bert", pooling)
    states = torch.randn(1, 3, 16)
    if side == "right":
        padded, mask = torch.cat([states, torch.full((1, 2, 16), 99.0)], 1), torch.tensor([[1, 1, 1, 0, 0]])
    else:
        padded, mask = torch.cat([torch.full((1, 2, 16), 99.0), states], 1), torch.tensor([[0, 0, 1, 1, 1]])
    vector = model._pool(padded, mask.bool())
    torch.testing.assert_close(vector, model._pool(states, torch.ones(1, 3, dtype=torch.bool)))
    expected = {"cls": states[:, 0], "last": states[:, -1], "mean": states.mean(1), "max": states.amax(1)}
    if pooling in expected:
        torch.testing.assert_close(vector, expected[pooling])


def test_segments_reach_the_backbone():
    model = pooled("bert", "mean")
    batch = pad([[5, 6, 7, 8]])
    with torch.no_grad():
        one = model(**batch).logits
        two = model(**batch, token_type_ids=torch.tensor([[0, 0, 1, 1]])).logits
    assert not torch.equal(one, two)


def test_gradient_checkpointing_changes_no_gradient():
    torch.manual_seed(0)
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    encoder = AutoConfig.for_model("bert", **SIZES, **still)
    config = PooledEncoderConfig(encoder_config=encoder, classifier_dropout=0.0)
    model = PooledEncoderForSequenceClassification(config).train()
    batch = {**pad([[5, 6, 7, 8]]), "labels": torch.tensor([1])}
    plain = torch.autograd.grad(model(**batch).loss, model.get_input_embeddings().weight)
    model.activation_checkpointing_enable()
    again = torch.autograd.grad(model(**batch).loss, model.get_input_embeddings().weight)
    assert model.is_activation_checkpointing
    torch.testing.assert_close(plain, again)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_from_encoder_keeps_pretrained_weights_in_float32(backbone, tmp_path):
    torch.manual_seed(1)
    AutoModel.from_config(AutoConfig.for_model(backbone, **BACKBONES[backbone])).bfloat16().save_pretrained(
        tmp_path
    )
    pretrained = AutoModel.from_pretrained(tmp_path, dtype=torch.float32).state_dict()
    model = PooledEncoderForSequenceClassification.from_encoder(tmp_path, pooling="attention", **NAMES)
    ours = model.encoder.state_dict()
    assert all(torch.equal(ours[name], pretrained[name]) for name in ours)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.classifier.weight.std() < 0.1
    assert model.config.id2label == NAMES["id2label"]


def test_from_encoder_overrides_the_backbones_config(tmp_path):
    AutoModel.from_config(AutoConfig.for_model("bert", **SIZES)).save_pretrained(tmp_path)
    model = PooledEncoderForSequenceClassification.from_encoder(
        tmp_path, num_labels=5, hidden_dropout_prob=0.37
    )
    assert model.encoder.config.hidden_dropout_prob == 0.37
    assert model.config.num_labels == 5


LOAD_ELSEWHERE = """
import json, sys, torch
sys.modules["hftune"] = None  # installed or not: importing it fails
from pathlib import Path
from transformers import AutoModelForSequenceClassification
load = AutoModelForSequenceClassification.from_pretrained
ids = torch.tensor(json.loads(sys.argv[2]))
for source in Path(sys.argv[1]).iterdir():
    model = load(source, trust_remote_code=True, dtype=torch.float32)
    model.save_pretrained(source / "again")
    again = load(source / "again", trust_remote_code=True, dtype=torch.float32)
    with torch.no_grad():
        logits = [m(ids, attention_mask=(ids > 0).long()).logits.tolist() for m in (model, again)]
    labels = [model.config.id2label[i] for i in range(3)]
    (source / "out.json").write_text(json.dumps({"logits": logits, "labels": labels}))
"""
IDS = [[5, 6, 7, 8, 9, 10, 3], [11, 12, 0, 0, 0, 0, 0]]
TRAVELLERS = {
    "textcnn": lambda: small("textcnn"),
    "bilstm": lambda: small("bilstm-max"),
    "bag": lambda: small("bag"),
    "pooled": lambda: pooled("bert", "attention"),
}


@pytest.fixture(scope="module")
def loaded_elsewhere(tmp_path_factory) -> Path:
    """Saves each model, then loads and re-saves it in a process that cannot import hftune."""
    home = tmp_path_factory.mktemp("elsewhere")
    for name, build in TRAVELLERS.items():
        build().save_pretrained(home / "models" / name)
    done = run_python(["-I", "-c", LOAD_ELSEWHERE, home / "models", json.dumps(IDS)], cwd=home)
    assert done.returncode == 0, done.stderr
    return home / "models"


@pytest.mark.parametrize("name", TRAVELLERS)
def test_a_saved_model_loads_without_hftune_and_saves_itself_again(name, loaded_elsewhere):
    model, ids = TRAVELLERS[name](), torch.tensor(IDS)
    with torch.no_grad():
        logits = model(ids, attention_mask=(ids > 0).long()).logits.tolist()
    folder = loaded_elsewhere / name
    out = json.loads((folder / "out.json").read_text())
    assert out == {"logits": [logits, logits], "labels": ["bad", "fair", "good"]}
    for saved in (folder, folder / "again"):
        assert (saved / f"{name}.py").is_file()
        assert json.loads((saved / "config.json").read_text())["auto_map"] == {
            "AutoConfig": f"{name}.{type(model.config).__name__}",
            "AutoModelForSequenceClassification": f"{name}.{type(model).__name__}",
        }


@pytest.mark.parametrize("name", [*SMALL, *(f"pooled-{backbone}" for backbone in BACKBONES)])
def test_what_is_loaded_equals_what_was_saved_bit_for_bit(name, tmp_path):
    model = pooled(name.removeprefix("pooled-"), "cls") if name.startswith("pooled-") else small(name)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32)
    assert type(loaded) is type(model)
    assert loaded.config.to_diff_dict() == model.config.to_diff_dict()
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        (BagConfig, {"ngrams": 3}, "ngrams is 3"),
        (BiLSTMConfig, {"readout": "first"}, "readout is 'first'"),
        (PooledEncoderConfig, {"pooling": "sum"}, "pooling is 'sum'"),
    ],
)
def test_an_unknown_choice_is_named(config, values, message):
    with pytest.raises(ValueError, match=message):
        config(**values)
