"""From a user's files, folder or Hub id to tables of rows, one for each split."""

import errno
import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import datasets
from huggingface_hub.utils import httpx

from hftune.data.columns import Content
from hftune.data.tables.folders import Files, find_files, read_files
from hftune.data.tables.read import SUFFIXES as TABLE_SUFFIXES
from hftune.data.tables.read import Table, read_table
from hftune.data.tables.row_marks import follow_marks
from hftune.errors import BadInput
from hftune.runtime.offline import hub_id, of_the_cache
from hftune.settings.base import Settings
from hftune.tasks import possible_tasks
from hftune.tasks.base import Task

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "dev", "val"), "test": ("test",)}
COLUMN_FLAGS = ("label_column_name", "text_column_name", "text_pair_column_name", "image_column_name")
_WITHOUT_HUB = (
    "pass --dataset_name FOLDER, --train_file FILE or --dataset_name sample, or run once with a network"
)


@dataclass(frozen=True)
class Source:
    """What was found where the settings point to.

    Args:
        tables: By the source's own split names.
        origin: Its name, for people.
        files: Whether the user's own text files were read, which can be edited.
        validation: What to call its validation split.
        commit: Of the Hub data set, 40 hexadecimal digits; "" for anything else.
        columns: Which of its columns are read, for people.
        warnings: Lines to show to the user.
    """

    tables: dict[str, Table]
    origin: str
    files: bool = False
    validation: str = "its own split"
    commit: str = ""
    columns: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def train(self) -> Table:
        """The training table; raises `BadInput` if there is none."""
        if "train" not in self.tables:
            raise BadInput(f"{self.origin} has no train split (splits: {', '.join(self.tables)})")
        return self.tables["train"]


def find_source(
    settings: Settings,
    load_sample: Callable[[], datasets.DatasetDict],
    task: Task | None = None,
    read: Callable[[str], Table] = read_table,
) -> Source:
    """Decides between files, sample, folder and Hub, reads, and follows columns that name splits.

    Args:
        settings: What is read of them: `dataset_name` (Hub id, local folder or "sample"),
            `dataset_config_name` and `dataset_revision`, or `train_file`, `validation_file` and `test_file`;
            `split_column_name` (None: found by its usual names) and the columns that are something else.
        load_sample: Makes the built-in data of the recipe's kind.
        task: What is asked of a row; None: the settings' task, or any.
        read: Reads a file that a flag names.

    Raises:
        BadInput: The data cannot be had; the message names the file or the Hub id.
    """
    source = _read_source(settings, load_sample, read)
    for one in possible_tasks(settings, task):
        joined = {
            name: one.join_columns(of, settings.label_column_name) for name, of in source.tables.items()
        }
        source = replace(source, tables=joined)
    used = [getattr(settings, name, None) for name in COLUMN_FLAGS]
    marked = follow_marks(source.tables, settings.split_column_name, used)
    source = replace(source, tables=marked.tables, warnings=(*source.warnings, *marked.warnings))
    if marked.column is not None:
        source = replace(
            source,
            origin=f"{source.origin}, splits by column {marked.column!r}",
            validation=source.validation
            if "validation" not in marked.tables
            else f"column {marked.column!r}",
        )
    return test_on(source, settings.test_split) if settings.test_split else source


def test_on(source: Source, split: str) -> Source:
    """Returns a source whose test rows are those of another split, which then is no split of its own.

    Sets such as GLUE's keep the labels of their test split to themselves and are scored on validation rows.

    Args:
        source: What was found.
        split: Name of the split, such as "validation"; validation rows are then cut from train.

    Raises:
        BadInput: There is no such split, or it is train.
    """
    if split not in source.tables or split == "train":
        there = ", ".join(name for name in source.tables if name != "train") or "none but train"
        raise BadInput(f"--test_split {split}: {source.origin} has no such split to test on (it has {there})")
    others = {name: of for name, of in source.tables.items() if name not in (split, "test")}
    return replace(
        source,
        tables=others | {"test": source.tables[split]},
        origin=f"{source.origin}, tested on {split}",
    )


