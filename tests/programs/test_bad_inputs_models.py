"""Every bad checkpoint, run directory and Hub id is one line with its place and code 2, before training."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from hftune.errors import HftuneError
from hftune.recipes import imdb_textcnn
from hftune.storage.checkpoint import list_checkpoints
from tests.forked import run_python
from tests.loopback import Fault, Hub
from tests.runs import error_of, run_recipe, small_textcnn

pytestmark = pytest.mark.usefixtures("quick_disk")
ROOT = Path(__file__).parents[2]
STEPS = 6


@pytest.fixture(scope="module")
def flags(reviews) -> list:
    steps = {"max_steps": STEPS, "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
    return small_textcnn(reviews, max_length=32, **steps)


@pytest.fixture(scope="module")
def trained(flags, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "run"
    run_recipe(imdb_textcnn.recipe, flags, folder)
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch) -> Path:
    """A folder that holds `run`, killed before its last step."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "run")
    edit("run/run.json", finished=False)
    shutil.rmtree(f"run/checkpoint-{STEPS}")
    for name in ("all_results.json", "model.safetensors", "exit.json", "log.jsonl"):
        Path("run", name).unlink()
    return tmp_path


def edit(path: str, **changes) -> None:
    content = json.loads(Path(path).read_text())
    Path(path).write_text(json.dumps({**content, **changes}))


def refused(flags: list, run_dir: Path, capsys) -> str:
    """Runs what must be refused; returns the error with its bullets."""
    capsys.readouterr()
    before = list_checkpoints(run_dir)
    with pytest.raises(HftuneError) as ending:
        run_recipe(imdb_textcnn.recipe, flags, run_dir)
    said = capsys.readouterr()
    assert ending.value.exit_code == 2, said.err
    assert "Traceback" not in said.out
    assert list_checkpoints(run_dir) == before
    assert not run_dir.is_dir() or json.loads((run_dir / "exit.json").read_text())["code"] == 2
    return "\n".join(error_of(said.err))


# --- checkpoints


def flip(path: str) -> None:
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(path).write_bytes(data)


def cut(path: str) -> None:
    Path(path).write_bytes(Path(path).read_bytes()[:-1])


def newer(path: str) -> None:
    text = Path(path).read_text()
    Path(path).write_text(text.replace('"format": 1', '"format": 2'))


def only_pickles(path: str) -> None:
    shutil.rmtree(path)
    Path(path).mkdir()
    for name in ("pytorch_model.bin", "optimizer.pt", "rng_state.pth"):
        Path(path, name).write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")


def empty(path: str) -> None:
    shutil.rmtree(path)
    Path(path).mkdir()


C4 = "run/checkpoint-4"
BAD_CHECKPOINTS = [  # what is wrong, what is done, what the line must say
    ("it is missing", lambda: shutil.rmtree(C4), f"{C4}: no such folder"),
    ("it is empty", lambda: empty(C4), f"{C4}: no manifest.json"),
    ("its save was not finished", lambda: Path(C4, "manifest.json").unlink(), f"{C4}: no manifest.json"),
    ("cut weights", lambda: cut(f"{C4}/model.safetensors"), f"{C4}/model.safetensors: [0-9,]+ bytes, should"),
    ("a flipped bit", lambda: flip(f"{C4}/optimizer.safetensors"), f"{C4}/optimizer.safetensors: damaged"),
    ("a newer format", lambda: newer(f"{C4}/manifest.json"), f"{C4}/manifest.json: format 2 is of a newer"),
    ("pickles alone", lambda: only_pickles(C4), f"{C4}/optimizer.pt is a pickle"),
    ("a file is missing", lambda: Path(C4, "state.json").unlink(), f"{C4}/state.json: missing"),
]


@pytest.mark.parametrize(
    ("damage", "message"), [case[1:] for case in BAD_CHECKPOINTS], ids=[case[0] for case in BAD_CHECKPOINTS]
)
def test_a_bad_checkpoint_that_was_asked_for_is_named(damage, message, here, flags, capsys):
    damage()
    said = refused([*flags, "--resume_from_checkpoint", C4], Path("other"), capsys)
    assert re.search(message, said), said
    assert not Path("opened").exists()


