"""No pickle is read, no stranger's code runs, no network is needed: watched from inside the process."""

import json
from pathlib import Path

import pytest

from hftune.storage.checkpoint import list_checkpoints
from proofs.jobs import PATIENCE, Group, fingerprint, finish, make_jobs
from proofs.network import REMOTE_CODE, audited, plant, watch, without_network
from tests.kinds import another


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    return make_jobs(tmp_path_factory.mktemp("jobs"))


@pytest.mark.parametrize("name", ["encoder", another("images")])
def test_without_a_network_the_run_is_the_same_and_reads_no_pickle(name, jobs, tmp_path):
    job = jobs[name].but(max_steps=8, eval_steps=4)
    row = without_network(job, tmp_path)
    assert (row.held, row.tried) == (1, 1)


def unpickle_and_connect() -> None:
    import pickle
    import socket

    watch(False)
    pickle.loads(pickle.dumps(Path("x")))
    with socket.socket() as connection:
        connection.connect_ex(("127.0.0.1", 9))


def test_the_watcher_sees(jobs, tmp_path):
    with Group(jobs["textcnn"].but(max_steps=1), tmp_path / "run", 1, unpickle_and_connect) as group:
        assert group.wait(PATIENCE)
        told = audited(group)
    assert any("pickle ('pathlib'" in line for line in told)
    assert any("socket.connect" in line for line in told)


def test_planted_pickles_are_never_opened(jobs, tmp_path):
    """In the run, in its checkpoints, beside the data and beside the model."""
    canary = tmp_path / "opened"
    job = jobs["encoder"].but(max_steps=8)
    straight = finish(job, tmp_path / "run")
    record = json.loads((tmp_path / "run/run.json").read_text())
    (tmp_path / "run/run.json").write_text(json.dumps({**record, "finished": False}))
    encoder = Path(job.flags["model_name_or_path"])
    plant(encoder, canary)
    plant(tmp_path / "run", canary)
    newest = tmp_path / f"run/checkpoint-{list_checkpoints(tmp_path / 'run')[-1]}"
    plant(newest, canary)
    with Group(job, tmp_path / "run", 1, watch, (False,)) as group:
        assert group.wait(PATIENCE)
        assert group.codes == [0], group.text()
        assert f"{newest.name} skipped: " in group.text()
        assert "is a pickle; hftune reads safetensors only" in group.text()
        assert not [line for line in audited(group) if "pickle" in line]
    for name in newest.iterdir():  # replaced by a whole one
        assert name.suffix in (".json", ".safetensors")
    assert fingerprint(tmp_path / "run") == straight
    assert not canary.exists()


def test_code_that_comes_with_a_model_or_a_tokenizer_does_not_run(jobs, tmp_path):
    canary = tmp_path / "ran"
    encoder = Path(jobs["encoder"].flags["model_name_or_path"])
    folder = tmp_path / "strange"
    folder.mkdir()
    for file in encoder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "modeling_strange.py").write_text(REMOTE_CODE.format(str(canary)))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "modeling_strange.StrangeConfig",
        "AutoModelForSequenceClassification": "modeling_strange.StrangeModel",
        "AutoTokenizer": ["modeling_strange.StrangeTokenizer", None],
    }
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "strange"}))
    job = jobs["encoder"].but(model_name_or_path=folder, max_steps=1)
    with Group(job, tmp_path / "run") as group:
        assert group.wait(PATIENCE)
        assert group.codes == [2], group.text()
        errors = [line for line in group.text().splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert str(folder) in errors[0]
        assert "Traceback" not in group.text()
    (folder / "config.json").write_text(json.dumps(config))  # bert, with code nobody needs
    with Group(job, tmp_path / "run2") as group:
        assert group.wait(PATIENCE)
        assert group.codes == [0], group.text()
    assert not canary.exists()
