"""Logits at masked tokens alone are those of the whole model, and so are the gradients of their loss."""

import pytest
import torch
from transformers import AutoModelForMaskedLM

from hftune.models.masked_logits import logits_at, reads_one_state
from hftune.tasks.masked_lm import masked_loss
from tests.tiny import tiny_model

FAMILIES = ("bert", "roberta", "distilbert", "electra", "modernbert")


def tiny_masked_lm(family: str):
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(tiny_model(family).config).eval()


def some_batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    ids = torch.randint(5, 90, (3, 11))
    mask = torch.ones(3, 11, dtype=torch.int64)
    mask[1, 7:] = 0
    labels = torch.where(torch.rand(3, 11) < 0.3, ids, -100).masked_fill(mask == 0, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_the_models_own(family):
    model, batch = tiny_masked_lm(family), some_batch()
    assert reads_one_state(model, batch)
    gradients = []
    for loss in (masked_loss(model, batch), model(**batch).loss):
        model.zero_grad()
        loss.backward()
        gradients.append((loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}))
    (ours, our_gradients), (theirs, their_gradients) = gradients
    assert ours == pytest.approx(theirs, abs=1e-5)
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_the_head_meets_masked_states_alone_and_the_model_is_left_as_it_was():
    model, batch = tiny_masked_lm("bert"), some_batch()
    masked = (batch.pop("labels") >= 0).nonzero(as_tuple=True)
    seen = []
    model.cls.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    assert logits_at(model, batch, masked).shape == (len(masked[0]), model.config.vocab_size)
    assert seen == [(1, len(masked[0]), 16)]
    assert model(**batch).logits.shape == (3, 11, model.config.vocab_size)


class Neighbours(torch.nn.Module):
    """A head that reads several positions at once."""

    def __init__(self, head: torch.nn.Module):
        super().__init__()
        self.head = head

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return self.head(states - states.mean(1, keepdim=True))


def test_a_head_that_reads_several_states_is_told():
    model = tiny_masked_lm("bert")
    model.cls = Neighbours(model.cls)
    assert not reads_one_state(model, some_batch())
