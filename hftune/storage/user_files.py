"""What in a run's folder is the user's: no run replaces or removes a file that no run wrote."""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from hftune.errors import BadInput
from hftune.settings.base import Settings
from hftune.storage.checkpoint import list_checkpoints
from hftune.storage.files import explain_write_errors, hash_file, read_json, sync_folder
from hftune.storage.model_files import AT_THE_END
from hftune.storage.run_dir import RunRecord, change_record

log = logging.getLogger(__name__)

DATA_FOLDERS = ("train_dir", "validation_dir", "test_dir")
DATA_FILES = ("train_file", "validation_file", "test_file", "unlabeled_file")
MODELS = ("model_name_or_path", "teacher", "checkpoint_path", "embeddings")
INPUTS = (*MODELS, "dataset_name", *DATA_FOLDERS, *DATA_FILES)


def refuse_foreign_files(run_dir: Path, settings: Settings) -> None:
    """Raises `BadInput` if a run in this folder would replace, remove or train on what is not its own.

    That is a folder with files of a run's names that no run wrote, a clone, the folder of the base model
    or the data, and, for a run that is to be overwritten, files that were changed since it ended.
    """
    _refuse_checkpoints(run_dir)
    _refuse_inputs(run_dir, settings)
    record = RunRecord.read(run_dir)
    found = foreign_files(run_dir, record, overwrite=settings.overwrite_output_dir)
    if not found:
        return
    shown = ", ".join(found[:5]) + (f" and {len(found) - 5:,} more" if len(found) > 5 else "")
    if record and record.finished:
        raise BadInput(
            f"--overwrite_output_dir: {run_dir} holds what its run did not leave so: {shown}; "
            "move that, or choose another --output_dir"
        )
    raise BadInput(
        f"--output_dir {run_dir} holds what no run wrote, and this one would replace: {shown}; "
        "move that, or choose another --output_dir"
    )


def foreign_files(run_dir: Path, record: RunRecord | None, *, overwrite: bool = False) -> list[str]:
    """Lists files of a folder that have the name of a run's, but that no run wrote.

    Args:
        run_dir: The run's folder, which need not exist.
        record: Its run.json; None where there is none.
        overwrite: Whether what a finished run left is to be removed.
    """
    if record is None:
        return _foreign_without_run(run_dir)
    if not record.finished:
        return [] if record.claimed else [_name(run_dir, path) for path in _at_the_end(run_dir)]
    if not overwrite or not record.files:  # runs of an earlier hftune did not note what they left
        return []
    changed = [name for name, digest in hash_files(run_dir, {}).items() if record.files.get(name) != digest]
    return changed + [f"checkpoint-{step}" for step in _foreign_checkpoints(run_dir)]


def claim(run_dir: Path) -> None:
    """Takes the names that a run writes at its end; what was put there meanwhile goes to `set-aside`."""
    record = RunRecord.read(run_dir)
    if record and record.claimed:
        return
    if found := _at_the_end(run_dir):
        aside = run_dir / "set-aside"
        for path in found:
            target = aside / path.relative_to(run_dir)
            while target.exists():
                target = target.with_name(f"{target.name}~")
            with explain_write_errors(target, 0):
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
        names = ", ".join(_name(run_dir, path) for path in found)
        log.warning("%s: no run wrote %s, which now lies in %s", run_dir, names, aside)
    change_record(run_dir, claimed=True)


def hash_files(run_dir: Path, known: Mapping[str, str]) -> dict[str, str]:
    """Returns the SHA-256 (hex) of each file of a name that a run writes at its end, by its name.

    Noted in the record, they tell later which files the user has changed since.

    Args:
        run_dir: The run's folder.
        known: Those that were hashed before, such as the model's.
    """
    paths = {_name(run_dir, path): path for path in _at_the_end(run_dir)}
    return {name: known.get(name) or hash_file(path) for name, path in paths.items()}


def remove_run(run_dir: Path, record: RunRecord) -> None:
    """Removes what a run left, and nothing else; killed on the way, the same command removes the rest.

    The record is the last to go, and says meanwhile that the run is not finished. The newest checkpoint
    goes first, since older ones never depend on it.
    """
    log.info("%s: what an earlier run left is removed (--overwrite_output_dir)", run_dir)
    settings = record.settings | {"overwrite_output_dir": False}
    change_record(run_dir, finished=False, claimed=True, settings=settings)
    with explain_write_errors(run_dir, 0):
        foreign = _foreign_checkpoints(run_dir)
        for step in reversed(list_checkpoints(run_dir)):
            if step not in foreign:
                aside = run_dir / f".tmp-delete-checkpoint-{step}"
                (run_dir / f"checkpoint-{step}").rename(aside)
                shutil.rmtree(aside)
        for path in [*_at_the_end(run_dir), run_dir / "log.jsonl", run_dir / "exit.json"]:
            path.unlink(missing_ok=True)
        sync_folder(run_dir)
        (run_dir / "run.json").unlink()
        sync_folder(run_dir)


