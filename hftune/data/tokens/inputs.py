"""Tagged words, or texts whose words are to be tagged, as the rows of a saved model."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from hftune.data.dataset import Data
from hftune.data.inputs import CheckedRows, Contents, Ids, Inputs, Split
from hftune.data.sources import Source, find_source
from hftune.data.tables.read import SUFFIXES, Table, read_table
from hftune.data.text.inputs import saved_tokenizer
from hftune.data.text.read import read_texts
from hftune.data.text.tokenize import TextCollator
from hftune.data.text.tokenizer import AS_WRITTEN
from hftune.data.tokens.load import load_tokens
from hftune.data.tokens.raw_text import read_words
from hftune.data.tokens.read import TAGS, TEXT, find_columns, holds_words, tagged_source, tagged_table
from hftune.data.tokens.sample import load_sample
from hftune.data.tokens.tagged import TaggedText, of_rows
from hftune.data.tokens.windows import TaggedRows, TokenCollator, Windows
from hftune.errors import BadInput
from hftune.settings.tokens import TokenSettings

AT_ONCE = 1000  # texts that are tokenized together
LONGEST = 4096  # words of the longest text that two forms of a model are compared on


@dataclass(frozen=True)
class TokenInputs(Inputs):
    """How words are found, read and cut into windows.

    Args:
        processor: The tokenizer.
        max_length: Tokens that the model reads at once, special ones included.
        stride: Tokens that two windows share.
        name: What the user calls the model, for messages.
    """

    modality = "text"
    plural = "texts"
    auto_model = "AutoModelForTokenClassification"
    auto_processor = "AutoTokenizer"
    processor_noun = "tokenizer"
    processor_options = AS_WRITTEN
    settings_class = TokenSettings
    workers = 0  # the rows are tokenized already
    max_length: int
    stride: int = 32
    name: str = "the model"

    @classmethod
    def of_saved(cls, name: str, model: Any, processor: Any, settings: Mapping[str, Any]) -> Self:
        tokenizer, most = saved_tokenizer(name, model, processor)
        longest = settings.get("max_length") or most
        stride = settings.get("window_stride", min(cls.stride, longest // 4))
        return cls(tokenizer, longest, stride, name)

    @property
    def keys(self) -> tuple[str, ...]:
        return ("text",)

    @property
    def forward_axes(self) -> dict[str, dict[int, str]]:
        return {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")}

    def read(self, sources: Iterable[str], options: Mapping[str, Any]) -> Contents:
        """Reads texts as for a classifier of texts, or files whose rows are lists of words.

        Raises:
            BadInput: See `hftune.data.inputs.Inputs.read`; or both kinds are named.
        """
        named, given = list(sources), options.get("text_column_name")
        tables = {source: read_table(source, keep_blank=True) for source in named if _is_table(source)}
        of_words = {source: table for source, table in tables.items() if holds_words(table, given)}
        if not of_words:
            return read_texts(named, given)
        if odd := [source for source in named if source not in of_words]:
            raise BadInput(f"{next(iter(of_words))} holds words, {odd[0]} does not; predict them one by one")
        found, values = Contents(), []
        for source in named:
            table = of_words[source]
            words, _ = find_columns(table, given, None)
            rows = tagged_table(table, words, None)
            texts: Any = list(rows.columns.values())[-1]
            found.add(
                [text.text for text in texts], rows.of_user(np.arange(len(texts))).tolist(), table.place
            )
            found.warnings += rows.warnings
            values += texts
        found.values = values
        return found

    def find(self, settings: TokenSettings, test_dir: str | None = None) -> Source:
        return self.prepared(find_source(settings, load_sample), settings)

    def prepared(self, source: Source, settings: Any) -> Source:
        return tagged_source(source, settings.text_column_name, settings.label_column_name)

    def load(self, settings: TokenSettings) -> Data:
        return load_tokens(settings)

    def choose_columns(self, table: Table, settings: TokenSettings) -> tuple[str, str]:
        if TAGS not in table.columns:
            raise BadInput(f"{table.name} has no tags; name their column with --label_column_name")
        return TEXT, TAGS

    def check(self, table: Table, column: str, settings: Any, of: Split, rows: Ids = None) -> CheckedRows:
        texts: Any = list(table.columns.values())[-1]
        chosen = np.arange(table.rows) if rows is None else rows
        return of_rows([texts[row] for row in chosen]), np.arange(len(chosen)), []

    def rows(self, values: Sequence[str | TaggedText]) -> TaggedRows:
        """Cuts texts into windows: given words as in training, others into the words of the pipeline.

        Raises:
            BadInput: `max_length` leaves no room for the text.
        """
        cut = Windows(self.processor, self.max_length, self.stride, f"{self.name}: a max_length of")
        windows: list = []
        targets: list[TaggedText] = []
        for start in range(0, len(values), AT_ONCE):
            some: list[Any] = list(values[start : start + AT_ONCE])
            if isinstance(some[0], str):
                pieces, texts = read_words(self.processor, some)
                windows += map(cut.cut, pieces)
            else:
                texts = some
                windows += cut.of_words([text.words for text in texts])[0]
            targets += [text.tagged((0,) * len(text)) for text in texts]
        return TaggedRows(windows, of_rows(targets))

    @property
    def collate(self) -> Callable[[list], dict[str, torch.Tensor]]:
        return TokenCollator(TextCollator.of(self.processor))

    def edge_cases(self, values: Sequence[Any]) -> list[Any]:
        """Returns a text that has to be cut into windows."""
        texts = [value if isinstance(value, str) else value.text for value in values]
        words = cycle(" ".join(texts).split() or ["a"])
        long = list(islice(words, min(self.max_length, LONGEST)))
        return [" ".join(long) if isinstance(values[0], str) else TaggedText.of_words(long)]


def _is_table(source: str) -> bool:
    return source.lower().endswith(SUFFIXES) and Path(source).is_file()
