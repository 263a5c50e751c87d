"""From a user's files, folder or Hub id to clean splits."""

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from huggingface_hub.utils import httpx

from hftune.data.checks import (
    Part,
    check_texts,
    choose_columns,
    find_duplicates,
    is_unlabelled,
    number_labels,
)
from hftune.data.tables import Table, read_table
from hftune.errors import BadInput
from hftune.offline import hub_id
from hftune.seed import permutation
from hftune.text_settings import TextSettings

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "dev", "val"), "test": ("test",)}
_WITHOUT_HUB = (
    "pass --dataset_name FOLDER, --train_file FILE or --dataset_name sample, or run once with a network"
)


@dataclass(frozen=True)
class Splits:
    """Clean splits, each with the columns `text` (string) and `label` (int64, 0 .. C-1), in the data's order.

    Args:
        train: Rows to learn from.
        validation: Rows to choose by.
        test: Rows to score once, or None where there are no labelled ones.
        labels: The C class names.
        origin: One line: where the data came from, and how validation came about.
        fingerprint: SHA-256 (hex) of all texts, labels and class names; the same however they were stored.
        warnings: Lines to show to the user.
    """

    train: datasets.Dataset
    validation: datasets.Dataset
    test: datasets.Dataset | None
    labels: tuple[str, ...]
    origin: str
    fingerprint: str
    warnings: list[str]


@dataclass(frozen=True)
class _Source:
    """What was found where the settings point to.

    Args:
        tables: By the source's own split names.
        origin: Its name, for people.
        files: Whether the user's own text files were read, which can be edited.
        validation: What to call its validation split.
    """

    tables: dict[str, Table]
    origin: str
    files: bool = False
    validation: str = "its own split"


def load_splits(settings: TextSettings) -> Splits:
    """Loads, checks and splits the data that the settings name.

    Every random choice is a function of the seed and of the rows alone.

    Args:
        settings: What is read of them: `dataset_name` (Hub id, local folder or "sample"),
            `dataset_config_name` and `dataset_revision`, or `train_file`, `validation_file` and `test_file`;
            `text_column_name` and `label_column_name` (None: inferred); `train_val_split` (share of
            train that becomes validation where there is none); `max_train_samples`,
            `max_eval_samples` (for validation and test each; None: all); `seed`.

    Raises:
        BadInput: The data cannot be had or cannot be used; the message names file and row.
    """
    source = _find(settings)
    parts, labels, warnings = _clean(source, settings)
    seed = settings.seed
    how = source.validation
    if "validation" not in parts:
        parts = _cut_validation(parts, settings.train_val_split, seed)
        how = f"{100 * settings.train_val_split:g} % of train, stratified, seed {seed}"
    origin = f"{source.origin}, validation: {how}"
    for split, part in parts.items():
        limit = settings.max_train_samples if split == "train" else settings.max_eval_samples
        if limit is not None and limit < len(part.label):
            parts[split] = part.take(choose_stratified(part.label, limit, 0, "sample", split, seed))
            origin += f", {limit:,} of {len(part.label):,} {split} rows"
    if "test" not in parts:
        warnings.append("no labelled test split: there will be no test scores")
    warnings += find_duplicates(parts)
    fingerprint = _fingerprint(parts, labels)
    sets = {split: _dataset(part, f"{fingerprint[:32]}-{split}") for split, part in parts.items()}
    return Splits(sets["train"], sets["validation"], sets.get("test"), labels, origin, fingerprint, warnings)


def _find(settings: TextSettings) -> _Source:
    """Decides between files, sample, folder and Hub, and reads."""
    name, revision, config = settings.dataset_name, settings.dataset_revision, settings.dataset_config_name
    files = {split: getattr(settings, f"{split}_file") for split in SPLIT_NAMES}
    files = {split: file for split, file in files.items() if file is not None}
    if name is None:
        if "train" not in files:
            raise BadInput(
                "no training data: pass --dataset_name (a Hub id, a folder or sample) or --train_file"
            )
        return _from_files(files)
    if files:
        split, file = next(iter(files.items()))
        raise BadInput(
            f"--dataset_name {name} and --{split}_file {file} are both given; pass one or the other"
        )
    if name == "sample":
        from hftune.data.sample import load_sample

        if config or revision:
            raise BadInput("--dataset_name sample has no configurations or revisions; leave those flags out")
        return _Source(_tables_of(load_sample(), "sample"), "built-in sample")
    if not name.strip():
        raise BadInput("--dataset_name is empty; pass a Hub id, a folder or sample")
    if hub_id(name, "dataset_name") is None:
        folder = Path(name).expanduser()
        if revision:
            raise BadInput(f"--dataset_revision {revision} is for Hub ids, but {name} is a folder")
        plain = {} if config else _plain_files(name, folder)
        return _from_files(plain) if plain else _from_library(name, os.path.abspath(folder), config, None)
    if "/" not in name:
        raise BadInput(f"--dataset_name {name}: no such folder, and a data set's id is OWNER/NAME on the Hub")
    return _from_library(name, name, config, revision)


