"""The mirror: a mean of two views, which scoring takes for a model like any other."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from hftune.models.standalone.resnet9 import ResNet9Config, ResNet9ForImageClassification
from hftune.tasks.single_label import SingleLabel
from hftune.training.evaluate import predict
from hftune.training.tta import flip_average


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return ResNet9ForImageClassification(ResNet9Config(width=4, num_labels=3)).eval()


class Images:
    """Rows as scoring wants them."""

    def __init__(self, rows: int):
        random = torch.Generator().manual_seed(1)
        self.pixel_values = torch.randn(rows, 3, 16, 16, generator=random)
        self.targets = np.arange(rows) % 3
        self.lengths = np.ones(rows, np.int64)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> dict:
        return {"pixel_values": self.pixel_values[row], "labels": int(self.targets[row])}


def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
    return {
        "pixel_values": torch.stack([row["pixel_values"] for row in rows]),
        "labels": torch.tensor([row["labels"] for row in rows]),
    }


def test_logits_are_the_mean_of_image_and_mirror_image(model):
    images = Images(5).pixel_values
    with torch.no_grad():
        plain, flipped = model(images).logits, model(torch.flip(images, dims=[3])).logits
        answer = flip_average(model)(pixel_values=images).logits
    assert not torch.allclose(plain, flipped)
    torch.testing.assert_close(answer, (plain + flipped) / 2)


def test_a_image_and_its_mirror_image_get_the_same_answer_to_the_bit(model):
    images = Images(5).pixel_values
    view = flip_average(model)
    with torch.no_grad():
        assert torch.equal(view(pixel_values=images).logits, view(pixel_values=images.flip(3)).logits)


def test_the_mean_of_half_precision_logits_is_float32():
    answers = iter([torch.tensor([[100.0]]), torch.tensor([[100.5]])])

    class Half(nn.Module):
        def forward(self, pixel_values: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=next(answers).bfloat16())

    logits = flip_average(Half())(pixel_values=torch.zeros(1, 3, 2, 2)).logits
    assert logits.dtype == torch.float32
    assert logits.item() == 100.25  # bfloat16 knows 100 and 100.5 only


def test_scoring_takes_it_for_a_model(model):
    accelerator = Accelerator(cpu=True)
    rows, view = Images(20), flip_average(model.train())
    task = SingleLabel(("a", "b", "c"))
    logits = predict(task, view, rows, collate, accelerator, rows_per_batch=6)["logits"]
    assert not model.training
    with torch.no_grad():
        expected = view(pixel_values=rows.pixel_values).logits.numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
