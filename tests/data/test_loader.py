"""The loader gives the planned batches whatever its workers do, and says when training waits for it."""

import logging
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from unittest.mock import Mock, patch

import psutil
import pytest
import torch

from hftune.data.loader import MEASURED, WARM_UP, batch_loader, log_data_wait, worker_count
from hftune.errors import BadInput, PeerFailed
from hftune.runtime.exit import explain
from hftune.settings.image import ImageSettings
from hftune.settings.masked_lm import MaskedLMSettings
from hftune.settings.text import TextSettings
from hftune.settings.tokens import TokenSettings
from tests.data.test_batches import make_plan


class Squares(torch.utils.data.Dataset):
    def __len__(self):
        return 50

    def __getitem__(self, row):
        return {"row": row, "square": row * row}


def collate(rows):
    return {name: torch.tensor([row[name] for row in rows]) for name in ("row", "square")}


def test_the_loader_gives_the_planned_batches_for_any_number_of_workers():
    batches = make_plan([1] * 50, rows_per_batch=7).batches(0)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for workers in (0, 2):
        loader = batch_loader(Squares(), iter(batches), collate, workers=workers, device=torch.device("cpu"))
        loaded = list(loader)
        assert [batch["row"].tolist() for batch in loaded] == [rows.tolist() for rows in batches]
        assert all(torch.equal(batch["square"], batch["row"] ** 2) for batch in loaded)
        assert torch.equal(torch.get_rng_state(), before)  # the generator that dropout draws from


def test_named_tensors_stay_on_the_host():
    there = torch.device("meta")
    (batch,) = batch_loader(Squares(), [[1, 2]], collate, workers=0, device=there, on_host=["square"])
    assert {name: tensor.device.type for name, tensor in batch.items()} == {"row": "meta", "square": "cpu"}


def test_the_loader_asks_for_no_batch_before_its_turn_without_workers():
    """An endless plan can be loaded, and what was not asked for is not made."""
    plan = make_plan([1] * 50, rows_per_batch=7)
    rows = (micro.rows for step in plan.steps(0, 10**9) for micro in step.micro_batches)
    loader = batch_loader(Squares(), rows, collate, workers=0, device=torch.device("cpu"))
    assert len(list(islice(loader, 20))) == 20


def test_a_worker_leaves_signals_to_the_training():
    """A scheduler stops whole groups of processes; the checkpoint is written at the end of the step."""
    batches = make_plan([1] * 50, rows_per_batch=1).batches(0)
    loader = batch_loader(Squares(), iter(batches), collate, workers=1, device=torch.device("cpu"))
    others = set(psutil.Process().children())
    first = next(loader)
    (worker,) = set(psutil.Process().children()) - others
    for name in ("TERM", "INT"):  # sent by another process, as a scheduler is
        subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
    rest = list(loader)
    assert [batch["row"].tolist() for batch in [first, *rest]] == [rows.tolist() for rows in batches]
    assert not worker.is_running()


LEFT_OPEN = """
import torch
from hftune.data.loader import batch_loader
rows = [0, 1, 2, 3]
def collate(rows):
    return {"x": torch.tensor(rows)}
loader = batch_loader(rows, [[0], [1], [2], [3]], collate, workers=2, device=torch.device("cpu"))
next(loader)
"""


def test_a_program_ends_with_workers_that_nobody_dismissed():
    """As after an error, whose traceback holds the loader: Python ends its children by SIGTERM and waits."""
    assert subprocess.run([sys.executable, "-c", LEFT_OPEN], timeout=120, check=False).returncode == 0


class Vanishing:
    """A set whose third row is gone."""

    def __getitem__(self, row: int) -> int:
        if row == 2:
            raise BadInput("pets/2.png does not exist; put it back")
        return row


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_worker_finds_is_told_in_its_words(workers):
    loader = batch_loader(
        Vanishing(),
        [[0], [1], [2]],
        lambda rows: {"x": torch.tensor(rows)},
        workers=workers,
        device=torch.device("cpu"),
    )
    with pytest.raises(BadInput) as caught:
        list(loader)
    assert caught.value.message == "pets/2.png does not exist; put it back"