@pytest.mark.parametrize(
    ("damage", "message"), [case[1:] for case in BAD_CHECKPOINTS], ids=[case[0] for case in BAD_CHECKPOINTS]
)
def test_a_bad_checkpoint_in_the_run_is_told_and_the_one_before_taken(damage, message, here, flags, capsys):
    damage()
    capsys.readouterr()
    run_recipe(imdb_textcnn.recipe, flags, Path("run"))
    said = capsys.readouterr().out
    if "no such folder" not in message:
        assert len(re.findall(f"checkpoint-4 skipped: {message}", said)) == 1
    assert "resuming from run/checkpoint-2" in said
    assert list_checkpoints(Path("run")) == [2, 4, 6]


OTHER_RUNS = [  # flags that make it another run, what the line must say
    (["--config_overrides", "embedding_dim=8,num_filters=6"], f"{C4} holds another model"),
    (["--optim", "sgd"], "AdamW there, SGD here"),
    (["--seed", 7, "--train_val_split", 0.5, "--max_train_samples", 40], "was trained on other data"),
    (["--model_ema", 0.9], f"{C4} holds no averaged weights"),
]


@pytest.mark.parametrize(("other", "message"), OTHER_RUNS, ids=[message for _, message in OTHER_RUNS])
def test_a_checkpoint_of_another_run_is_refused(other, message, here, flags, capsys):
    changed = list(flags)
    for name, value in zip(other[::2], other[1::2], strict=True):
        if name in changed:
            changed[changed.index(name) + 1] = value
        else:
            changed += [name, value]
    said = refused([*changed, "--resume_from_checkpoint", C4], Path("other"), capsys)
    assert message in said
    said = refused(changed, Path("run"), capsys)  # and so is the run itself
    assert "run holds a run with other settings" in said


BAD_RUNS = [  # what is wrong, what is done, flags, what the line must say
    ("run.json cut off", lambda: cut("run/run.json"), [], "run/run.json: not JSON at line 1, column"),
    (
        "run.json of a newer hftune",
        lambda: edit("run/run.json", format=9),
        [],
        "run.json: has format 9, this",
    ),
    (
        "run.json of another program",
        lambda: Path("run/run.json").write_text("{}"),
        [],
        "not written by hftune",
    ),
    (
        "another batch",
        lambda: None,
        ["--gradient_accumulation_steps", 2],
        "gradient_accumulation_steps: 1 there, 2",
    ),
    (
        "other rows",
        lambda: edit("run/run.json", data_fingerprints={"data": "ab"}),
        [],
        "holds a run on other data",
    ),
]


@pytest.mark.parametrize(
    ("damage", "more", "message"), [case[1:] for case in BAD_RUNS], ids=[case[0] for case in BAD_RUNS]
)
def test_a_bad_run_directory_is_named(damage, more, message, here, flags, capsys):
    damage()
    assert message in refused([*flags, *more], Path("run"), capsys)


def test_a_file_in_the_place_of_the_run_is_named(here, flags, capsys):
    Path("file").touch()
    with pytest.raises(HftuneError) as ending:
        run_recipe(imdb_textcnn.recipe, flags, Path("file"))
    assert ending.value.exit_code == 2
    assert "error: --output_dir file is a file, not a folder" in capsys.readouterr().err


def test_a_finished_run_is_told_again(trained, flags, capsys):
    capsys.readouterr()
    results = run_recipe(imdb_textcnn.recipe, flags, trained)
    assert "finished" in capsys.readouterr().out
    assert results["train_steps"] == STEPS


# --- Hub ids

