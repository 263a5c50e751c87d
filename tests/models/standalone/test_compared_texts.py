"""Tests of the pooled encoder that compares the two texts of a pair."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from hftune.models.standalone.pooled import PooledEncoderConfig, PooledEncoderForSequenceClassification
from tests.tiny import tiny_model

IDS = torch.tensor([[2, 10, 11, 3, 12, 13, 14, 3, 0, 0]])
SEGMENTS = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 0, 0]])


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = PooledEncoderConfig(encoder_config=tiny_model("bert").config, num_labels=2, compares_texts=True)
    return PooledEncoderForSequenceClassification(config).eval()


def test_the_vector_is_both_means_their_distance_and_their_product(model):
    mask = IDS.ne(0)
    with torch.inference_mode():
        answer = model(input_ids=IDS, attention_mask=mask.long(), token_type_ids=SEGMENTS).logits
        states = model.encoder(
            input_ids=IDS, attention_mask=mask.long(), token_type_ids=SEGMENTS
        ).last_hidden_state[0]
        u, v = states[1:4].mean(0), states[4:8].mean(0)  # [CLS] belongs to neither text
        expected = model.classifier(torch.cat([u, v, (u - v).abs(), u * v]))
    torch.testing.assert_close(answer[0], expected)
    assert model.classifier.in_features == 4 * len(u)


def test_padding_changes_no_logit(model):
    whole = {"input_ids": IDS, "attention_mask": IDS.ne(0).long(), "token_type_ids": SEGMENTS}
    with torch.inference_mode():
        padded = model(**whole).logits
        alone = model(**{name: value[:, :8] for name, value in whole.items()}).logits
    torch.testing.assert_close(padded, alone)


def test_a_single_text_is_answered_too(model):
    with torch.inference_mode():
        without = model(input_ids=IDS).logits
        none = model(input_ids=IDS, token_type_ids=torch.zeros_like(IDS)).logits
    assert torch.isfinite(without).all()
    torch.testing.assert_close(without, none)


def test_it_is_saved_with_the_model(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path, trust_remote_code=False).eval()
    with torch.inference_mode():
        answers = [one(input_ids=IDS, token_type_ids=SEGMENTS).logits for one in (model, again)]
    torch.testing.assert_close(*answers)


def test_other_poolings_do_not_compare():
    with pytest.raises(ValueError, match="compares_texts needs the mean"):
        PooledEncoderConfig(pooling="cls", compares_texts=True)


@pytest.fixture
def bi():
    torch.manual_seed(0)
    backbone = tiny_model("bert").config
    config = PooledEncoderConfig(
        encoder_config=backbone, num_labels=2, compares_texts=True, pair_encoder="bi"
    )
    return PooledEncoderForSequenceClassification(config).eval()


def test_a_bi_encoder_reads_each_text_as_if_it_were_alone(bi):
    both = [[2, 10, 11, 3, 12, 13, 14, 3], [2, 15, 3, 16, 3, 0, 0, 0]]
    segments = [[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0, 0, 0]]
    ids = torch.tensor(both)
    with torch.inference_mode():
        found = bi(
            input_ids=ids, attention_mask=ids.ne(0).long(), token_type_ids=torch.tensor(segments)
        ).logits
        for row, texts in enumerate([([2, 10, 11, 3], [2, 12, 13, 14, 3]), ([2, 15, 3], [2, 16, 3])]):
            u, v = (bi.encoder(input_ids=torch.tensor([text])).last_hidden_state[0].mean(0) for text in texts)
            expected = bi.classifier(torch.cat([u, v, (u - v).abs(), u * v]))
            torch.testing.assert_close(found[row], expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_logit_of_a_bi_encoder(bi, side):
    around = (3, 0) if side == "left" else (0, 3)
    whole = {"input_ids": IDS[:, :8], "token_type_ids": SEGMENTS[:, :8]}
    padded = {name: torch.nn.functional.pad(value, around) for name, value in whole.items()}
    with torch.inference_mode():
        alone = bi(**whole, attention_mask=torch.ones(1, 8, dtype=torch.int64)).logits
        answer = bi(**padded, attention_mask=padded["input_ids"].ne(0).long()).logits
    torch.testing.assert_close(answer, alone)


def test_an_unknown_way_to_read_pairs_is_refused():
    with pytest.raises(ValueError, match="use one of cross, bi"):
        PooledEncoderConfig(compares_texts=True, pair_encoder="both")
