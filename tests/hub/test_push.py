"""Pushing: one commit with the right bytes and nothing else, whatever the Hub does; or exit code 5 or 2."""

import base64
import json
import os
import time
from pathlib import Path

import pytest

from hftune.errors import BadInput
from hftune.hub.files import files_of
from hftune.hub.push import Target, finishing_command, prepare
from hftune.storage.model_files import hash_model
from hftune.storage.run_dir import RunRecord, change_record
from tests.forked import run_python
from tests.loopback import READ, SIGNATURE, WRITE, Fault

SHARED = Path(__file__).resolve().parents[3] / "shared"
PUBLISHED = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": bytes(range(256)) * 40,
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "README.md": b"---\ntags: [hftune]\n---\n# A model\n\n![](curve.png)\n",
    "all_results.json": b'{"test_accuracy": 0.9}\n',
    ".eval_results/imdb.yaml": b"- value: 0.9\n",
    "curve.png": b"\x89PNG curve",
}
KEPT = {
    "exit.json": b"{}",
    "log.jsonl": b"{}\n",
    "test_predictions.csv": b"row,label\n0,a\n",
    ".lock": b"",
    "mistakes.png": b"\x89PNG rows of somebody's data",
    "helper.py": b"print()\n",
    "checkpoint-3/model.safetensors": b"old",
    "checkpoint-3/config.json": b"{}",
}
PROGRAM = """
import sys
import hftune.hub.push as hub, hftune.hub.client as client
from hftune.cli import main
hub.DEADLINE = hub.PREFLIGHT_SECONDS = float(sys.argv.pop(1))
client.SILENT_SECONDS = float(sys.argv.pop(1))
client.FIRST_PAUSE = 0.05
main.COMMANDS.setdefault("push", "")
main.main()
"""
AT = "--hub_model_id", "ann/model"


@pytest.fixture
def run_dir(tmp_path):
    """A finished run, with files that are nobody's business."""
    folder = tmp_path / "runs" / "imdb"
    for name, content in {**PUBLISHED, **KEPT}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    facts = {"settings": {"train_file": f"{tmp_path}/mine.csv"}, "versions": {}, "data_fingerprints": {}}
    RunRecord(**facts, threads=1, world_size=1, micro_batches_per_step=1, finished=True).write(folder)
    return folder


def environment(home, url, token):
    """Returns the variables of a user's machine: a home, the Hub's address and a token."""
    changes = {"HF_ENDPOINT": url, "HF_HOME": str(home / "hf"), "HOME": str(home), "HF_TOKEN": token}
    changes |= {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "HF_HUB_OFFLINE": None}
    kept = {name: value for name, value in os.environ.items() if name not in changes}
    return kept | {name: value for name, value in changes.items() if value is not None}


def push(hub, run_dir, *flags, token=WRITE, deadline=20.0, silent=10.0):
    """Runs `hftune push` in a process of its own; no token may be in what it says."""
    root = run_dir.parents[1]
    words = ["-c", PROGRAM, deadline, silent, "push", run_dir, *flags]
    ended = run_python(words, env=environment(hub.home, hub.url, token), cwd=root, server="own")
    said = ended.stdout + ended.stderr
    assert "Traceback" not in said, said
    for secret in (WRITE, READ, SIGNATURE):
        assert secret not in said
    return ended


def assert_pushed_once(hub, ended, name="ann/model", branch="main"):
    assert ended.returncode == 0, ended.stderr
    assert hub.files(name, branch) == PUBLISHED
    assert len(hub.repos[name].messages) == 2  # the first is the repository's own
    assert ended.stdout.strip() == f"{hub.url}/{name}/commit/{hub.repos[name].branches[branch]}"


