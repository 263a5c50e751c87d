"""Memory does not grow with the rows that are scored, nor with the epochs that are trained."""

import json

import psutil
import pytest

from hftune.training import setup
from proofs.jobs import PATIENCE, Group, make_jobs

MIB = 2**20


def resident() -> float:
    return psutil.Process().memory_info().rss / MIB


def note_memory(file: str, every: int) -> None:
    """Makes a run write its resident memory to a file as it trains."""
    chain = setup.chain

    def with_notes(functions):
        def note(steps, model):
            if steps % every == 0:
                with open(file, "a") as notes:
                    notes.write(f"{resident()}\n")

        return chain([*functions, note])

    setup.chain = with_notes


@pytest.mark.every_kind
def test_two_hundred_epochs_take_no_more_memory_than_twenty(tmp_path):
    job = make_jobs(tmp_path / "data")["textcnn"].but(
        per_device_train_batch_size=45, max_steps=400, save_steps=40, eval_steps=40
    )
    with Group(job, tmp_path / "run", 1, note_memory, (str(tmp_path / "notes"), 40)) as group:
        assert group.wait(PATIENCE)
        assert group.codes == [0], group.text()
    record = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    assert record["epoch"] == 200
    notes = [float(line) for line in (tmp_path / "notes").read_text().split()]
    assert max(notes[1:]) < 1.01 * notes[1], notes
