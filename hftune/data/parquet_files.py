"""Which parquet files `--streaming` reads: those of a flag, of a folder, or of a Hub set, by split."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import datasets
from datasets.packaged_modules.parquet.parquet import Parquet
from huggingface_hub import hf_hub_download
from huggingface_hub.utils import httpx

from hftune.data.sources import SPLIT_NAMES, explain, names_of_classes
from hftune.data.tables.folders import find_files, joined
from hftune.data.tables.read import Table, read_table
from hftune.errors import BadInput
from hftune.runtime.offline import hub_id
from hftune.settings.base import Settings

_ON_HUB = re.compile(r"hf://datasets/([^/]+/[^/@]+)@([^/]+)/(.+)")


@dataclass(frozen=True)
class ParquetFiles:
    """Files by split.

    Args:
        splits: Of each split the path of every file by what the user calls it; "train" is one of them.
        origin: Their name, for people.
        own: Whether the user named the files one by one.
        commit: Of the Hub data set; "" for anything else.
        class_names: Names of the classes of those columns whose card brings them.
        warnings: Lines to show to the user.
    """

    splits: dict[str, dict[str, str]]
    origin: str
    own: bool = False
    commit: str = ""
    class_names: Mapping[str, list[str]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def read(self, split: str) -> Table:
        """Reads a split whole."""
        tables = [replace(read_table(path), name=name) for name, path in self.splits[split].items()]
        table = joined(tables)
        return replace(table, class_names=dict(self.class_names) or table.class_names)


def find_parquet(settings: Settings) -> ParquetFiles:
    """Finds the files of the settings' data set; those of a Hub set are brought into the Hub's cache.

    They lie there as they are: what is downloaded once is read from the disk by every later run.

    Raises:
        BadInput: There is no such data set, it has no training rows, or they are not parquet.
    """
    if settings.train_file:
        flags = {split: getattr(settings, f"{split}_file") for split in SPLIT_NAMES}
        splits = {split: {file: file} for split, file in flags.items() if file}
        return ParquetFiles(splits, ", ".join(file for file in flags.values() if file), own=True)
    name = settings.dataset_name
    if not name or name == "sample":
        raise BadInput(
            "--streaming reads parquet files: pass --train_file FILE, or --dataset_name FOLDER or ID"
        )
    here = hub_id(name, "dataset_name") is None
    if here and not settings.dataset_config_name and (found := find_files(name)):
        of_folder = {split: {path: path for path in paths} for split, paths in found.splits.items()}
        return ParquetFiles(_with_train(of_folder, name), name, warnings=tuple(found.warnings))
    return _of_library(settings, os.path.abspath(os.path.expanduser(name)) if here else name)


def _of_library(settings: Settings, path: str) -> ParquetFiles:
    """Finds the files by the card of a Hub set, or of a copy of one on this disk."""
    name, config, revision = settings.dataset_name, settings.dataset_config_name, settings.dataset_revision
    assert name is not None
    try:
        builder = datasets.load_dataset_builder(path, config, revision=revision)
        if not isinstance(builder, Parquet):
            raise BadInput(f"--streaming reads parquet, which --dataset_name {name} is not; leave it out")
        listed = builder.config.data_files or {}
        used = {alias for aliases in SPLIT_NAMES.values() for alias in aliases} | {settings.test_split}
        splits = {
            str(split): dict(_here(name, url) for url in urls)
            for split, urls in listed.items()
            if split in used
        }
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError, httpx.HTTPError) as error:
        explain(error, name, config, revision)
    found = _ON_HUB.fullmatch(next(iter(next(iter(listed.values()))), ""))
    commit = found[2] if found else ""
    details = [word for word in (config, f"revision {commit[:12]}" if commit else None) if word]
    origin = name + (f" ({', '.join(details)})" if details else "")
    names = names_of_classes(builder.info.features) if builder.info.features else {}
    return ParquetFiles(_with_train(splits, name), origin, commit=commit, class_names=names)


def _here(name: str, url: str) -> tuple[str, str]:
    """Returns what a file is called, and its path on this disk, where it is downloaded if need be."""
    found = _ON_HUB.fullmatch(url)
    if not found:
        return url, url
    repository, commit, path = found.groups()
    local = hf_hub_download(repository, path, repo_type="dataset", revision=commit)
    return f"{name}/{path}", str(Path(local))


def _with_train(splits: dict[str, dict[str, str]], name: str) -> dict[str, dict[str, str]]:
    if "train" not in splits:
        raise BadInput(f"{name} has no train split (splits: {', '.join(splits)})")
    return splits