def test_one_commit_with_what_is_published_and_nothing_else(hub, run_dir):
    ended = push(hub, run_dir, *AT)
    assert_pushed_once(hub, ended)
    assert hub.repos["ann/model"].private
    assert ended.stderr == ""
    again = push(hub, run_dir, *AT)
    assert_pushed_once(hub, again)
    sent = b"".join(body for *_, body in hub.log)
    for secret in (WRITE.encode(), str(run_dir.parents[1]).encode(), b"somebody"):
        assert secret not in sent
        for shift in range(3):  # base64 of the same bytes at any place
            assert base64.b64encode(b"x" * shift + secret)[4:-4] not in sent


def test_what_changed_is_one_more_commit_and_the_rest_stays(hub, run_dir):
    assert_pushed_once(hub, push(hub, run_dir, *AT))
    (run_dir / "README.md").write_bytes(b"# Better\n\n![](curve.png)\n")
    again = push(hub, run_dir, *AT)
    assert again.returncode == 0
    assert "the run's card takes the place of the README.md there" in again.stderr
    assert hub.files("ann/model") == {**PUBLISHED, "README.md": b"# Better\n\n![](curve.png)\n"}
    assert len(hub.repos["ann/model"].messages) == 3


def test_a_public_repository_on_a_branch_named_after_the_folder(hub, run_dir):
    ended = push(hub, run_dir, "--no_hub_private_repo", "--hub_revision", "v2")
    assert_pushed_once(hub, ended, "ann/imdb", "v2")
    assert not hub.repos["ann/imdb"].private
    assert hub.files("ann/imdb") == {}


def test_a_private_push_refuses_a_public_repository(hub, run_dir):
    hub.create("ann/model", private=False)
    ended = push(hub, run_dir, *AT)
    assert ended.returncode == 2
    assert "ann/model: exists and is public; pass --no_hub_private_repo" in ended.stderr
    assert hub.files("ann/model") == {}


def test_the_pushed_model_loads_over_http(hub, run_dir, encoder, tmp_path):
    for path in encoder.iterdir():
        (run_dir / path.name).write_bytes(path.read_bytes())
    assert push(hub, run_dir, *AT, "--no_hub_private_repo").returncode == 0
    program = """
import torch
from transformers import AutoModel, AutoTokenizer
import sys
batch = AutoTokenizer.from_pretrained(sys.argv[1])("a good movie", return_tensors="pt")
there = AutoTokenizer.from_pretrained("ann/model")("a good movie", return_tensors="pt")
assert torch.equal(there["input_ids"], batch["input_ids"])
model = AutoModel.from_pretrained("ann/model", use_safetensors=True)
assert torch.equal(model(**batch)[0], AutoModel.from_pretrained(sys.argv[1])(**batch)[0])
"""
    variables = environment(hub.home, hub.url, WRITE) | {"HF_HUB_DISABLE_XET": "1"}
    loaded = run_python(["-c", program, encoder], env=variables)
    assert loaded.returncode == 0, loaded.stderr


