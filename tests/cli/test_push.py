"""A recipe that pushes: the Hub is asked before training, the result is whole before it is sent."""

import json

import pytest

from tests.forked import run_python
from tests.hub.test_push import environment
from tests.loopback import READ, WRITE, Fault
from tests.runs import write_images

PROGRAM = """
import sys
import hftune.hub.push as hub, hftune.hub.client as client
hub.DEADLINE = hub.PREFLIGHT_SECONDS = 6.0
client.SILENT_SECONDS, client.FIRST_PAUSE = 3.0, 0.05
from hftune import launch
from hftune.recipes import shapes
launch(shapes.recipe, sys.argv[1:])
"""
TINY = [
    *("--config_overrides", "width=4", "--image_size", "16", "--max_steps", "2", "--baselines", "false"),
    *("--per_device_train_batch_size", "8"),
    *("--output_dir", "run", "--push_to_hub", "--hub_model_id", "ann/shapes"),
]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The flags of a few images."""
    sizes = {"train": 24, "validation": 12, "test": 12}
    folder = write_images(tmp_path_factory.mktemp("images"), sizes)
    return [word for split in sizes for word in (f"--{split}_dir", folder / split)]


def train(hub, folder, images, *flags, token=WRITE):
    return run_there(["-c", PROGRAM, *TINY, *images, *flags], hub, folder, token)


def run_there(words, hub, folder, token=WRITE):
    """Runs a program on the machine of the Hub's user, in a folder."""
    return run_python(words, env=environment(hub.home, hub.url, token), cwd=folder, server="own")


def test_a_run_is_pushed_whole_and_only_what_is_published(hub, tmp_path, images):
    ended = train(hub, tmp_path, images)
    assert ended.returncode == 0, ended.stderr
    sent = hub.files("ann/shapes", "main")
    needed = {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "resnet9.py",
        "all_results.json",
    }
    assert needed <= sent.keys()
    for name, content in sent.items():
        assert (tmp_path / "run" / name).read_bytes() == content
    assert not {"run.json", "log.jsonl", "exit.json", "test_predictions.csv"} & sent.keys()
    assert b'pipeline("image-classification", "ann/shapes"' in sent["README.md"]
    assert f"pushed: {hub.url}/ann/shapes/commit/" in ended.stdout
    commits = len(hub.repos["ann/shapes"].messages)
    again = train(hub, tmp_path, images)
    assert again.returncode == 0, again.stderr
    assert len(hub.repos["ann/shapes"].messages) == commits


def test_a_finished_run_is_pushed_by_its_own_command(hub, tmp_path, images):
    alone = TINY[: TINY.index("--push_to_hub")]
    assert run_there(["-c", PROGRAM, *alone, *images], hub, tmp_path).returncode == 0
    assert not hub.repos
    assert train(hub, tmp_path, images).returncode == 0
    assert "model.safetensors" in hub.files("ann/shapes", "main")


def test_pushed_elsewhere_the_card_names_that_place(hub, tmp_path, images):
    assert train(hub, tmp_path, images).returncode == 0
    program = "from hftune.cli.main import main; main()"
    words = ["-c", program, "push", "run", "--hub_model_id", "ann/others"]
    assert run_there(words, hub, tmp_path).returncode == 0
    first, second = (hub.files(name, "main") for name in ("ann/shapes", "ann/others"))
    assert first.keys() == second.keys()
    assert {name for name in first if first[name] != second[name]} == {"README.md"}
    assert first["README.md"].replace(b"ann/shapes", b"ann/others") == second["README.md"]


@pytest.mark.parametrize(("token", "message"), [(None, "a push needs a token"), (READ, "may only read")])
def test_without_the_right_to_write_nothing_is_trained(hub, tmp_path, images, token, message):
    ended = train(hub, tmp_path, images, token=token)
    assert ended.returncode == 2, ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.glob("run/checkpoint-*"))


def test_a_hub_that_fails_costs_a_push_and_no_result(hub, tmp_path, images):
    hub.faults.append(Fault("/commit/", status=503, times=-1))
    ended = train(hub, tmp_path, images)
    assert ended.returncode == 5, ended.stderr
    assert "hftune push run --hub_model_id ann/shapes" in ended.stderr
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert json.loads((tmp_path / "run" / "exit.json").read_text())["code"] == 5
    hub.faults.clear()
    again = train(hub, tmp_path, images)
    assert again.returncode == 0, again.stderr
    assert "model.safetensors" in hub.files("ann/shapes", "main")


def test_a_hub_that_is_away_is_known_before_training(hub, tmp_path, images):
    hub.url = "http://127.0.0.1:9"  # nobody listens there
    ended = train(hub, tmp_path, images)
    assert ended.returncode == 2
    assert "--push_to_hub: the Hub (127.0.0.1:9) cannot be reached" in ended.stderr