def naming_columns(source: Source, kind: Content, content: str, label: str) -> Source:
    """Returns a source that says which of its columns are read."""
    return replace(source, columns=f", {kind.noun} column {content!r}, label column {label!r}")


def _read_source(
    settings: Settings, load_sample: Callable[[], datasets.DatasetDict], read: Callable[[str], Table]
) -> Source:
    name, revision, config = settings.dataset_name, settings.dataset_revision, settings.dataset_config_name
    files = {split: getattr(settings, f"{split}_file") for split in SPLIT_NAMES}
    files = {split: file for split, file in files.items() if file is not None}
    if name is None:
        if "train" not in files:
            raise BadInput(
                "no training data: pass --dataset_name (a Hub id, a folder or sample) or --train_file"
            )
        return _from_files(files, read)
    if files:
        split, file = next(iter(files.items()))
        raise BadInput(
            f"--dataset_name {name} and --{split}_file {file} are both given; pass one or the other"
        )
    if name == "sample":
        if config or revision:
            raise BadInput("--dataset_name sample has no configurations or revisions; leave those flags out")
        return Source(_tables_of(load_sample(), "sample"), "built-in sample")
    if not name.strip():
        raise BadInput("--dataset_name is empty; pass a Hub id, a folder or sample")
    if hub_id(name, "dataset_name") is None:
        folder = Path(name).expanduser()
        if revision:
            raise BadInput(f"--dataset_revision {revision} is for Hub ids, but {name} is a folder")
        _refuse_folders_of_texts(name, folder)
        found = find_files(name) if folder.is_dir() and not config else None
        return (
            _from_folder(name, found) if found else _from_library(name, os.path.abspath(folder), config, None)
        )
    if "/" not in name:
        raise BadInput(f"--dataset_name {name}: no such folder, and a data set's id is OWNER/NAME on the Hub")
    return _from_library(name, name, config, revision)


def _from_files(files: Mapping[str, str], read: Callable[[str], Table]) -> Source:
    tables = {split: read(file) for split, file in files.items()}
    train = tables["train"]
    origin = train.origin + (f", test: {tables['test'].origin}" if "test" in tables else "")
    validation = tables["validation"].origin if "validation" in tables else ""
    return Source(tables, origin, files=True, validation=validation)


def _from_folder(name: str, files: Files) -> Source:
    """Reads a folder's tables; `datasets` takes "NA" for a missing cell and words in any name for splits."""
    written = [path for paths in files.splits.values() for path in paths]
    names = {
        split: paths[0] + (f" and {len(paths) - 1} more" if paths[1:] else "")
        for split, paths in files.splits.items()
    }
    origin = names.get("train", name) + (f", test: {names['test']}" if "test" in names else "")
    return Source(
        read_files(files),
        origin,
        files=not any(path.lower().endswith(".parquet") for path in written),
        validation=names.get("validation", ""),
        warnings=tuple(files.warnings),
    )


def _refuse_folders_of_texts(name: str, folder: Path) -> None:
    """Raises `BadInput` for class folders of .txt files, whose lines `datasets` would take for rows."""
    files = [path.relative_to(folder) for path in folder.rglob("*") if not path.name.startswith(".")]
    texts = [path for path in files if path.suffix.lower() == ".txt" and len(path.parts) > 1]
    archives = (
        ".arrow",
        ".gz",
        ".tgz",
        ".zip",
        ".tar",
        ".zst",
        ".xz",
        ".bz2",
        ".lz4",
    )  # `datasets` looks inside
    tables = [path for path in files if path.suffix.lower() in (*TABLE_SUFFIXES, *archives)]
    if texts and not tables:
        raise BadInput(
            f"--dataset_name {name} holds folders of text files ({texts[0].as_posix()!r}, ...), which are "
            "not read; write them into one table, a row a file with the columns text and label, and pass it "
            "with --train_file"
        )


