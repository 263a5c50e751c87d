"""What a row is: `TextInputs` (data/text/inputs.py) or `ImageInputs` (data/image/inputs.py).

One of them is chosen where a saved model is loaded. It finds and reads rows, and makes batches of them; the
commands ask it, and never which of the two it is.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch

from hftune.data.columns import Content
from hftune.data.dataset import Data, Rows
from hftune.data.sources import COLUMN_FLAGS, Source
from hftune.data.tables.read import Table
from hftune.errors import BadInput, listed, shown
from hftune.settings.base import Settings

_FILES = ("dataset_name", "train_file", "validation_file", "test_file")
_FOLDERS = ("train_dir", "validation_dir", "test_dir", "image_dir")
_COLUMNS = (*COLUMN_FLAGS, "split_column_name")
_SET = ("dataset_config_name", "dataset_revision", "test_split")
_ROWS = ("data_seed", "skip_bad_images", "max_eval_samples")
_COMPUTING = ("task", "per_device_eval_batch_size", "bf16", "fp16")
# On which a run's test rows and their scores depend.
SCORING_SETTINGS = _FILES + _FOLDERS + _COLUMNS + _SET + _ROWS + _COMPUTING

Ids = np.ndarray | None
Name = str | tuple[str, str] | None
CheckedRows = tuple[Any, np.ndarray, list[str]]


class Split(NamedTuple):
    """A split's name, and whether the user can edit its rows."""

    name: str
    editable: bool


@dataclass
class Contents:
    """Rows to predict, in the order in which they were given.

    Attributes:
        names: What each row is called in the predictions: its text or texts, or its file; None for a blank
            row.
        values: The texts, pairs or images of the rows that are not blank.
        rows: The number of each row within its file, from 0.
        places: Where each row stands, such as "new.csv line 17".
        columns: The other columns of the files by name; "" where a row has none.
        warnings: Lines to show to the user.
    """

    names: list[Name] = field(default_factory=list)
    values: Any = ()
    rows: list[int] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(
        self,
        names: Iterable[Name],
        rows: Iterable[int],
        place: Callable[[int], str],
        columns: Mapping[str, Any] | None = None,
    ) -> None:
        """Adds the rows of one source.

        Args:
            names: What each row is called.
            rows: Their numbers in the source.
            place: Says where the row of a number stands.
            columns: Columns of the whole source, Arrow's or lists, by name.
        """
        before, chosen = len(self.rows), list(rows)
        self.names += names
        self.rows += chosen
        self.places += map(place, chosen)
        for name, values in (columns or {}).items():
            cells = values if isinstance(values, list) else values.to_pylist()
            column = self.columns.setdefault(name, [""] * before)
            column += ("" if cells[row] is None else cells[row] for row in chosen)
        for column in self.columns.values():
            column += [""] * (len(self.rows) - len(column))