BAD_IDS = [  # what is wrong, the id, what the line must say, for models and data sets alike
    ("bad characters", "acme/bad name!", "no such folder, and not a Hub id"),
    ("two slashes", "acme/a/b", "no such folder"),
    ("nothing", "", "nothing"),
    ("a web address", "https://huggingface.co/acme/model", "a web address; pass acme/model"),
    ("a path to nothing", "./gone", "no such folder"),
    ("a file", "good.csv", "a file, expected a folder or a Hub id"),
    ("nothing cached, no network", "acme/nothing", "acme/nothing is not in the cache; pass"),
]


@pytest.mark.parametrize("flag", ["--model_name_or_path", "--dataset_name"])
@pytest.mark.parametrize(
    ("name", "message"), [case[1:] for case in BAD_IDS], ids=[case[0] for case in BAD_IDS]
)
def test_a_bad_id_is_named_at_once(flag, name, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("good.csv").write_text("text,label\na b,0\nc d,1\n")
    data = ["--train_file", "good.csv"] if flag == "--model_name_or_path" else []
    said = refused([flag, name, *data], Path("run"), capsys)
    assert message in said
    assert flag in said or "pass" in said


PROGRAM = """
import json, sys
from hftune import launch
from hftune.errors import HftuneError
from hftune.recipes import imdb
for number, flags in enumerate(json.loads(sys.argv[1])):
    try:
        launch(imdb.recipe, [*flags, "--output_dir", f"run-{number}"])
        code = 0
    except HftuneError as error:
        code = error.exit_code
    print(f"ended: {code}", file=sys.stderr, flush=True)
"""
PICKLE = b"cos\nsystem\n(S'touch opened'\ntR."


def test_what_the_hub_answers_of_a_model_is_one_line(tmp_path, encoder):
    (tmp_path / "good.csv").write_text("text,label\n" + "a film,0\nthe movie,1\n" * 6)
    files = {path.name: path.read_bytes() for path in encoder.iterdir()}
    weightless = {name: data for name, data in files.items() if not name.endswith(".safetensors")}
    config = json.loads(files["config.json"])
    coded = {**config, "model_type": "strange", "auto_map": {"AutoConfig": "strange.StrangeConfig"}}
    cases = {  # what the one line must say besides the name
        "acme/gone": "not a valid model identifier",
        "acme/locked": "gated",
        "acme/empty": "config.json",
        "acme/weightless": "safetensors",
        "acme/pickled": "safetensors",
        "acme/coded": "custom code",
    }
    common = ["--train_file", "good.csv", "--max_steps", "1", "--max_length", "16", "--bf16", "false"]
    requests = [[*common, "--model_name_or_path", name] for name in cases]
    # else transformers asks a service on the Hub to convert pickled weights, and waits for it
    alone = {"DISABLE_SAFETENSORS_CONVERSION": "1", "PYTHONPATH": str(ROOT)}
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))
    }
    with Hub() as hub:
        hub.create("acme/empty", files={"README.md": b"# nothing\n"})
        hub.create("acme/weightless", files=weightless)
        hub.create("acme/pickled", files={**weightless, "pytorch_model.bin": PICKLE})
        strange = b"import pathlib\npathlib.Path('opened').touch()\n"
        hub.create(
            "acme/coded",
            files={**weightless, "config.json": json.dumps(coded).encode(), "strange.py": strange},
        )
        gone = {"X-Error-Code": "RepoNotFound"}
        locked = {"X-Error-Code": "GatedRepo"}
        hub.faults += [
            Fault("acme/gone", times=1000, status=404, headers=gone),
            Fault("acme/locked", times=1000, status=403, headers=locked),
        ]
        variables = {**inherited, **alone, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
        done = run_python(["-c", PROGRAM, json.dumps(requests)], env=variables, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    blocks = re.split(r"^ended: (.*)\n", done.stderr, flags=re.MULTILINE)  # what was said, code, ..., ""
    assert blocks[-1] == ""
    for (name, part), said, code in zip(cases.items(), blocks[:-1:2], blocks[1::2], strict=True):
        assert code == "2", name
        (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
        assert name in error
        assert part in error
    assert not (tmp_path / "opened").exists()
