"""Texts, or pairs of them, as the rows of a saved model."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Self

import datasets
import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from hftune.data.base_model import check_embeddings
from hftune.data.columns import TEXT, choose_columns
from hftune.data.dataset import Data
from hftune.data.inputs import CheckedRows, Contents, Ids, Inputs, Split
from hftune.data.sources import Source, find_source
from hftune.data.tables.read import Table
from hftune.data.text.load import load_text
from hftune.data.text.pairs import Columns, Texts, check_rows, choose_texts, parted, truncation_of_pairs
from hftune.data.text.read import read_texts
from hftune.data.text.read_pairs import read_pairs
from hftune.data.text.sample import load_sample
from hftune.data.text.tokenize import TextCollator, TokenRows, encoder, features_of
from hftune.data.text.tokenize_pairs import OtherTooLong
from hftune.data.text.tokenizer import AS_WRITTEN, longest_text, prepare_tokenizer
from hftune.errors import BadInput
from hftune.settings.text import TextSettings
from hftune.tasks import label_names

AT_ONCE = 1000  # texts that are tokenized together, on all cores
LONGEST = 4096  # words of the longest text that two forms of a model are compared on
KEPT = {"right": "head", "left": "tail"}  # by the side that a tokenizer's files say to cut from


@dataclass(frozen=True)
class TextInputs(Inputs):
    """How texts are found, read and tokenized.

    Args:
        processor: The tokenizer.
        max_length: Tokens of a text, or of both of a pair, that the model reads, special ones included.
        truncation: The part of a longer text that it reads: "head", "tail", or "head+tail", which only a
            run directory knows; of pairs how they are cut, see `hftune.data.text.pairs`.
        name: What the user calls the model, for messages.
        pairs: Whether a row is a pair of texts.
    """

    modality = "text"
    plural = "texts"
    auto_model = "AutoModelForSequenceClassification"
    auto_processor = "AutoTokenizer"
    processor_noun = "tokenizer"
    processor_options = AS_WRITTEN
    settings_class = TextSettings
    workers = 0  # the rows are tokenized already

    max_length: int
    truncation: str = "head"
    name: str = "the model"
    pairs: bool = False

    @classmethod
    def of_saved(cls, name: str, model: Any, processor: Any, settings: Mapping[str, Any]) -> Self:
        # What the run's settings do not say, the tokenizer's files do.
        tokenizer, longest = saved_tokenizer(name, model, processor)
        if getattr(model.config, "window", None):  # which cuts by itself; `max_length` is that of a window
            return cls(tokenizer, longest, "head", name)
        given = settings.get("truncation")
        kept = given or KEPT[tokenizer.truncation_side]
        # The config says that rows are pairs, or the run if a recipe built the model.
        pairs = getattr(model.config, "text_pair", bool(settings.get("text_pair_column_name")))
        if pairs:
            kept = getattr(model.config, "truncation", None) or truncation_of_pairs(given or "head")
        return cls(tokenizer, settings.get("max_length") or longest, kept, name, pairs)

    def of_pairs(self) -> Self:
        """Returns the inputs of a model of pairs whose files do not say that it is one."""
        return self if self.pairs else replace(self, pairs=True, truncation="longest_first")

    @property
    def keys(self) -> tuple[str, ...]:
        return ("text", "text_pair") if self.pairs else ("text",)

    @property
    def forward_axes(self) -> dict[str, dict[int, str]]:
        # Segment ids of a single text are left out: they are all 0.
        types = self.pairs and "token_type_ids" in self.processor.model_input_names
        names = ("input_ids", "attention_mask", *["token_type_ids"] * types)
        return {name: {0: "batch", 1: "length"} for name in names}

    def read(self, sources: Iterable[str], options: Mapping[str, Any]) -> Contents:
        # A source that is no file is a text itself.
        if self.pairs:
            names = options.get("text_column_name"), options.get("text_pair_column_name")
            return read_pairs(list(sources), *names, second=options.get("text_pair"), model=self.name)
        return read_texts(sources, options.get("text_column_name"))

    def find(self, settings: TextSettings, test_dir: str | None = None) -> Source:
        return find_source(settings, load_sample)

    def load(self, settings: TextSettings) -> Data:
        return load_text(settings)

    def choose_columns(self, table: Table, settings: TextSettings) -> tuple[Columns, str]:
        if not self.pairs:
            names = settings.text_column_name, settings.label_column_name
            text, label = choose_columns(table, TEXT, *names, label_names(settings))
            return (text,), label
        texts, label = choose_texts(table, settings)
        if len(texts) == 1:
            raise BadInput(
                f"{table.name}: {self.name} reads pairs of texts; name the second one with "
                f"--text_pair_column_name ({table.column_list})"
            )
        return texts, label

    def check(self, table: Table, column: Columns, settings: Any, of: Split, rows: Ids = None) -> CheckedRows:
        # Blank texts that the user cannot edit are kept.
        table = table if rows is None else table.take(rows)
        content, warnings = check_rows(table, column, keep_blank=not of.editable)
        values = np.empty(table.rows, dtype=object)
        values[:] = list(map(parted, content.to_pylist())) if self.pairs else content.to_pylist()
        return values, np.arange(table.rows), warnings

    def rows(self, values: Sequence[Texts]) -> TokenRows:
        """Tokenizes texts or pairs as the run did; a text without a known sign becomes one unknown token.

        Raises:
            BadInput: `max_length` leaves no room for the text.
        """
        encode = encoder(
            self.processor,
            max_length=self.max_length,
            truncation=self.truncation,
            length_name=f"{self.name}: a max_length of",
        )
        features = features_of(encode)
        columns: dict[str, list] = {name: [] for name in features}
        for start in range(0, len(values), AT_ONCE):
            try:
                encoded = encode(list(values[start : start + AT_ONCE]))
            except OtherTooLong as error:
                raise BadInput(f"row {start + error.row}: {error.message}") from None
            # As arrays: a list of ids takes ten times the memory.
            columns["input_ids"] += [np.array(ids, np.int32) for ids in encoded["input_ids"]]
            columns["tokens"] += encoded["tokens"]
            if "token_type_ids" in columns:
                columns["token_type_ids"] += [np.array(ids, np.int8) for ids in encoded["token_type_ids"]]
        return TokenRows(datasets.Dataset.from_dict(columns, features=features))

    @property
    def collate(self) -> Callable[[list], dict[str, torch.Tensor]]:
        return TextCollator.of(self.processor)

    def edge_cases(self, values: Sequence[Texts]) -> list[Texts]:
        """Returns an empty text, and one that has to be cut, or a pair of each."""
        texts = [part for value in values for part in ([value] if isinstance(value, str) else value)]
        words = cycle(" ".join(texts).split() or [""])
        long = " ".join(islice(words, min(self.max_length, LONGEST)))
        if not self.pairs:
            return ["", long]
        # A text that may not be cut is short.
        first, second = ("a" if self.truncation == kept else long for kept in ("only_second", "only_first"))
        return [("", ""), (first, second)]

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
        strategy = self.truncation if self.pairs else "longest_first"
        tokenizer.enable_truncation(self.max_length, strategy=strategy, direction=direction)
        tokenizer.save(str(file))


def saved_tokenizer(name: str, model: Any, processor: Any) -> tuple[PreTrainedTokenizerBase, int]:
    """Returns the tokenizer of a saved model, and how many tokens both of them read at most.

    Args:
        name: What the user calls the model.
        model: The model.
        processor: What was loaded with it.

    Raises:
        BadInput: The tokenizer does not fit the model.
    """
    try:
        tokenizer = prepare_tokenizer(processor, model.config)
    except ValueError as error:
        raise BadInput(f"{name}: no tokenizer could be loaded: {error}") from None
    check_embeddings(model, tokenizer, name)
    limit, positions = tokenizer.model_max_length, longest_text(model)  # 1e30 where no file says it
    return tokenizer, int(limit if positions is None else min(limit, positions))
