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
