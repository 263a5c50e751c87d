"""Memory does not grow with the rows that are scored, nor with the epochs that are trained."""

import json

import numpy as np
import psutil
import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from hftune.data.text.tokenize import TextCollator
from hftune.inference.load import one_accelerator
from hftune.training import setup
from hftune.training.evaluate import score
from proofs.jobs import PATIENCE, Group, make_jobs

MIB = 2**20
CLASSES = 1000  # 4 kB of logits a row: whoever kept them would be seen


class Made:
    """Rows that are made when they are asked for, so that they take no memory themselves."""

    def __init__(self, count: int):
        self.lengths = np.random.default_rng(0).integers(5, 15, count)
        self.labels = np.zeros(count, np.int64)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, row: int) -> dict:
        return {"input_ids": np.full(self.lengths[row], row % 7, np.int32), "label": row % CLASSES}


class Lookup(torch.nn.Module):
    """A model of one table."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.EmbeddingBag(7, CLASSES)

    def forward(self, input_ids, attention_mask):
        return SequenceClassifierOutput(logits=self.table(input_ids))


def resident() -> float:
    return psutil.Process().memory_info().rss / MIB


def test_scoring_ten_times_the_rows_takes_no_more_memory():
    model, accelerator = Lookup(), one_accelerator()

    def score_rows(count: int) -> float:
        counts = score(
            model,
            Made(count),
            TextCollator(0),
            accelerator,
            num_labels=CLASSES,
            rows_per_batch=32,
            names=("log_loss", "accuracy", "f1"),
        )
        assert sum(counts.confusion.sum(0)) == count
        return resident()

    few = score_rows(2_000)
    assert score_rows(20_000) < few + 25


def note_memory(file: str, every: int) -> None:
    """Makes a run write its resident memory to a file as it trains."""
    in_turn = setup.in_turn

    def with_notes(functions):
        def note(steps, model):
            if steps % every == 0:
                with open(file, "a") as notes:
                    notes.write(f"{resident()}\n")

        return in_turn([*functions, note])

    setup.in_turn = with_notes


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
