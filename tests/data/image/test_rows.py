import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from transformers import BitImageProcessor, ConvNextImageProcessor, Trainer, TrainingArguments
from transformers.modeling_outputs import ImageClassifierOutput

from hftune.data.image.augment import Augmenter, policy
from hftune.data.image.rows import ImageCollator, ImageRows, processed
from hftune.errors import BadInput

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
N = 10


def images(side: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (N, side, side, 3), dtype=np.uint8)


LABELS = np.arange(N) % 3


def untouched(image: np.ndarray, row: int) -> np.ndarray:
    return image


def processors(side: int) -> list:
    common = {"image_mean": list(MEAN), "image_std": list(STD)}
    square = {"height": side, "width": side}
    return [
        BitImageProcessor(size={"shortest_edge": side}, crop_size=square, **common),
        ConvNextImageProcessor(size={"shortest_edge": side}, crop_pct=1.0, **common),
    ]


@pytest.mark.parametrize("index", [0, 1])
def test_both_kinds_of_views_give_what_the_processor_gives(index):
    processor = processors(16)[index]
    collate = ImageCollator(MEAN, STD)
    expected = processor(images=[Image.fromarray(image) for image in images()], return_tensors="pt")
    for view in (untouched, processed(processor)):
        rows = ImageRows(images(), LABELS, view)
        batch = collate([rows[row] for row in range(N)])
        pixels = batch["pixel_values"]
        assert pixels.dtype == torch.float32
        assert pixels.shape == (N, 3, 16, 16)
        assert pixels.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(pixels, expected["pixel_values"].float(), rtol=0, atol=1e-5)
        assert batch["labels"].dtype == torch.int64
        assert batch["labels"].tolist() == LABELS.tolist()


def test_a_scored_image_is_what_the_pipeline_sees(tmp_path):
    from transformers import ImageClassificationPipeline, ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic")
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(image).save(path)
    for processor in processors(24):
        pipeline = ImageClassificationPipeline(
            model=ResNetForImageClassification(config), image_processor=processor
        )
        seen = pipeline.preprocess(str(path))["pixel_values"][0]
        view = processed(processor)(image, 0)
        assert view.dtype == torch.float32
        assert view.shape == (3, 24, 24)
        assert torch.equal(view, seen)


def test_rows_know_their_lengths_and_labels_and_leave_images_alone():
    source = images()
    rows = ImageRows(source, LABELS, lambda image, row: image.copy() + np.uint8(row))
    assert len(rows) == N
    assert (rows.lengths.dtype, rows.lengths.tolist()) == (np.dtype(np.int64), [1] * N)
    assert rows.targets is LABELS
    assert type(rows[4]["labels"]) is int
    assert np.array_equal(rows[4]["pixel_values"], source[4] + np.uint8(4))
    ImageCollator(MEAN, STD)([rows[0], rows[1]])
    assert np.array_equal(source, images())


def test_views_of_several_sizes_are_refused():
    rows = [{"pixel_values": np.zeros((side, side, 3), np.uint8)} for side in (8, 9)]
    with pytest.raises(BadInput, match=r"pixel_values: shapes \(8, 8, 3\) and \(9, 9, 3\) in one batch"):
        ImageCollator(MEAN, STD)(rows)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("kind", ["held", "scored"])
def test_workers_make_the_same_batches(kind):
    view = untouched if kind == "held" else processed(processors(8)[0])
    rows = ImageRows(images(), LABELS, view)

    def batches(workers: int) -> list[dict[str, torch.Tensor]]:
        return list(DataLoader(rows, 4, num_workers=workers, collate_fn=ImageCollator(MEAN, STD)))

    alone = batches(0)
    assert len(alone) == 3
    for workers in (1, 4):
        for expected, batch in zip(alone, batches(workers), strict=True):
            torch.testing.assert_close(batch, expected, rtol=0, atol=0)
            assert batch["pixel_values"].is_contiguous(memory_format=torch.channels_last)


class Probe(nn.Module):
    """A linear classifier that remembers the images it was shown."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3 * 16 * 16, 3)
        self.seen: list[torch.Tensor] = []

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> ImageClassifierOutput:
        self.seen.append(pixel_values.detach().clone())
        logits = self.head(pixel_values.flatten(1))
        return ImageClassifierOutput(loss=nn.functional.cross_entropy(logits, labels), logits=logits)


@pytest.mark.parametrize("workers", [0, 2])
def test_trainer_takes_rows_and_collator_as_they_are(tmp_path, workers):
    augmenter = Augmenter(policy("standard", 16, small=True), seed=0)
    arguments = TrainingArguments(
        str(tmp_path),
        num_train_epochs=2,
        per_device_train_batch_size=N,
        dataloader_num_workers=workers,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    model = Probe()
    Trainer(
        model,
        arguments,
        data_collator=ImageCollator(MEAN, STD),
        train_dataset=ImageRows(images(), LABELS, augmenter.view),
    ).train()
    first, second = (batch.flatten(1) for batch in model.seen)
    assert first.shape == (N, 3 * 16 * 16)
    # In whatever order: an image has 50 views, so that hardly one of ten comes in the same view again.
    again = (first[:, None] == second[None]).all(dim=2).sum()
    assert again <= 2