@pytest.mark.parametrize(
    "fault",
    [
        Fault("/commit/", status=503, times=2),
        Fault("/commit/", status=429, headers={"Retry-After": 1}),
        Fault("/commit/", drop=True),
        Fault("/commit/", lose=True),
        Fault("/commit/", status=502, body=b"<html>"),
        Fault("/commit/", stall=2.5),
        Fault("/storage/", method="PUT", lose=True),
        Fault("whoami", status=500, body=b"{"),
        Fault("repos/create", lose=True),
        Fault("/tree/", status=200, body=b"<html>"),
        Fault("/tree/", status=503),
        Fault("auth-check", drop=True),
    ],
    ids=lambda fault: f"{fault.path.strip('/')}-{fault.status or ('lose' if fault.lose else 'cut')}",
)
def test_a_passing_fault_leaves_exactly_one_commit(hub, run_dir, fault):
    hub.faults.append(fault)
    ended = push(hub, run_dir, *AT, silent=1.0)
    time.sleep(fault.stall / 2)  # what the Hub was slow to do is done by now
    assert fault.times == 0, "the fault did not happen"
    assert_pushed_once(hub, ended)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault("/commit/", times=-1, stall=60.0), "does not answer"),
        (Fault("/preupload/", times=-1, stall=60.0), "no complete answer"),
        (Fault("/storage/", times=-1, status=500), "no complete answer within 3 s"),
        (Fault("/storage/", times=-1, status=429, headers={"Retry-After": 3600}), "no complete answer"),
        (Fault("/commit/", times=-1, drop=True), "cut the connection"),
        (Fault("/commit/", status=403, body=b'{"error": "storage is full"}'), "storage is full"),
        (Fault("/commit/", status=413), "answers 413"),
        (Fault("/commit/", status=409), "answers 409"),
        (
            Fault("/validate-yaml", status=400, body=b'{"errors": [{"message": "no such license"}]}'),
            "license",
        ),
    ],
    ids=lambda value: value.path.strip("/") if isinstance(value, Fault) else value.replace(" ", "-"),
)
def test_a_push_that_cannot_be_ends_with_5_and_the_command_that_finishes_it(hub, run_dir, fault, reason):
    hub.faults.append(fault)
    ended = push(hub, run_dir, *AT, "--no_hub_private_repo", deadline=3.0, silent=1.0)
    assert ended.returncode == 5, ended.stderr
    error = ended.stderr.strip().splitlines()[-1]
    assert error.startswith("error: not pushed to ann/model: the Hub ")
    assert reason in error
    assert error.endswith(f"hftune push {run_dir} --hub_model_id ann/model --no_hub_private_repo")
    assert hub.files("ann/model") == {}
    refused = fault.times == 0
    assert len([path for path in hub.paths() if fault.path in path]) == 1 or not refused
    hub.faults.clear()
    again = push(hub, run_dir, *error.split("push ")[-1].split()[1:])
    assert_pushed_once(hub, again)


def test_a_hub_that_keeps_other_bytes_is_found_out(hub, run_dir):
    hub.damage = b" "
    ended = push(hub, run_dir, *AT)
    assert ended.returncode == 5
    assert "holds another .eval_results/imdb.yaml than was sent" in ended.stderr


@pytest.mark.parametrize(
    ("flags", "token", "words"),
    [
        (AT, None, "hf auth login"),
        (AT, READ, "may only read"),
        (AT, "hf_unknown_to_the_hub", "does not take the token"),
        (AT, "hf_with a space", "holds a space"),
        (("--hub_model_id", "bob/model"), WRITE, "bob/model: the Hub answers 403"),
        (("--hub_model_id", "a--b"), WRITE, "'a--b': expected OWNER/NAME"),
        (("--hub_model_id", "huggingface.co/ann/model"), WRITE, "pass ann/model"),
        ((*AT, "--hub_revision", "a..b"), WRITE, "not a branch name"),
    ],
)
def test_what_cannot_be_pushed_is_bad_input(hub, run_dir, flags, token, words):
    hub.create("bob/model", private=False)
    ended = push(hub, run_dir, *flags, token=token)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert words in ended.stderr
    assert set(hub.repos) == {"bob/model"}


def test_a_hub_that_is_away_before_the_training_is_bad_input(hub, run_dir):
    hub.faults.append(Fault("whoami", times=-1, stall=60.0))
    ended = push(hub, run_dir, *AT, deadline=2.0, silent=1.0)
    assert ended.returncode == 2
    assert "a push needs the Hub (127.0.0.1:" in ended.stderr


def test_offline_is_said_at_once(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BadInput, match="HF_HUB_OFFLINE is set"):
        prepare("ann/model", "imdb", private=True, revision=None)


