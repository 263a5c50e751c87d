"""Streamed runs: stopped and resumed = straight through, one process = two, with any loader processes."""

from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hftune.data.text.sample import load_sample
from hftune.recipes import imdb_textcnn
from hftune.storage.checkpoint import list_checkpoints
from tests.runs import kill_on_the_way, run_here, run_there, start_from

pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture
def flags(tmp_path):
    sample = load_sample()
    for name, rows in (("train", 96), ("validation", 24), ("test", 24)):
        columns = {column: sample[name][column][:rows] for column in ("text", "label")}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet", row_group_size=8)
    files = [
        part
        for name in ("train", "validation", "test")
        for part in (f"--{name}_file", tmp_path / f"{name}.parquet")
    ]
    small = ["--config_overrides", "embedding_dim=8,num_filters=4", "--min_frequency", 1, "--bf16", "false"]
    batches = ["--per_device_train_batch_size", 8, "--num_train_epochs", 2, "--save_total_limit", "none"]
    return [*files, "--streaming", *small, *batches, "--save_strategy", "steps", "--save_steps", 1]


def test_resumed_at_any_step_is_straight_through(flags, tmp_path):
    """With two of twelve row groups in memory, and also in processes of a loader."""
    with patch("hftune.data.tables.row_groups.AT_ONCE", 1):
        straight = run_here(imdb_textcnn, flags, tmp_path / "straight")
        assert len(list_checkpoints(tmp_path / "straight")) == 24  # an epoch has 12 steps
        for step in (1, 7, 12, 13):
            start_from(tmp_path / "straight", tmp_path / f"from-{step}", step)
            assert run_here(imdb_textcnn, flags, tmp_path / f"from-{step}") == straight, step
        start_from(tmp_path / "straight", tmp_path / "workers", 9)
        assert (
            run_here(imdb_textcnn, [*flags, "--dataloader_num_workers", 2], tmp_path / "workers") == straight
        )


def test_two_processes_are_one_with_twice_the_accumulation_and_survive_a_kill(flags, tmp_path):
    one = run_here(imdb_textcnn, [*flags, "--gradient_accumulation_steps", 2], tmp_path / "one")
    kill_on_the_way(imdb_textcnn, flags, tmp_path / "two", 2)
    assert run_there(imdb_textcnn, flags, tmp_path / "two", 2) == one
