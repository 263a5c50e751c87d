"""From new texts or pictures to a saved model's logits."""

from collections.abc import Callable, Sequence

import datasets
import numpy as np
import torch

from hftune.data.batch import worker_count
from hftune.data.bundle import Rows
from hftune.data.image_rows import ImageCollator, ImageRows, Pictures, processed
from hftune.data.text import TextCollator, TokenRows, cut, special_tokens_around
from hftune.saved import Saved, one_accelerator
from hftune.scoring import predict

TEXTS_AT_ONCE = 1000  # texts that are tokenized together, on all cores


def text_rows(saved: Saved, texts: Sequence[str]) -> TokenRows:
    """Tokenizes texts as the run did, in the order given; nothing is cached on the disk.

    Args:
        saved: A classifier of texts.
        texts: N texts; one without a known sign becomes one unknown token.

    Returns:
        Token ids, cut at `saved.max_length`; all labels 0.
    """
    tokenizer = saved.processor
    before, after = special_tokens_around(tokenizer)
    room = saved.max_length - len(before) - len(after)
    ids_of_nothing = (tokenizer.unk_token_id, tokenizer.pad_token_id, 0)
    unknown = next(number for number in ids_of_nothing if number is not None)
    columns: dict[str, list] = {"input_ids": [], "tokens": []}
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        # The cut is not left to the tokenizer, whose file may carry a length and padding of its own.
        encoded = tokenizer(
            list(texts[start : start + TEXTS_AT_ONCE]),
            add_special_tokens=False,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        for ids in encoded:
            kept = cut(ids or [unknown], room, saved.truncation)
            columns["input_ids"].append(np.array(before + kept + after, np.int32))
            columns["tokens"].append(len(before) + max(1, len(ids)) + len(after))
    features = datasets.Features(
        {
            "input_ids": datasets.List(datasets.Value("int32")),
            "tokens": datasets.Value("int32"),
            "label": datasets.Value("int64"),
        }
    )
    return TokenRows(datasets.Dataset.from_dict({**columns, "label": [0] * len(texts)}, features=features))


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
    tokenizer = saved.processor
    return TextCollator(tokenizer.pad_token_id, "token_type_ids" in tokenizer.model_input_names)


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
    accelerator = one_accelerator()
    pictures = saved.task == "image-classification"
    return predict(
        saved.model,
        rows,
        collator(saved),
        accelerator,
        num_labels=len(saved.labels),
        rows_per_batch=rows_per_batch,
        workers=worker_count(None if pictures else 0, accelerator.device, accelerator.num_processes),
        tick=tick,
    )
