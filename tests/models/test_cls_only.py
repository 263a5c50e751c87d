"""The last layer for the first token alone answers and learns as the whole layer does."""

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

from hftune.models.cls_only import compute_cls_only
from hftune.models.cpu_attention import use_per_sequence_attention
from hftune.models.standalone.pooled import PooledEncoderConfig, PooledEncoderForSequenceClassification
from recipes import imdb
from tests.models.test_cpu_attention import IDS, PADDING, loss_and_gradient, without_dropout
from tests.runs import file_flags, run_recipe, write_reviews
from tests.tiny import FAMILIES, SIZES, saved_texts, tiny_checkpoint

NARROWED = ("bert", "electra", "roberta", "distilbert")
WHOLE = torch.ones_like(PADDING)


def tokens_of_last_layer(model) -> int:
    with torch.inference_mode():
        return model.base_model(input_ids=IDS, attention_mask=PADDING.long()).last_hidden_state.shape[1]


@pytest.mark.parametrize("padding", [PADDING, WHOLE], ids=["padded", "whole"])
@pytest.mark.parametrize("attend", [None, use_per_sequence_attention], ids=["torch", "text by text"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_the_whole_layer(family, attend, padding):
    stock = without_dropout(family)
    ours = copy.deepcopy(stock)
    if attend:
        attend(ours)
    compute_cls_only(ours)
    loss, gradient = loss_and_gradient(stock, padding, torch.float32)
    our_loss, our_gradient = loss_and_gradient(ours, padding, torch.float32)
    assert our_loss == pytest.approx(loss, abs=1e-6)
    assert (our_gradient - gradient).norm() < 1e-6 * gradient.norm()
    assert tokens_of_last_layer(ours) == (1 if family in NARROWED else 7)


@pytest.mark.parametrize("family", ["bert", "electra"])
def test_the_segments_of_pairs_count_as_before(family):
    stock = without_dropout(family)
    ours = copy.deepcopy(stock)
    use_per_sequence_attention(ours)
    compute_cls_only(ours)
    second = (torch.arange(IDS.shape[1]) > 3).long().expand_as(IDS)
    with torch.inference_mode():
        alone, whole, answer = (
            model(input_ids=IDS, attention_mask=PADDING.long(), token_type_ids=types).logits
            for model, types in ((stock, 0 * second), (stock, second), (ours, second))
        )
    torch.testing.assert_close(answer, whole, atol=1e-6, rtol=0)
    assert (whole - alone).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (AutoModelForTokenClassification, {}),  # reads all tokens
        (AutoModelForSequenceClassification, {"is_decoder": True}),  # a token sees those before it only
        (AutoModelForSequenceClassification, {"attn_implementation": "eager"}),
    ],
    ids=["tokens", "decoder", "eager"],
)
def test_any_other_model_keeps_its_whole_layer(kind, changes):
    settings = {**SIZES, "vocab_size": 30, **changes}
    implementation = settings.pop("attn_implementation", None)
    config = AutoConfig.for_model("bert", **settings)
    model = kind.from_config(config, attn_implementation=implementation).eval()
    compute_cls_only(model)
    assert tokens_of_last_layer(model) == 7


@pytest.mark.parametrize("family", NARROWED)
def test_gradient_checkpointing_learns_the_same(family):
    gradients = []
    for checkpointing in (False, True):
        model = without_dropout(family)
        compute_cls_only(model)
        if checkpointing:
            model.activation_checkpointing_enable()
        gradients.append(loss_and_gradient(model, PADDING, torch.float32)[1])
    assert torch.equal(*gradients)


@pytest.mark.parametrize("family", ["camembert", "xlm-roberta"])
def test_the_other_architectures_of_its_shape_answer_alike(family):
    torch.manual_seed(0)
    sizes = {**SIZES, "vocab_size": 30, "pad_token_id": 1, "max_position_embeddings": 20}
    stock = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(family, **sizes)).eval()
    ours = copy.deepcopy(stock)
    compute_cls_only(ours)
    with torch.inference_mode():
        logits = [m(input_ids=IDS, attention_mask=PADDING.long()).logits for m in (stock, ours)]
    assert torch.allclose(*logits, atol=1e-6)
    assert tokens_of_last_layer(ours) == 1


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "attention", "last"])
def test_only_a_pooling_that_reads_the_first_token_spares_the_others(pooling):
    torch.manual_seed(0)
    backbone = {"model_type": "bert", "vocab_size": 30, **SIZES}
    config = PooledEncoderConfig(encoder_config=backbone, pooling=pooling, num_labels=3)
    stock = PooledEncoderForSequenceClassification(config).eval()
    ours = copy.deepcopy(stock)
    compute_cls_only(ours)
    loss, gradient = loss_and_gradient(stock, PADDING, torch.float32)
    our_loss, our_gradient = loss_and_gradient(ours, PADDING, torch.float32)
    assert our_loss == pytest.approx(loss, abs=1e-6)
    assert (our_gradient - gradient).norm() <= 1e-6 * gradient.norm()
    assert tokens_of_last_layer(ours) == (1 if pooling == "cls" else 7)


def test_attention_dropout_falls_on_what_the_first_token_sees():
    model = without_dropout("bert")
    last = model.base_model.encoder.layer[-1].attention.self
    compute_cls_only(model)
    fixed = [loss_and_gradient(model, PADDING, torch.float32)[0] for _ in range(2)]
    assert fixed[0] == fixed[1]
    last.dropout.p = 0.5
    dropped = [loss_and_gradient(model, PADDING, torch.float32)[0] for _ in range(2)]
    assert dropped[0] != dropped[1]
    model.eval()
    answers = [loss_and_gradient(model, PADDING, torch.float32)[0] for _ in range(2)]
    assert answers[0] == answers[1] == pytest.approx(fixed[0], abs=1e-6)


def test_a_copy_computes_with_its_own_weights():
    model = without_dropout("bert")
    compute_cls_only(model)
    twin = copy.deepcopy(model)
    before = loss_and_gradient(twin, PADDING, torch.float32)[0]
    torch.nn.init.zeros_(model.base_model.encoder.layer[-1].attention.self.value.weight)
    assert loss_and_gradient(twin, PADDING, torch.float32)[0] == before


@pytest.mark.parametrize("own_loss", [False, True])
def test_a_run_spares_them_unless_its_own_loss_might_read_them(own_loss, tmp_path):
    seen = []
    recipe = imdb.recipe.replace(
        after_step=lambda step, model: seen.append(model.base_model.encoder.layer[-1].attention.forward)
    )
    if own_loss:
        recipe = recipe.replace(loss=lambda model, batch: model(**batch).loss)
    checkpoint = tiny_checkpoint("bert", tmp_path / "bert")
    flags = [*file_flags(write_reviews(tmp_path)), "--model_name_or_path", checkpoint, "--max_steps", 1]
    run_recipe(recipe, [*flags, "--max_length", 16], tmp_path / "run")
    assert ("cls_only" in seen[0].__func__.__module__) is not own_loss


def test_a_saved_model_answers_so(tmp_path):
    saved = saved_texts("bert", tmp_path)
    whole = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert tokens_of_last_layer(saved.model) == 1
    with torch.inference_mode():
        logits = [m(input_ids=IDS, attention_mask=PADDING.long()).logits for m in (saved.model, whole)]
    assert torch.allclose(*logits, atol=1e-6)
