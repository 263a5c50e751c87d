"""Texts as the rows of a saved model."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, ClassVar, Self

import datasets
import numpy as np
import torch

from hftune.data.base_model import check_embeddings
from hftune.data.columns import TEXT, check_texts, choose_columns
from hftune.data.inputs import Checked, Contents, Ids, Inputs, Split
from hftune.data.sources import Source, find_source
from hftune.data.tables.read import Table
from hftune.data.text.read import read_texts
from hftune.data.text.sample import load_sample
from hftune.data.text.tokenize import FEATURES, Encoder, TextCollator, TokenRows
from hftune.data.text.tokenizer import AS_WRITTEN, longest_text, prepare_tokenizer
from hftune.errors import BadInput
from hftune.settings.text import TextSettings

AT_ONCE = 1000  # texts that are tokenized together, on all cores
LONGEST = 4096  # words of the longest text that two forms of a model are compared on
KEPT = {"right": "head", "left": "tail"}  # by the side that a tokenizer's files say to cut from


@dataclass(frozen=True)
class TextInputs(Inputs):
    """How texts are found, read and tokenized.

    Args:
        processor: The tokenizer.
        max_length: Tokens of a text that the model reads, special ones included.
        truncation: The part of a longer text that it reads: "head", "tail", or "head+tail", which only a
            run directory knows.
        name: What the user calls the model, for messages.
    """

    modality = "text"
    plural = "texts"
    key = "text"
    auto_model = "AutoModelForSequenceClassification"
    auto_processor = "AutoTokenizer"
    processor_noun = "tokenizer"
    processor_options = AS_WRITTEN
    settings_class = TextSettings
    workers = 0  # the rows are tokenized already
    # Segment ids are left out: those of a single text are all 0.
    forward_axes: ClassVar = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")}

    max_length: int
    truncation: str = "head"
    name: str = "the model"

    @classmethod
    def of_saved(cls, name: str, model: Any, processor: Any, settings: Mapping[str, Any]) -> Self:
        # What the run's settings do not say, the tokenizer's files do.
        try:
            tokenizer = prepare_tokenizer(processor, model.config)
        except ValueError as error:
            raise BadInput(f"{name}: no tokenizer could be loaded: {error}") from None
        check_embeddings(model, tokenizer, name)
        limit, positions = tokenizer.model_max_length, longest_text(model)  # 1e30 where no file says it
        longest = int(limit if positions is None else min(limit, positions))
        kept = settings.get("truncation") or KEPT[tokenizer.truncation_side]
        return cls(tokenizer, settings.get("max_length") or longest, kept, name)

    def read(self, sources: Iterable[str], options: Mapping[str, Any]) -> Contents:
        # A source that is no file is a text itself.
        return read_texts(sources, options.get("text_column_name"))

    def find(self, settings: TextSettings, test_dir: str | None = None) -> Source:
        return find_source(settings, load_sample)

    def choose_columns(self, table: Table, settings: TextSettings) -> tuple[str, str]:
        return choose_columns(table, TEXT, settings.text_column_name, settings.label_column_name)

    def check(self, table: Table, column: str, settings: Any, of: Split, rows: Ids = None) -> Checked:
        # Blank texts that the user cannot edit are kept.
        table = table if rows is None else table.take(rows)
        texts, warnings = check_texts(table, column, keep_blank=not of.editable)
        return np.array(texts.to_pylist(), dtype=object), np.arange(table.rows), warnings

    def rows(self, values: Sequence[str]) -> TokenRows:
        """Tokenizes texts as the run did; one without a known sign becomes one unknown token.

        Raises:
            BadInput: `max_length` leaves no room for the text.
        """
        encode = Encoder(
            self.processor,
            max_length=self.max_length,
            truncation=self.truncation,
            length_name=f"{self.name}: a max_length of",
        )
        columns: dict[str, list] = {"input_ids": [], "tokens": []}
        for start in range(0, len(values), AT_ONCE):
            encoded = encode(list(values[start : start + AT_ONCE]))
            # As arrays: a list of ids takes ten times the memory.
            columns["input_ids"] += [np.array(ids, np.int32) for ids in encoded["input_ids"]]
            columns["tokens"] += encoded["tokens"]
        return TokenRows(datasets.Dataset.from_dict(columns, features=FEATURES))

    @property
    def collate(self) -> Callable[[list], dict[str, torch.Tensor]]:
        return TextCollator.of(self.processor)

    def edge_cases(self, values: Sequence[str]) -> list[str]:
        """Returns an empty text, and one that has to be cut."""
        words = cycle(" ".join(values).split() or [""])
        return ["", " ".join(islice(words, min(self.max_length, LONGEST)))]

    def save(self, folder: Path) -> None:
        """Writes the tokenizer's files; tokenizer.json cuts texts as the run did."""
        super().save(folder)
        file = folder / "tokenizer.json"
        if not file.is_file() or self.max_length >= 1_000_000:  # a tokenizer that knows no limit says 1e30
            return
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(file))
        # It cannot leave out the middle: of a longer text it keeps the head there.
        direction = "left" if self.truncation == "tail" else "right"
        tokenizer.enable_truncation(self.max_length, direction=direction)
        tokenizer.save(str(file))
