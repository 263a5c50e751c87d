"""Training texts that are read from parquet files as they are needed, a few row groups at a time.

N training rows. Their labels are read once and held, a number a row; so are the rows that are scored, whole.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from hftune.data.columns import refuse_missing_column, unread_texts
from hftune.data.duplicates import CheckedSplit
from hftune.data.parquet_files import ParquetFiles, find_parquet
from hftune.data.sources import COLUMN_FLAGS, Source, test_on
from hftune.data.splits import UsableContent, choose_rows, fingerprint
from hftune.data.tables.read import Table
from hftune.data.tables.row_groups import RowGroups, groups_at_once, mixed_order
from hftune.data.tables.row_marks import columns_of_marks, follow_marks
from hftune.data.text.pairs import Columns, Texts, check_rows, choose_texts, join
from hftune.data.text.splits import TextSplits, dataset_of, naming_texts, places_of
from hftune.data.text.tokenize_pairs import OtherTooLong
from hftune.errors import BadInput
from hftune.settings.text import TextSettings
from hftune.tasks import possible_tasks
from hftune.tasks.base import Task

DRAWN = 10_000  # training rows at most that are validated on where no others are given
MUCH = 1024  # MB of texts in memory of which is warned
SAMPLE = 2_000  # training texts that are tokenized first, to tell how long they are


class StreamedTexts(Sequence[Any]):
    """Texts, or pairs of them, of which those of `window` row groups are held.

    Args:
        groups: All rows of the files.
        columns: One of texts, or two.
        rows: Which of them these are, int64 (N,), ascending.

    Attributes:
        starts: Number of the first of these rows in each group, and N behind them, int64 (G + 1,).
        window: How many groups are held.
    """

    def __init__(self, groups: RowGroups, columns: Columns, rows: np.ndarray):
        self.groups, self.columns, self.rows = groups, columns, rows
        self.starts = np.searchsorted(rows, groups.starts)
        self._bytes = groups.bytes_of(columns)
        self.window = groups_at_once(self._bytes)
        self._held: OrderedDict[int, list[pa.Array]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: Any) -> Any:
        """Returns the text of a row, or both.

        Raises:
            BadInput: It is missing, or the file can no longer be read.
        """
        found = int(self.rows[row])
        group = self.groups.group_of(found)
        place = found - int(self.groups.starts[group])
        return self._checked(found, [column[place].as_py() for column in self._hold(group)])

    def __iter__(self) -> Iterator[Texts]:
        """Yields all of them, a row group at a time."""
        for group, first in enumerate(self.starts[:-1]):
            rows = self.rows[first : self.starts[group + 1]]
            if len(rows):
                chosen = pa.array(rows - self.groups.starts[group])
                columns = [column.take(chosen).to_pylist() for column in self._hold(group)]
                for row, content in zip(rows.tolist(), zip(*columns, strict=True), strict=True):
                    yield self._checked(row, content)

    def _checked(self, row: int, content: Sequence[str | None]) -> Texts:
        if None in content:
            name = self.columns[content.index(None)]
            raise BadInput(
                f"{self.groups[row]}: the text (column {name!r}) is missing; fill it in or remove the row"
            )
        return content[0] if len(content) == 1 else tuple(content)  # type: ignore[return-value]

    def _hold(self, group: int) -> list[pa.Array]:
        """Returns the columns of a group, read if they are not held; what was not asked for longest goes."""
        if group not in self._held:
            while len(self._held) >= self.window:
                self._held.popitem(last=False)
            table = self.groups.read(group, self.columns)
            columns = [column.cast(pa.large_string()).combine_chunks() for column in table.columns]
            self._held[group] = columns
        self._held.move_to_end(group)
        return self._held[group]

    @property
    def _megabytes(self) -> int:
        return -(-self.window * int(self._bytes.max()) // 2**20)

    @property
    def warnings(self) -> list[str]:
        """Lines to show to the user."""
        if self._megabytes < MUCH:
            return []
        return [
            f"{self.groups.name}: row groups are large, {self.window} of them take {self._megabytes:,} MB; "
            "write them with fewer rows, such as pyarrow.parquet.write_table(..., row_group_size=10_000)"
        ]

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Returns the order of an epoch, in which each group is read once: see `mixed_order`."""
        return mixed_order(self.starts, self.window, seed, epoch)

    def about(self) -> str:
        """Says in which order the rows are visited, how well they are mixed, and what that takes."""
        count = len(self._bytes)
        memory = f"{self._megabytes:,} MB of texts are held by each process that reads"
        if self.window == count:
            return f"all {len(self):,} rows are mixed in every epoch, as without --streaming; {memory}"
        mixed = len(self) * self.window // count
        return (
            f"{count:,} row groups in another order in every epoch, the rows of each {self.window:,} of them "
            f"mixed: about {mixed:,} rows, {100 * self.window / count:.2g} % of an epoch; rows that stand "
            f"together in a file stay as near as that; {memory}"
        )


