"""A run learns from a teacher: who is asked once for each row, and whose answers are kept.

`teacher.safetensors` in the run's folder holds them, and what they are answers to: the same run, resumed or
repeated, reads them there.
"""

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hftune.data.dataset import Data, Rows, Transfer
from hftune.data.taught import UNLABELED, TaughtCollate, TaughtRows
from hftune.errors import BadInput
from hftune.inference.teacher import Teacher
from hftune.storage.files import write_bytes
from hftune.tasks.metric import Predictions
from hftune.training.context import Run
from hftune.training.estimate import scoring_seconds, some_batches
from hftune.training.same_run import OTHERWISE, hash_saved

log = logging.getLogger(__name__)

FILE = "teacher.safetensors"
MADE_BY = {"made_by": "hftune"}  # in its metadata, beside the key of each set of answers


def teach(run: Run, data: Data) -> Data:
    """Puts the teacher's logits beside each row that the loop trains on.

    Raises:
        BadInput: The teacher cannot be used, see `Teacher.of`; or the recipe has no texts for it.
        NonFiniteError: It answers a row with NaN or infinity.
    """
    transfer = _transfer(run, data)
    return _beside(data, _answers(run, data, "train", transfer.rows, transfer.contents))


def answers_on_test(run: Run, data: Data) -> Predictions | None:
    """Returns the teacher's predictions of the test rows, which training has not seen; None without any."""
    tested = _transfer(run, data).tested
    if data.test is None or tested is None:
        return None
    return {"logits": _answers(run, data, "test", data.test, tested)}


def teach_few(run: Run, data: Data) -> tuple[Data, float]:
    """Lets the teacher answer a few rows, for a dry run.

    Returns:
        The data as `teach` returns them, with answers that are all 0, and the seconds that the teacher takes
        for all rows.

    Raises:
        BadInput: See `teach`.
    """
    transfer, teacher = _transfer(run, data), Teacher.of(run, data)
    lengths, size = transfer.rows.lengths, run.settings.per_device_eval_batch_size
    some, contents = some_batches(lengths, size), transfer.contents()
    began = time.monotonic()
    teacher.answer([contents[row] for row in some])
    seconds = time.monotonic() - began
    sets = [lengths] if data.test is None else [lengths, data.test.lengths]
    foretold = sum(scoring_seconds(seconds, lengths[some], of, size) for of in sets)
    return _beside(data, np.zeros((len(lengths), len(data.labels)), np.float32)), foretold


def _transfer(run: Run, data: Data) -> Transfer:
    if data.transfer is None:
        raise BadInput(f"--teacher: the recipe {run.recipe.name} reads no texts by load_text; leave it out")
    return data.transfer


def _beside(data: Data, logits: np.ndarray) -> Data:
    assert data.transfer is not None
    transfer = dataclasses.replace(data.transfer, rows=TaughtRows(data.transfer.rows, logits))
    return dataclasses.replace(data, transfer=transfer, collate=TaughtCollate(data.collate))


def _answers(
    run: Run, data: Data, part: str, rows: Rows, contents: Callable[[], Sequence[Any]]
) -> np.ndarray:
    """Returns the teacher's logits of "train" or "test", float32 (N, C), as they are kept, or made now."""
    path = run.run_dir / FILE
    stored, keys = _read(path)
    if part in stored and keys[part] == _key(run, data):
        log.info("teacher: its answers to %s %s rows are read from %s", f"{len(rows):,}", part, path)
        return stored[part]
    teacher = Teacher.of(run, data)
    log.info("teacher: %s answers %s %s rows, once", run.settings.teacher, f"{len(rows):,}", part)
    began = time.monotonic()
    logits = teacher.answer(contents())
    labeled = rows.targets != UNLABELED
    right = 100 * np.mean(logits.argmax(1)[labeled] == rows.targets[labeled])
    minutes = (time.monotonic() - began) / 60
    log.info("teacher: answered in %.1f minutes, %.1f %% of the rows with their label", minutes, right)
    if run.is_main:
        key = _key(run, data)  # once more: a teacher of the Hub is here by now
        kept = {other: of for other, of in stored.items() if keys[other] == key} | {part: logits}
        write_bytes(path, save(kept, metadata=MADE_BY | dict.fromkeys(kept, key)))
    return logits


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the answers that a file holds, and the key of each set of them; nothing where it is not there.

    Raises:
        BadInput: It holds something else, which would be lost.
    """
    if not path.exists():
        return {}, {}
    try:
        with safe_open(path, "numpy") as file:
            keys, stored = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        keys, stored = {}, {}
    if not keys.items() >= MADE_BY.items():
        raise BadInput(f"{path} holds no answers of a teacher; move it, {OTHERWISE.partition(',')[0]}")
    return stored, keys


def _key(run: Run, data: Data) -> str:
    """Returns the SHA-256 (hex) of the teacher's files, of all rows and of the names of the labels.

    A teacher whose files are not here yet has a key of its own, which no answers have.
    """
    files = hash_saved(str(run.settings.teacher)) or {"": str(time.time_ns())}
    return hashlib.sha256(json.dumps([files, data.fingerprint]).encode()).hexdigest()