@dataclass(frozen=True)
class Inputs(ABC):
    """How the rows of a saved model are found, read and batched.

    Args:
        processor: The tokenizer or image processor that was saved with the model.
    """

    modality: ClassVar[str]
    plural: ClassVar[str]  # of what it reads, in messages
    auto_model: ClassVar[str]  # classes of transformers that load the model and the processor
    auto_processor: ClassVar[str]
    processor_noun: ClassVar[str]
    processor_options: ClassVar[dict[str, Any]] = {}
    settings_class: ClassVar[type[Settings]]
    workers: ClassVar[int | None]  # processes that load batches; None: by the cores beside a GPU
    processor: Any

    @property
    @abstractmethod
    def keys(self) -> tuple[str, ...]:
        """What a row's name is called in the predictions; two words where rows are pairs of texts."""

    @property
    @abstractmethod
    def forward_axes(self) -> dict[str, dict[int, str]]:
        """The arguments of the model's forward with their axes of any size, for ONNX."""

    @classmethod
    @abstractmethod
    def of_saved(cls, name: str, model: Any, processor: Any, settings: Mapping[str, Any]) -> Self:
        """Returns the inputs of a saved model.

        Args:
            name: What the user calls the model.
            model: The model.
            processor: What `auto_processor` loaded.
            settings: Those of the run that saved it, by name; {} where they are not known.

        Raises:
            BadInput: The processor does not fit the model.
        """

    @abstractmethod
    def read(self, sources: Iterable[str], options: Mapping[str, Any]) -> Contents:
        """Reads what to predict: files, folders, tables, "-" for the lines of standard input.

        Args:
            sources: What was named, in its order.
            options: Flags of the command by name, such as `image_dir`.

        Raises:
            BadInput: A row cannot be read; names file and row.
        """

    @abstractmethod
    def find(self, settings: Any, test_dir: str | None = None) -> Source:
        """Finds the tables of a data set, or of a folder with one folder per class.

        Raises:
            BadInput: The data cannot be found or read.
        """

    @abstractmethod
    def load(self, settings: Any) -> Data:
        """Loads and splits all rows of a run's settings, as its training did.

        Raises:
            BadInput: The data or the base model's processor cannot be used.
        """

    def prepared(self, source: Source, settings: Any) -> Source:
        """Returns the tables of a source as `check` reads them; `find` has done so already."""
        return source

    @abstractmethod
    def choose_columns(self, table: Table, settings: Any) -> tuple[Any, str]:
        """Returns the columns of content, as `check` takes them, and of the label.

        See `hftune.data.columns.choose_columns`.
        """

    @abstractmethod
    def check(self, table: Table, column: Any, settings: Any, of: Split, rows: Ids = None) -> CheckedRows:
        """Reads the contents of a split, as for training.

        Args:
            table: Its rows.
            column: The column of images, or those of texts, as `choose_columns` returned them.
            settings: Where the data are.
            of: The split.
            rows: The rows to read, int64, ascending; None: all.

        Returns:
            Texts, pairs of them or images uint8 (H, W, 3), of which `take(rows)` returns some; their rows,
            int64 (N,), as what cannot be read may be left out; and warnings.

        Raises:
            BadInput: A row cannot be read; names file and row.
        """

    @abstractmethod
    def rows(self, values: Sequence[Any]) -> Rows:
        """Returns N texts or images as rows in their order, without labels; nothing is cached on the disk."""

    @property
    @abstractmethod
    def collate(self) -> Callable[[list], dict[str, torch.Tensor]]:
        """Makes a batch of rows: a dict of the model's forward arguments, with `labels`."""

    def of_pairs(self) -> Self:
        """Returns the inputs of the same model where a row is a pair of texts, as the user says.

        Raises:
            BadInput: It reads no texts.
        """
        raise BadInput(f"only models of texts read pairs, this one reads {self.plural}")

    def edge_cases(self, values: Sequence[Any]) -> list[Any]:
        """Returns further contents on which two forms of a model should be compared."""
        return []

    def save(self, folder: Path) -> None:
        """Writes the processor's files beside a config.json."""
        self.processor.save_pretrained(folder)

    def scoring_settings(self, values: Mapping[str, Any]) -> Any:
        """Returns settings that say where rows are, of those that a run or a command line gives."""
        known = {field.name for field in fields(self.settings_class)}.intersection(SCORING_SETTINGS, values)
        return self.settings_class(**{name: values[name] for name in known})


def content_column(table: Table, role: Content, given: str | None) -> str:
    """Finds the column of texts or images in a table that need not have labels.

    Args:
        table: The rows.
        role: What the column holds.
        given: Its name; None: it is found.

    Raises:
        BadInput: There is no such column, or it is not clear which is meant.
    """
    flag, columns = f"--{role.noun}_column_name", listed(table.columns)
    if given is not None:
        if given not in table.columns:
            raise BadInput(f"{table.name} has no column {given!r} ({flag}); it has {columns}")
        return given
    candidates = list(table.columns) if len(table.columns) == 1 else role.candidates(table, "")
    if len(candidates) != 1:
        raise BadInput(
            f"{table.name}: which column holds the {role.noun}s? Say it with {flag} ({columns}){table.advice}"
        )
    return candidates[0]


def header_doubts(table: Table, column: str, known: Collection[str]) -> list[str]:
    """Returns a warning where the first line of a csv or tsv file may be a row and no names of columns.

    Args:
        table: The rows.
        column: Where their contents stand.
        known: Usual names of such a column, in lower case, without blanks and signs.
    """
    name = re.sub(r"[\s_-]", "", column.casefold())
    if name in known or not table.name.lower().endswith((".csv", ".tsv")):
        return []
    if len(table.columns) > 1 and not table.advice:
        return []
    return [
        f"{table.name}: the first line is read as the names of columns, {shown(column)!r} and so on, and is "
        "not answered; if it is a row, write a line of names above it"
    ]