class StreamedRows(torch.utils.data.Dataset):
    """Training rows that are tokenized when a batch is made of them.

    Args:
        texts: Their texts, or pairs.
        encode: Makes token ids of texts or pairs, see `hftune.data.text.tokenize.encoder`.
        targets: What the task asks for, rows first.
        max_length: Tokens of a row at most.

    Attributes:
        lengths: `max_length` for each row, since none is known before, int64 (N,).
        weights: Ones, int64 (N,).
        targets: As given.
    """

    def __init__(
        self,
        texts: StreamedTexts,
        encode: Callable[[list], dict[str, list]],
        targets: np.ndarray,
        max_length: int,
    ):
        self.texts, self.encode, self.targets = texts, encode, targets
        self.lengths = np.broadcast_to(np.int64(max_length), len(texts))
        self.weights = np.broadcast_to(np.int64(1), len(texts))

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Returns a row as `hftune.data.text.tokenize.TokenRows` has it."""
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Returns the rows of a batch, which a torch `DataLoader` asks for at once."""
        try:
            encoded = self.encode([self.texts[int(row)] for row in rows])
        except OtherTooLong as error:
            place = self.texts.groups[self.texts.rows[int(rows[error.row])]]
            raise BadInput(f"{place}: {error.message}") from None
        kinds = {"input_ids": np.int32, "token_type_ids": np.int8}
        arrays = {name: kind for name, kind in kinds.items() if name in encoded}
        return [
            {name: np.asarray(encoded[name][number], kind) for name, kind in arrays.items()}
            | {"label": self.targets[int(row)].tolist()}
            for number, row in enumerate(rows)
        ]


def stream_splits(settings: TextSettings, task: Task | None = None) -> tuple[TextSplits, StreamedTexts]:
    """Finds the training texts of `--streaming`, and reads the rows that are scored.

    Where there are no validation rows, `train_val_split` of the training rows are drawn, at most `DRAWN`.

    Args:
        settings: As for `hftune.data.text.splits.load_splits`.
        task: What is asked of a row; None: the settings' task.

    Returns:
        Splits whose training texts are `SAMPLE` drawn ones, with the targets of all; and all of the texts.

    Raises:
        BadInput: The data cannot be had or cannot be used; the message names file and row.
    """
    found = find_parquet(settings)
    groups = RowGroups(found.splits["train"], found.class_names)
    head = _with_labels(groups.head(), settings, task)
    columns, label = choose_texts(head, settings)
    check_rows(head, columns, keep_blank=True)  # what they hold
    groups.check(columns)
    for column in columns:
        groups.refuse_missing(column)
    source = _source(settings, task, found, groups, columns, label)
    share = min(settings.train_val_split, DRAWN / len(groups))

    def check(split: str, table: Table) -> UsableContent:
        if split == "train":
            return UsableContent(_nothing(len(groups)), None, [])
        content, warnings = check_rows(table, columns, keep_blank=not source.files)
        return UsableContent(content, None, warnings)

    named = naming_texts(source, columns, label)
    parts, task, origin, warnings = choose_rows(
        named, settings.replace(train_val_split=share), content=columns, label=label, check=check, task=task
    )
    places = Table(groups.name, {}, places=groups)  # the labels need not be held any longer
    train = replace(parts.pop("train"), table=places)
    for split, part in parts.items():
        if pa.types.is_null(part.content.type):
            parts[split] = replace(part, table=places, content=_content(groups, columns, part.rows))
    texts = StreamedTexts(groups, columns, train.rows)
    drawn = np.sort(texts.order(settings.seed, 0)[:SAMPLE])
    sample = replace(train.take(drawn), content=_content(groups, columns, train.rows[drawn]))
    digest = _fingerprint(parts, train, groups, task)
    pairs = len(columns) == 2
    sets = {
        split: dataset_of(part, pairs, f"{digest[:32]}-{split}")
        for split, part in {"sample": sample, **parts}.items()
    }
    splits = TextSplits(
        sets["sample"],
        sets["validation"],
        sets.get("test"),
        {"train": train.targets} | {split: part.targets for split, part in parts.items()},
        task,
        origin,
        digest,
        source.commit,
        [*unread_texts(head, columns, label), *texts.warnings, *warnings],
        {split: part.place for split, part in {"sample": sample, **parts}.items()},
        places_of(parts["test"], sets["test"]) if "test" in parts else None,
    )
    return splits, texts


