"""From new texts or pictures to a saved model's logits."""

from collections.abc import Callable, Sequence

import datasets
import numpy as np
import torch
from PIL import Image

from hftune.data.dataset import Rows
from hftune.data.image.rows import ImageCollator, ImageRows, Pictures, processed
from hftune.data.loader import worker_count
from hftune.data.text.tokenize import FEATURES, Encoder, TextCollator, TokenRows
from hftune.inference.load import Saved, one_accelerator
from hftune.tasks import task_of
from hftune.training.evaluate import predict

TEXTS_AT_ONCE = 1000  # texts that are tokenized together, on all cores


def text_rows(saved: Saved, texts: Sequence[str]) -> TokenRows:
    """Tokenizes texts as the run did, in the order given; nothing is cached on the disk.

    Args:
        saved: A classifier of texts.
        texts: N texts; one without a known sign becomes one unknown token.

    Returns:
        Token ids, cut at `saved.max_length`; all labels 0.

    Raises:
        BadInput: The model's `max_length` leaves no room for the text.
    """
    encode = Encoder(
        saved.processor,
        max_length=saved.max_length,
        truncation=saved.truncation,
        length_name=f"{saved.name}: a max_length of",
    )
    columns: dict[str, list] = {"input_ids": [], "tokens": []}
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        encoded = encode(list(texts[start : start + TEXTS_AT_ONCE]))
        # As arrays: a list of ids takes ten times the memory.
        columns["input_ids"] += [np.array(ids, np.int32) for ids in encoded["input_ids"]]
        columns["tokens"] += encoded["tokens"]
    return TokenRows(datasets.Dataset.from_dict(columns, features=FEATURES))


def picture_rows(saved: Saved, pictures: Pictures) -> ImageRows:
    """Lets a model see pictures, each as its saved processor shows it.

    Args:
        saved: A classifier of pictures.
        pictures: N pictures, uint8 (H, W, 3) each.

    Returns:
        Rows in the order given; all labels 0.
    """
    return ImageRows(pictures, np.zeros(len(pictures), np.int64), processed(saved.processor))


def collator(saved: Saved) -> Callable[[list], dict[str, torch.Tensor]]:
    """Returns what makes a batch of the model's rows: a dict of its forward arguments, with `labels`."""
    if saved.task == "image-classification":
        return ImageCollator((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # the processor has normalised the views
    return TextCollator.of(saved.processor)


def answer(
    saved: Saved,
    rows: Rows,
    *,
    rows_per_batch: int = 32,
    tick: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Returns the logits of every row, float32 of shape (N, C), in the data's order.

    Rows of similar length share a batch, so that little is computed for padding.

    Args:
        saved: The model.
        rows: What `text_rows` or `picture_rows` made.
        rows_per_batch: Rows in a batch.
        tick: Called with the number of rows that were just answered.
    """
    accelerator, task = one_accelerator(), task_of(saved.model.config.to_dict())
    pictures = saved.task == "image-classification"
    return predict(
        task,
        saved.model,
        rows,
        collator(saved),
        accelerator,
        rows_per_batch=rows_per_batch,
        workers=worker_count(None if pictures else 0, accelerator.device, accelerator.num_processes),
        tick=tick,
    )["logits"]


def pixels_of(saved: Saved, picture: np.ndarray) -> torch.Tensor:
    """Returns what a classifier of pictures is given of one, uint8 (H, W, 3): float32 (1, 3, S, S)."""
    inputs = saved.processor(images=Image.fromarray(picture), return_tensors="pt")
    return inputs["pixel_values"].to(saved.model.device)


def as_seen(saved: Saved, pixels: torch.Tensor) -> np.ndarray:
    """Turns `pixels_of` back into colours, float (S, S, 3) from 0 to 255, whatever the processor did."""
    ends = [pixels_of(saved, np.full((64, 64, 3), level, np.uint8)).mean((0, 2, 3)) for level in (0, 255)]
    black, white = (end[:, None, None] for end in ends)
    return (255 * (pixels[0] - black) / (white - black)).clamp(0, 255).permute(1, 2, 0).cpu().numpy()