def _from_library(name: str, path: str, config: str | None, revision: str | None) -> Source:
    try:
        cache = _cache_of(path) if os.path.isdir(path) else None
        found = datasets.load_dataset(path, config, revision=revision, cache_dir=cache)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError, httpx.HTTPError) as error:
        explain(error, name, config, revision)
    commit = _commit(found)
    if revision and commit and re.fullmatch("[0-9a-f]{7,40}", revision) and not commit.startswith(revision):
        raise BadInput(
            f"--dataset_revision {revision} of {name} cannot be fetched (the cache holds {commit}); run once "
            "with a network"
        )
    details = [word for word in (config, f"revision {commit[:12]}" if commit else None) if word]
    origin = name + (f" ({', '.join(details)})" if details else "")
    return Source(_tables_of(found, name), origin, commit=commit)


def _cache_of(folder: str) -> str:
    """Returns a cache folder for what a folder holds; the library's own key is the time of its files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder)} {content}".encode(errors="surrogateescape"))
    return os.path.join(datasets.config.HF_DATASETS_CACHE, f"folder-{digest.hexdigest()[:32]}")


def _commit(found: datasets.DatasetDict) -> str:
    """Returns the commit that a Hub set's files came from, or "" for a folder."""
    folders = [Path(file["filename"]).parent.name for part in found.values() for file in part.cache_files]
    commits = [name for name in folders if re.fullmatch("[0-9a-f]{40}", name)]  # folders have shorter ones
    return commits[0] if commits else ""


def explain(error: Exception, name: str, config: str | None, revision: str | None) -> NoReturn:
    """Raises the one line that an error of `datasets` or the Hub's client comes down to."""
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM):
            raise error
        if refusal := of_the_cache(error):
            raise refusal from error
    text = str(error)
    chain = f"{text} {error.__cause__} {error.__context__}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    empty = re.search(r'Instruction "(\w+)" corresponds to no data', text)
    listed = re.search(r"(?:Available|available configs): \[(.*?)\]", text)
    if "is a gated dataset" in text:
        message = "is gated: ask for access on its page, and log in with: hf auth login"
    elif text.startswith("Revision "):
        message = f"has no revision {revision!r} (--dataset_revision); pass a branch, a tag or a commit of it"
    elif isinstance(error, datasets.exceptions.DatasetNotFoundError):
        message = (
            "does not exist on the Hub, or is private; check the spelling, or log in with: hf auth login"
        )
    elif status == 401:
        message = "was refused by the Hub: the token is invalid or expired; log in again with: hf auth login"
    elif "scripts are no longer supported" in text:
        message = (
            "is made by a script, which is never run here; pass its data as files or another copy of the set"
        )
    elif listed and config:
        message = f"has no configuration {config!r}; pass --dataset_config_name with one of {listed[1]}"
    elif listed:
        message = f"has several configurations; pass --dataset_config_name with one of {listed[1]}"
    elif empty:
        message = f"cannot be loaded: the split {empty[1]} has no rows"
    elif "doesn't contain any data files" in text or "No (supported) data files" in text:
        message = "holds no data files (csv, jsonl, parquet)"
    elif (
        isinstance(error, (ConnectionError, httpx.HTTPError))
        or "LocalEntryNotFound" in chain
        or "offline" in chain
    ):
        message = f"is not in the cache, and the Hub cannot be reached; {_WITHOUT_HUB}"
    else:
        reason = str(error.__cause__ or error).strip().splitlines()
        message = f"cannot be loaded: {reason[0] if reason else type(error).__name__}"
    raise BadInput(f"--dataset_name {name} {message}") from error


def _tables_of(found: datasets.DatasetDict, name: str) -> dict[str, Table]:
    tables = {}
    for split, part in found.items():
        rows = part.with_format("arrow")[:]
        columns = dict(zip(rows.column_names, rows.columns, strict=True))
        tables[split] = Table(f"{name} {split}", columns, None, names_of_classes(part.features))
    return tables


def names_of_classes(features: datasets.Features) -> dict[str, list[str]]:
    """Returns the names of the classes of those columns that have some, or lists of them."""
    cells = {column: getattr(of, "feature", of) for column, of in features.items()}
    return {
        column: feature.names
        for column, feature in cells.items()
        if isinstance(feature, datasets.ClassLabel) and feature.names
    }