def _source(
    settings: TextSettings,
    task: Task | None,
    found: ParquetFiles,
    groups: RowGroups,
    columns: Columns,
    label: str,
) -> Source:
    """Reads the tables, of train without its texts.

    Raises:
        BadInput: A column says which rows are for what: they would have to be taken out of the row groups.
    """
    head, wanted = groups.head(), settings.split_column_name
    labels = [label] if label in head.columns else [name.strip() for name in label.split(",")]
    used = [*labels, *columns, *(getattr(settings, name, None) for name in COLUMN_FLAGS)]
    if wanted is not None:
        refuse_missing_column(head, wanted, "--split_column_name")
    marks = columns_of_marks(head, wanted, used)
    train = groups.table([*labels, *marks])
    others = {split: found.read(split) for split in found.splits if split != "train"}
    marked = follow_marks({"train": train, **others}, wanted, used)
    if marked.column or marked.tables["train"].rows < len(groups):
        raise BadInput(
            f"--streaming: the column {marked.column or marks[0]!r} of {groups.name} says which rows are for "
            "what; write those of each split into a file of their own, or leave --streaming out"
        )
    nothing = dict.fromkeys(columns, _nothing(len(groups)))
    tables = {**marked.tables, "train": replace(train, columns={**nothing, **train.columns})}
    source = Source(
        {split: _with_labels(table, settings, task) for split, table in tables.items()},
        f"{found.origin}, streamed",
        files=found.own,
        validation=", ".join(found.splits.get("validation", {})) or "its own split",
        commit=found.commit,
        warnings=(*found.warnings, *marked.warnings),
    )
    return test_on(source, settings.test_split) if settings.test_split else source


def _with_labels(table: Table, settings: TextSettings, task: Task | None) -> Table:
    """Returns a table in which the label is one column, where the settings name several."""
    for one in possible_tasks(settings, task):
        table = one.join_columns(table, settings.label_column_name)
    return table


def _nothing(rows: int) -> pa.ChunkedArray:
    """Returns what stands in the place of texts that are not held."""
    return pa.chunked_array([pa.nulls(rows)])


def _content(groups: RowGroups, columns: Columns, rows: np.ndarray) -> pa.ChunkedArray:
    """Reads the texts of some rows (int64, ascending) as `check_rows` returns them."""
    texts = list(StreamedTexts(groups, columns, rows))
    if len(columns) == 1:
        return pa.chunked_array([pa.array(texts, pa.string())])
    return pa.chunked_array([join([first for first, _ in texts], [second for _, second in texts])])


def _fingerprint(parts: dict[str, CheckedSplit], train: CheckedSplit, groups: RowGroups, task: Task) -> str:
    """Hashes the files of train as they are, which of their rows are trained on, and all other rows."""
    digest = hashlib.sha256(fingerprint(parts, task.labels).encode())
    digest.update(" ".join(groups.digests()).encode())
    for numbers in (train.rows, train.targets):
        digest.update(np.ascontiguousarray(numbers).data)
    return digest.hexdigest()