def test_a_system_that_does_not_say_which_cores_are_ours_has_workers(monkeypatch):
    """MacOS has no sched_getaffinity."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert worker_count(None, torch.device("cuda"), processes=2) == 2
    assert worker_count(3, torch.device("cuda"), processes=2) == 3


@pytest.mark.parametrize("kind", [TextSettings, TokenSettings, MaskedLMSettings, ImageSettings])
def test_beside_a_gpu_rows_of_every_kind_are_prepared_by_other_processes(kind):
    asked = kind().dataloader_num_workers
    assert worker_count(asked, torch.device("cuda"), processes=1) > 0
    assert worker_count(asked, torch.device("cpu"), processes=1) == 0


@pytest.mark.parametrize("device", [torch.device("cuda", 1), torch.device("cpu")])
def test_a_gpu_copies_from_pinned_memory_while_the_program_goes_on(device, monkeypatch):
    tensor, options = Mock(spec=torch.Tensor), {}

    def loader(*_, **given):
        options.update(given)
        return [{"x": tensor}]

    monkeypatch.setattr(torch.utils.data, "DataLoader", loader)
    batches = list(batch_loader(Squares(), [[0]], collate, workers=0, device=device))
    assert batches == [{"x": tensor.to.return_value}]
    tensor.to.assert_called_once_with(device, non_blocking=True)
    assert options["pin_memory"] == (device.type == "cuda")


class Deadly:
    """Rows of which one ends the process that asks for it, as a machine without memory does."""

    def __len__(self):
        return 2

    def __getitem__(self, row):
        if row:
            os.kill(os.getpid(), signal.SIGKILL)
        return row


def test_a_worker_that_dies_is_explained():
    loader = batch_loader(
        Deadly(), [[0], [1]], lambda rows: {"x": torch.tensor(rows)}, workers=1, device=torch.device("cpu")
    )
    with pytest.raises(RuntimeError) as error:
        list(loader)
    explained = explain(error.value)
    assert isinstance(explained, PeerFailed)
    assert "a process that prepares batches died" in str(explained)


class Stuck:
    """Rows of which one comes too late."""

    def __len__(self):
        return 2

    def __getitem__(self, row):
        if row:
            time.sleep(3)
        return row


def test_a_worker_that_never_answers_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr("hftune.data.loader.SILENCE", 1)
    loader = batch_loader(
        Stuck(), [[0], [1]], lambda rows: {"x": torch.tensor(rows)}, workers=1, device=torch.device("cpu")
    )
    with pytest.raises(RuntimeError, match="DataLoader timed out after 1 seconds"):
        list(loader)


class Clock:
    """A clock that stands still unless something takes time."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("load", "train", "message"),
    [(1.0, 4.0, "20 % of the time goes into waiting for data"), (0.1, 4.0, ""), (1.0, 0.0, "100 %")],
)
def test_a_share_above_a_tenth_is_told_once(load, train, message, caplog):
    clock = Clock()

    def batches():
        clock.now += 60  # workers start: not counted
        for number in range(3 * MEASURED):
            clock.now += load
            yield number

    caplog.set_level(logging.WARNING, logger="hftune")
    seen = []
    with patch("hftune.data.loader.time", clock):
        for batch in log_data_wait(batches(), workers=3):
            seen.append(batch)
            clock.now += train
    assert seen == list(range(3 * MEASURED))
    assert len(caplog.records) == bool(message)
    assert message in caplog.text
    if message:
        assert "--dataloader_num_workers 6 (now 3)" in caplog.text


def test_a_short_run_says_nothing(caplog):
    assert list(log_data_wait(iter(range(WARM_UP + MEASURED)), 0)) == list(range(WARM_UP + MEASURED))
    assert not caplog.records