def _refuse_checkpoints(run_dir: Path) -> None:
    """Raises `BadInput` if the folder is, or is within, a checkpoint, which its run removes in time."""
    folder = Path(os.path.realpath(run_dir))
    for place in (folder, *folder.parents):
        if place.match("checkpoint-*") and _is_checkpoint(place):
            raise BadInput(
                f"--output_dir {run_dir} is in a checkpoint ({place.name}) of the run {place.parent}, which "
                "a run must not change; choose another"
            )


def _refuse_inputs(run_dir: Path, settings: Settings) -> None:
    """Raises `BadInput` if the folder is, or is within, what is read, or holds it among a run's files."""
    folder = Path(os.path.realpath(run_dir))
    given = {flag: getattr(settings, flag) for flag in INPUTS}
    if settings.overwrite_output_dir:
        given["resume_from_checkpoint"] = settings.resume_from_checkpoint
    for flag, value in given.items():
        if value is None or not os.path.exists(place := os.path.expanduser(value)):
            continue
        source = Path(os.path.realpath(place))
        if flag == "dataset_name" and value == "sample":
            continue
        said = f"--output_dir {run_dir}"
        if folder == source:
            raise BadInput(f"{said} is the folder of --{flag}, which a run must not change; choose another")
        if flag in DATA_FOLDERS and folder.is_relative_to(source):
            raise BadInput(f"{said} is within --{flag} {value}, whose folders are classes; choose another")
        if source.is_relative_to(folder) and _is_of_a_run(source.relative_to(folder)):
            raise BadInput(f"--{flag} {value} is among the files of {said}; choose another --output_dir")


def _is_of_a_run(path: Path) -> bool:
    """Returns whether a path within a run's folder is of a run's files, by its name."""
    top = Path(path.parts[0])
    names = (*AT_THE_END, "log.jsonl") if len(path.parts) == 1 else ()
    return top.match("checkpoint-*") or any(top.match(name) for name in names)


def _foreign_without_run(run_dir: Path) -> list[str]:
    """Lists what stands in the way of a first run; one whose record alone is lost stands in nobody's."""
    if not os.path.isdir(run_dir) or not os.access(run_dir, os.R_OK | os.X_OK):  # `lock_run_dir` says it
        return []
    steps, foreign = list_checkpoints(run_dir), _foreign_checkpoints(run_dir)
    if len(foreign) < len(steps):
        return [f"checkpoint-{step}" for step in foreign]
    found = [_name(run_dir, path) for path in _at_the_end(run_dir)]
    found += [f"checkpoint-{step}" for step in foreign]
    if (run_dir / "log.jsonl").is_file() and (run_dir / "log.jsonl").stat().st_size:
        found.append("log.jsonl")
    if (run_dir / "exit.json").exists() and not _holds(run_dir / "exit.json", {"code", "reason"}):
        found.append("exit.json")
    return found + ([".git"] if (run_dir / ".git").exists() else [])


def _foreign_checkpoints(run_dir: Path) -> list[int]:
    """Returns the steps of checkpoint folders without hftune's manifest, such as transformers' own."""
    return [step for step in list_checkpoints(run_dir) if not _is_checkpoint(run_dir / f"checkpoint-{step}")]


def _is_checkpoint(folder: Path) -> bool:
    """Returns whether a folder is a checkpoint of hftune, by its manifest."""
    return _holds(folder / "manifest.json", {"format", "step", "files"})


def _holds(path: Path, keys: set[str]) -> bool:
    """Returns whether a file is a JSON object with these keys."""
    try:
        content = read_json(path)
    except BadInput:
        return False
    return isinstance(content, dict) and keys <= content.keys()


def _at_the_end(run_dir: Path) -> list[Path]:
    """Lists the files of names that a run writes at its end; an empty one is nobody's loss."""
    found = {path for pattern in AT_THE_END for path in run_dir.glob(pattern)}
    return sorted(path for path in found if path.is_file() and path.stat().st_size)


def _name(run_dir: Path, path: Path) -> str:
    return path.relative_to(run_dir).as_posix()