@pytest.mark.parametrize("record", [None, {"finished": False}])
def test_only_a_finished_run_is_pushed(hub, run_dir, record):
    text = json.loads((run_dir / "run.json").read_text())
    (run_dir / "run.json").unlink()
    if record is not None:
        (run_dir / "run.json").write_text(json.dumps(text | record))
    ended = push(hub, run_dir, *AT)
    assert ended.returncode == 2
    assert hub.log == []


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_model_that_was_not_scored_is_refused(run_dir, name):
    change_record(run_dir, weights=hash_model(run_dir))
    assert files_of(run_dir)
    with (run_dir / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(BadInput, match=rf"^{run_dir / name}: not the one that was scored .*, so nothing is"):
        files_of(run_dir)


def test_the_allow_list(run_dir):
    names = {path.relative_to(run_dir).as_posix() for path in files_of(run_dir)}
    assert names == set(PUBLISHED)
    (run_dir / "config.json").write_text('{"auto_map": {"AutoModel": "helper.Model"}}')
    names = {path.relative_to(run_dir).as_posix() for path in files_of(run_dir)}
    assert names == {*PUBLISHED, "helper.py"}
    (run_dir / "config.json").write_text("{")
    with pytest.raises(BadInput, match=r"config\.json: not JSON"):
        files_of(run_dir)


@pytest.mark.parametrize("name", ["README.md", "model.safetensors", "curve.png"])
def test_a_file_with_a_token_is_refused(run_dir, name):
    with (run_dir / name).open("ab") as file:
        file.write(b" hf_" + b"aB3" * 11)
    with pytest.raises(BadInput, match=f"{name} holds a Hub token") as refused:
        files_of(run_dir)
    assert "aB3" not in str(refused.value)


def test_a_file_with_a_key_of_the_environment_is_refused(run_dir, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123")
    (run_dir / "all_results.json").write_text('{"note": "0123456789abcdef0123"}')
    with pytest.raises(BadInput, match=r"all_results\.json holds the value of WANDB_API_KEY") as refused:
        files_of(run_dir)
    assert "0123456789" not in str(refused.value)


def test_a_text_with_a_path_of_this_machine_is_refused(run_dir, monkeypatch):
    home = Path("/home/ann")
    monkeypatch.setattr(Path, "home", lambda: home)
    (run_dir / "config.json").write_text('{\n "x": "/home/anna/model", "y": "../home/ann/x"\n}')
    files_of(run_dir)  # other folders
    (run_dir / "config.json").write_text('{\n "_name_or_path": "/home/ann/model"\n}')
    with pytest.raises(BadInput, match=r"config\.json line 2 holds the path"):
        files_of(run_dir)


def test_the_command_that_finishes_a_push_can_be_pasted():
    command = finishing_command(Path("my runs/a"), Target("ann/model", "v2", True))
    assert command == "hftune push 'my runs/a' --hub_model_id ann/model --hub_revision v2"


@pytest.mark.shared
def test_against_the_shared_hub(run_dir, tmp_path, monkeypatch):
    if not (SHARED / "hub" / "hub.py").exists():
        pytest.skip("no shared Hub")
    monkeypatch.syspath_prepend(str(SHARED / "hub"))
    import hub as stand_in

    with stand_in.Hub(tmp_path / "root") as running:
        running.home = tmp_path
        for fault in ({"status": 503, "times": 2}, {"lose": True}):
            running.fault(path="/commit/", **fault)
        ended = push(running, run_dir, "--hub_model_id", "test-org/model", token="hf_write")
        assert ended.returncode == 0, ended.stderr
        again = push(running, run_dir, "--hub_model_id", "test-org/model", token="hf_write")
        assert again.stdout == ended.stdout
        repo = running.find("models", "test-org/model")
        assert repo.meta["private"]
        assert len(list(repo.history(repo.resolve("main")))) == 2
        folder = tmp_path / "root" / "models" / "test-org" / "model"
        for name, content in PUBLISHED.items():
            assert (folder / name).read_bytes() == content
        for flags, token in ((AT, "hf_write"), (("--hub_model_id", "test-org/model"), "hf_read")):
            assert push(running, run_dir, *flags, token=token).returncode == 2