def _from_files(files: Mapping[str, str]) -> _Source:
    tables = {split: read_table(file) for split, file in files.items()}
    train = tables["train"]
    for table in tables.values():
        missing = [column for column in train.columns if column not in table.columns]
        extra = [column for column in table.columns if column not in train.columns]
        if missing or extra:
            raise BadInput(
                f"{table.name} has not the columns of {train.name}:"
                + (f" {', '.join(missing)} missing" if missing else "")
                + (" and" if missing and extra else "")
                + (f" {', '.join(extra)} too many" if extra else "")
            )
    origin = files["train"] + (f", test: {files['test']}" if "test" in files else "")
    return _Source(tables, origin, files=True, validation=files.get("validation", ""))


def _plain_files(name: str, folder: Path) -> dict[str, str]:
    """Returns the files of a folder that holds one text file a split and nothing to configure, else nothing.

    `datasets` would read them with pandas, which takes "NA" for a missing cell and shifts the
    columns of a row with too many fields.
    """
    endings = (".csv", ".tsv", ".jsonl")
    data = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in (*endings, ".json", ".parquet", ".txt", ".md")
    ]
    stems = {path.stem: path for path in data}
    if len(stems) < len(data) or any(path.suffix.lower() not in endings for path in data):
        return {}
    files = {
        split: [stems.pop(alias) for alias in aliases if alias in stems]
        for split, aliases in SPLIT_NAMES.items()
    }
    if stems or not files["train"] or any(len(paths) > 1 for paths in files.values()):
        return {}
    return {split: os.path.join(name, paths[0].name) for split, paths in files.items() if paths}


def _from_library(name: str, path: str, config: str | None, revision: str | None) -> _Source:
    try:
        found = datasets.load_dataset(path, config, revision=revision)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError, httpx.HTTPError) as error:
        _explain(error, name, config, revision)
    commit = _commit(found)
    if revision and commit and re.fullmatch("[0-9a-f]{7,40}", revision) and not commit.startswith(revision):
        raise BadInput(
            f"--dataset_revision {revision} of {name} cannot be fetched (the cache holds {commit}); run once "
            "with a network"
        )
    details = [word for word in (config, f"revision {commit[:12]}" if commit else None) if word]
    return _Source(_tables_of(found, name), name + (f" ({', '.join(details)})" if details else ""))


def _commit(found: datasets.DatasetDict) -> str:
    """Returns the commit that a Hub set's files came from, or "" for a folder."""
    folders = [Path(file["filename"]).parent.name for part in found.values() for file in part.cache_files]
    commits = [name for name in folders if re.fullmatch("[0-9a-f]{40}", name)]  # folders have shorter ones
    return commits[0] if commits else ""


def _explain(error: Exception, name: str, config: str | None, revision: str | None) -> NoReturn:
    """Raises the one line that an error of `datasets` or the Hub's client comes down to."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM):
        raise error
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
        classes = {
            column: feature.names
            for column, feature in part.features.items()
            if isinstance(feature, datasets.ClassLabel) and feature.names
        }
        tables[split] = Table(
            f"{name} {split}", dict(zip(rows.column_names, rows.columns, strict=True)), None, classes
        )
    return tables


def _clean(source: _Source, settings: TextSettings) -> tuple[dict[str, Part], tuple[str, ...], list[str]]:
    """Returns checked rows by split, the class names and warnings."""
    warnings = []
    if "train" not in source.tables:
        raise BadInput(f"{source.origin} has no train split (splits: {', '.join(source.tables)})")
    text, label = choose_columns(
        source.tables["train"], settings.text_column_name, settings.label_column_name
    )
    tables: dict[str, Table] = {}
    unused = dict(source.tables)
    for split, aliases in SPLIT_NAMES.items():
        own = next((alias for alias in aliases if alias in unused), None)
        table = unused.pop(own) if own else None
        if table is None:
            continue
        for column in (text, label):
            if column not in table.columns:
                raise BadInput(f"{table.name} has no column {column!r}, but train has")
        if split != "train" and not source.files and is_unlabelled(table, label):
            warnings.append(f"{table.name} has no labels (all are -1) and is left out")
        else:
            tables[split] = table
    left = [
        split for split, table in unused.items() if label in table.columns and not is_unlabelled(table, label)
    ]
    if left:
        warnings.append(f"{source.origin}: splits not used: {', '.join(left)}")
    texts = {}
    for split, table in tables.items():
        texts[split], found = check_texts(table, text, keep_blank=not source.files)
        warnings += found
    names, labels, found = number_labels(tables, label)
    parts = {
        split: Part(texts[split], labels[split], tables[split], np.arange(len(labels[split])))
        for split in tables
    }
    return parts, names, warnings + found


def _cut_validation(parts: dict[str, Part], share: float, seed: int) -> dict[str, Part]:
    train = parts["train"]
    count = max(1, round(share * len(train.label)))
    chosen = choose_stratified(train.label, count, 1, "split", seed)
    if not len(chosen):
        raise BadInput(
            f"{train.table.name} has too few rows to cut a validation split from; add rows or pass one"
        )
    kept = np.setdiff1d(np.arange(len(train.label)), chosen)
    return {"train": train.take(kept), "validation": train.take(chosen)} | (
        {"test": parts["test"]} if "test" in parts else {}
    )


def choose_stratified(label: np.ndarray, count: int, leave: int, *address: int | str) -> np.ndarray:
    """Chooses rows at random, each class in proportion and with one row at least where possible.

    Args:
        label: Class numbers, int64 (N,).
        count: How many rows to choose; fewer are chosen where `leave` asks for it.
        leave: How many rows of each class must stay behind.
        *address: What the choice is for (see `hftune.seed`).

    Returns:
        The chosen rows, int64, ascending.
    """
    sizes = np.bincount(label)
    quota = _quotas(sizes, count, np.maximum(sizes - leave, 0))
    order = permutation(len(label), *address)
    grouped = order[np.argsort(label[order], kind="stable")]  # shuffled rows, class by class
    rank = np.arange(len(label)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of each row in its class
    return np.sort(grouped[rank < np.repeat(quota, sizes)])


def _quotas(sizes: np.ndarray, count: int, most: np.ndarray) -> np.ndarray:
    """Shares `count` out over classes in proportion to their sizes, by largest remainder."""
    exact = sizes * count / sizes.sum()
    quota = np.minimum(np.maximum(np.floor(exact), 1), most).astype(np.int64)
    while quota.sum() < min(count, most.sum()):
        quota[np.argmax(np.where(quota < most, exact - quota, -np.inf))] += 1
    while quota.sum() > count:
        least = 1 if (quota > 1).any() else 0  # fewer rows than classes: some classes get none
        quota[np.argmax(np.where(quota > least, quota - exact, -np.inf))] -= 1
    return quota


def _fingerprint(parts: Mapping[str, Part], labels: tuple[str, ...]) -> str:
    """Hashes the values, not their layout: chunks, offsets and file formats do not count."""
    digest = hashlib.sha256(json.dumps(labels).encode())
    for split in SPLIT_NAMES:
        if split in parts:
            part = parts[split]
            digest.update(f"{split} {len(part.label)}".encode())
            digest.update(pc.binary_length(part.text).cast(pa.int64()).to_numpy().tobytes())
            for chunk in part.text.cast(pa.large_string()).chunks:
                _, offsets, values = chunk.buffers()
                first, last = np.frombuffer(offsets, np.int64)[[chunk.offset, chunk.offset + len(chunk)]]
                digest.update(memoryview(values)[first:last] if values else b"")
            digest.update(part.label.tobytes())
    return digest.hexdigest()


def _dataset(part: Part, fingerprint: str) -> datasets.Dataset:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.Value("int64")})
    table = pa.table({"text": part.text, "label": part.label}, schema=features.arrow_schema)
    return datasets.Dataset(table, fingerprint=fingerprint)
