"""The `hftune` command from its words to files and exit codes."""

import ast
import os
import re
import signal
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image

from hftune.cli import augment
from hftune.cli.arguments import parse_args
from hftune.cli.eval import FLAGS as eval_flags
from hftune.cli.main import COMMANDS, FLAG, main, without_foreign_advice
from hftune.cli.models import open_model
from hftune.cli.recipes import find_recipe, known_recipes
from hftune.cli.run import count_gpus, launch_group
from hftune.errors import BadInput
from hftune.recipes import shapes
from hftune.settings.base import field_types
from hftune.settings.image import ImageSettings
from hftune.settings.parser import RENAMED, read_flags
from hftune.settings.text import TextSettings
from tests.data.image.test_splits import files_of, write_class_folders
from tests.runs import run_recipe, write_record
from tests.tiny import tiny_checkpoint

pytestmark = pytest.mark.usefixtures("quick_disk", "shapes_once")
ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "transformers", "datasets", "accelerate", "sklearn", "matplotlib", "cv2", "albumentations"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on class folders, beside `pets`."""
    folder = tmp_path_factory.mktemp("trained")
    for split in ("train", "test"):
        write_class_folders(folder / "pets" / split, 4, split)
    flags = ["--dataset_name", folder / "pets", "--config_overrides", "width=4", "--image_size", 16]
    flags += ["--max_steps", 1, "--per_device_train_batch_size", 8, "--baselines", "false", "--bf16", "false"]
    run_recipe(shapes.recipe, flags, folder / "run")
    return folder


def hftune(monkeypatch, *words) -> int:
    """Runs the command in this process; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["hftune", *map(str, words)])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    try:
        main()
    except SystemExit as ending:
        return ending.code
    return 0


USING = [name for name in COMMANDS if hasattr(import_module(f"hftune.cli.{name}"), "FLAGS")]
STRINGS = {
    node.value
    for path in (ROOT / "hftune").rglob("*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and "--" in node.value
}


@pytest.mark.parametrize("name", USING)
def test_advice_names_only_flags_that_the_command_has(name):
    """Every message behind a semicolon, and every name that a flag had elsewhere."""
    kinds = import_module(f"hftune.cli.{name}").FLAGS
    known = {*kinds, *(f"no_{flag}" for flag in kinds), "help", "name"}  # "written --name value"
    for words in STRINGS:
        _, *advice = without_foreign_advice(f"wrong; {words}", kinds).split("; ")
        assert set(FLAG.findall("; ".join(advice))) <= known, words
    for old in set(RENAMED) - set(kinds):
        with pytest.raises(BadInput) as caught:
            parse_args([f"--{old}", "4"], kinds)
        assert set(FLAG.findall(caught.value.message)) - {old} <= known, caught.value.message


@pytest.mark.parametrize("settings", [TextSettings, ImageSettings])
def test_a_recipe_advises_only_flags_that_it_has(settings):
    kinds = field_types(settings)
    for old in set(RENAMED) - set(kinds):
        with pytest.raises(BadInput) as caught:
            read_flags([f"--{old}", "4"], kinds)
        named = FLAG.findall(caught.value.message.partition("accelerate launch")[0])
        assert set(named) - {old} <= set(kinds), caught.value.message


def test_advice_that_a_command_can_follow_stays():
    message = "no memory; train with --per_device_train_batch_size; score with --per_device_eval_batch_size"
    assert without_foreign_advice(message, eval_flags) == (
        "no memory; score with --per_device_eval_batch_size"
    )
    assert without_foreign_advice("x; pass --no_hub_private_repo; y", {"hub_private_repo": bool}) == (
        "x; pass --no_hub_private_repo; y"
    )
    assert without_foreign_advice(message, ()) == message


def drawn(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_help_lists_every_command(monkeypatch, capsys):
    pages = []
    for words in ([], ["--help"], ["-h"]):
        assert hftune(monkeypatch, *words) == 0
        pages.append(capsys.readouterr().out)
    assert len(set(pages)) == 1
    for name, text in COMMANDS.items():
        assert f"  {name:<12}{text}" in pages[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_page(name, monkeypatch, capsys):
    assert hftune(monkeypatch, name, "--help") == 0
    page = capsys.readouterr().out
    assert re.search(rf"^ *hftune {name}( |$)", page, re.MULTILINE)
    assert hftune(monkeypatch, name, "-h") == 0
    assert capsys.readouterr().out == page


def test_help_behind_a_recipe_is_the_recipes(monkeypatch, capsys):
    assert hftune(monkeypatch, "augment", "shapes", "--help") == 0
    assert "--image_size" in capsys.readouterr().out


def test_a_recipe_imports_what_lies_beside_it(tmp_path, monkeypatch):
    """Under `hftune run` and `validate`, from whatever folder, as under `python FILE.py`."""
    (tmp_path / "its_neighbour.py").write_text("NAME = 'beside'\n")
    file = tmp_path / "my_recipe.py"
    file.write_text(
        "import its_neighbour\nfrom hftune.recipes import shapes\n"
        "recipe = shapes.recipe.replace(name=its_neighbour.NAME)\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert find_recipe(str(file)).name == "beside"
    for name in ("its_neighbour", "my_recipe"):
        del sys.modules[name]


def test_the_installed_command_answers_without_loading_anything(tmp_path):
    script = Path(sys.executable).parent / "hftune"
    if not script.exists():
        pytest.skip("the package is not installed")
    done = subprocess.run([script, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: hftune COMMAND ...")
    wrong = subprocess.run([script, "agument"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr == "error: hftune agument: no such command; did you mean augment?\n"
    program = "import sys\nfrom hftune.cli.main import choose\nchoose(['--help'])\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stdout.splitlines()[-1].split())


RECIPE = '''"""A recipe of the user's own."""
import hftune
from hftune.settings.image import ImageSettings
from hftune.recipes import shapes
from hftune.settings.text import TextSettings

recipe = shapes.recipe.replace(name="own", image_size=32)
'''


# The reference implementation of PEP 723 reads scripts with this expression.
HEADER = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")


def needs(file: Path) -> dict:
    """Returns what a script says that it needs, as `uv run` reads it."""
    (found,) = HEADER.finditer(file.read_text())
    assert found["type"] == "script"
    lines = found["content"].splitlines(keepends=True)
    return tomllib.loads("".join(line[2:] if line.startswith("# ") else line[1:] for line in lines))


@pytest.mark.parametrize("name", known_recipes())
def test_a_recipe_says_what_it_needs(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = needs(ROOT / f"recipes/{name}.py")
    images = isinstance(find_recipe(name).settings, ImageSettings)
    assert said == {
        "requires-python": project["requires-python"],
        "dependencies": ["hftune[image]" if images else "hftune"],
    }
    assert "image" in project["optional-dependencies"]


HELP = """
import runpy, sys
sys.argv = ["mine.py", "--help"]
try:
    runpy.run_path("mine.py", run_name="__main__")
finally:
    assert "torch" not in sys.modules  # seconds
"""


@pytest.mark.parametrize("name", known_recipes())
def test_a_copy_is_the_recipe_and_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert hftune(monkeypatch, "cp", name, "mine.py") == 0
    assert capsys.readouterr().out.endswith("then: accelerate launch mine.py\n")
    copy = Path("mine.py")
    assert re.match(rf"# From recipes/{name}\.py of hftune \d+\.\d+", copy.read_text())
    assert needs(copy) == needs(ROOT / f"recipes/{name}.py")
    mine, original = find_recipe("mine.py"), find_recipe(name)
    assert vars(mine.settings) == vars(original.settings)
    assert mine.description == original.description.replace(f"recipes/{name}.py", "mine.py")
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "accelerate launch mine.py" in done.stdout


def test_a_copy_replaces_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("# precious\n")
    for words, message in (
        (["imdb", "mine.py"], "mine.py exists"),
        (["imdb", "mine.txt"], "must end with .py"),
        (["imdb", "gone/mine.py"], "gone/mine.py: there is no folder gone"),
        (["imbd", "other.py"], "did you mean imdb?"),
        (["imdb"], "needs a recipe and a file"),
    ):
        assert hftune(monkeypatch, "cp", *words) == 2
        assert message in capsys.readouterr().err
    assert Path("mine.py").read_text() == "# precious\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]


def test_a_copy_of_ones_own_recipe_is_the_same_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("old").mkdir()
    Path("new").mkdir()
    Path("old/mine.py").write_text(RECIPE)
    assert hftune(monkeypatch, "cp", "old/mine.py", "new") == 0
    assert Path("new/mine.py").read_text() == RECIPE


@pytest.mark.parametrize("columns", [80, 300])
def test_ls_has_a_line_for_each_recipe(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert hftune(monkeypatch, "ls") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == known_recipes()
    for name, line in zip(known_recipes(), lines[1:], strict=True):
        recipe = find_recipe(name)
        purpose = recipe.description.partition("\n")[0].rstrip(".")
        data = recipe.settings.dataset_name.split("/")[-1]
        config = recipe.settings.dataset_config_name
        where = re.escape(f"{data} {config}" if config else data)
        found = re.match(rf"{name} +{where} +(?:[\w ]+ 0\.\d+ +)?(\S.*)", line)  # some have no result yet
        assert len(line) <= columns
        assert purpose.startswith(found[1].rstrip(" …"))
        assert len(found[1]) > 25


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_of_a_page_stand_apart(name, monkeypatch, capsys):
    assert hftune(monkeypatch, name, "--help") == 0
    page = capsys.readouterr().out
    assert re.search(rf"^    hftune {name}( |$)", page, re.MULTILINE)
    assert all(len(line) <= 110 for line in page.splitlines())


REFUSED: list[tuple[list[str], str]] = [
    (["agument"], "hftune agument: no such command; did you mean augment?"),
    (["augment"], "hftune augment: which recipe?"),
    (["augment", "shaps"], "shaps: no such recipe; did you mean shapes?"),
    (["augment", "x"], "x: no such recipe; there are cifar10, "),
    (["augment", "gone.py"], "gone.py: no such file"),
    (
        ["augment", "empty.py"],
        "empty.py holds no recipe: it must have a line `recipe = hftune.Recipe(...)`",
    ),
    (["augment", "shapes", "--image_sise", "9"], "--image_sise"),
    (["augment", "shapes", "--augmentation", "wild"], "--augmentation: "),
    (["augment", "shapes", "--train_dir", "nowhere"], "nowhere: no such folder"),
    (["augment", "cifar10"], "uoft-cs/cifar10"),
    (["augment", "shapes", "--output_dir", "one.png"], "--output_dir one.png cannot be written"),
    (["gradcam"], "hftune gradcam needs a model and images"),
    (["gradcam", "run"], "hftune gradcam needs a model and images"),
    (["gradcam", "run", "nothing.png"], "nothing.png does not exist"),
    (["gradcam", "run", "none"], "none: a folder without images"),
    (["gradcam", "none", "one.png"], "none: no model could be loaded"),
    (["gradcam", "acme/gone", "one.png"], "acme/gone"),
    (["gradcam", "run", "one.png", "--out", "x.png"], "--out"),
    (["gradcam", "run", "one.png", "--output", "gone/x.png"], "--output gone/x.png: there is no folder gone"),
    (["gradcam", "run", "one.png", "--output", "none"], "--output none is a folder; pass a file"),
    (
        ["gradcam", "run", "one.png", "--output", "x.doc"],
        "--output x.doc: its name must end in one of .png",
    ),
    (["gradcam", "none", "one.png", "--revision", "v1"], "--revision v1: none is a folder"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_cannot_be_done_is_one_line_and_code_2(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("empty.py").write_text("# nothing\n")
    Path("none").mkdir()
    Image.new("RGB", (9, 9)).save("one.png")
    assert hftune(monkeypatch, *words) == 2
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert said.out == ""


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "acme/m", "good"],
        ["eval", "acme/m", "--dataset_name", "sample"],
        ["export", "acme/m"],
        ["demo", "acme/m"],
        ["gradcam", "acme/m", "one.png"],
    ],
    ids=lambda words: words[0],
)
def test_a_model_of_the_hub_is_opened_at_its_revision(words, tmp_path, monkeypatch, capsys):
    def loaded(name, **options):
        raise BadInput(f"{name} {sorted(options.items())}")

    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (9, 9)).save("one.png")
    monkeypatch.setattr(
        "hftune.cli.models.ensure_reachable",
        lambda *names, revision, trains: f"using the cached {names[0]} at {revision}",
    )
    monkeypatch.setattr("hftune.inference.load.load_model", loaded)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    assert hftune(monkeypatch, *words, "--revision", "v2", "--trust_remote_code") == 2
    said = capsys.readouterr()
    options = [("revision", "v2"), ("trust_remote_code", True)]
    assert said.err == f"using the cached acme/m at v2\nerror: acme/m {options}\n"
    assert said.out == ""


def test_a_model_opens_where_the_data_of_its_run_cannot_be_had(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "environ", dict(os.environ))
    folder = str(write_record(tiny_checkpoint("bert", tmp_path, num_labels=2), dataset_name="acme/gone"))
    capsys.readouterr()
    assert open_model(folder, {}, own_rows=True).labels == ("LABEL_0", "LABEL_1")
    assert capsys.readouterr().err == ""
    with pytest.raises(BadInput, match="acme/gone is not in the cache"):
        open_model(folder, {}, dataset="acme/gone")


def test_the_version_is_said(monkeypatch, capsys):
    assert hftune(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"hftune {version('hftune')}\n"


def test_ctrl_c_is_one_line_and_code_130(monkeypatch, capsys):
    def stopped(words):
        raise KeyboardInterrupt

    monkeypatch.setattr(augment, "main", stopped)
    assert hftune(monkeypatch, "augment", "shapes") == 130
    assert capsys.readouterr().err == "error: stopped by SIGINT: the same command starts again\n"


def test_a_reader_of_a_table_who_has_enough_is_no_error(monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert hftune(monkeypatch, "ls") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("ending", "code"),
    [("kill -9 $$", 137), ("echo '{\"code\": 3}' > exit.json; exit 1", 3), ("exit 1", 1)],
)
def test_a_group_of_processes_ends_with_the_code_of_its_run(ending, code, tmp_path, monkeypatch):
    """Like torchrun itself, what is in its place here turns every code into 1."""
    monkeypatch.chdir(tmp_path)
    Path("exit.json").write_text('{"code": 143}')  # of the time before
    os.utime("exit.json", (0, 0))
    Path("group").write_text(f"#!/bin/sh\n{ending}\n")
    Path("group").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "group"))
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    assert launch_group(["recipe.py"], 2, Path()) == code


def test_gpus_are_not_counted_where_the_launcher_says_cpu(monkeypatch):
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 8)
    assert count_gpus() == 8
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert count_gpus() == 0


def test_a_path_that_the_system_refuses_is_bad_input(monkeypatch, capsys):
    for words in (["push", "x" * 300], ["cp", "imdb", "z" * 300 + ".py"]):
        assert hftune(monkeypatch, *words) == 2
        assert re.fullmatch(r"error: ([xz])\1{299}(\.py)?: File name too long\n", capsys.readouterr().err)


def test_a_bug_is_not_called_bad_input(monkeypatch):
    def broken(words):
        raise ZeroDivisionError

    monkeypatch.setattr(augment, "main", broken)
    with pytest.raises(ZeroDivisionError):
        hftune(monkeypatch, "augment", "shapes")


def test_augment_draws_what_training_would_see(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # Own validation images: those that a seed cuts off would change which images are drawn.
    folders = ["--train_dir", trained / "pets/train", "--validation_dir", trained / "pets/test"]
    words = ["augment", "shapes", *folders]
    assert hftune(monkeypatch, *words) == 0
    assert capsys.readouterr().out.endswith("look at runs/shapes/augment.png\n")
    standard = drawn(Path("runs/shapes/augment.png"))
    assert min(standard.shape[:2]) > 300
    for name, flags in (
        ("again", []),
        ("strong", ["--augmentation", "strong"]),
        ("seeded", ["--seed", 1]),
        ("still", ["--augmentation", "none"]),
    ):
        assert hftune(monkeypatch, *words, *flags, "--output_dir", name) == 0
    others = {name: drawn(Path(name, "augment.png")) for name in ("again", "strong", "seeded", "still")}
    assert np.array_equal(others.pop("again"), standard)
    for name, other in others.items():
        assert not np.array_equal(other, standard), name


def test_augment_takes_a_recipe_from_a_file(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(RECIPE)
    assert find_recipe("mine.py").name == "own"
    assert hftune(monkeypatch, "augment", "mine.py", "--train_dir", trained / "pets/train") == 0
    assert drawn(Path("runs/own/augment.png")).size


def test_augment_has_nothing_to_draw_of_texts(tmp_path, monkeypatch, capsys, reviews, encoder):
    monkeypatch.chdir(tmp_path)
    words = ["augment", "imdb", "--train_file", reviews / "train.csv", "--model_name_or_path", encoder]
    assert hftune(monkeypatch, *words) == 2
    assert "imdb: its training rows are no images, so there is nothing to draw" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_one_of_each_class_comes_first():
    labels = np.array([2, 2, 0, 2, 1, 0, 0])
    assert augment.one_of_each_class(labels, 5) == [2, 4, 0, 5, 1]
    assert augment.one_of_each_class(labels, 2) == [2, 4]
    assert sorted(augment.one_of_each_class(labels, 99)) == [*range(7)]


def test_gradcam_draws_files_and_folders(trained, tmp_path, monkeypatch, capsys):
    pytest.importorskip("captum")
    monkeypatch.chdir(tmp_path)
    files = [path for path, _ in files_of(trained / "pets/test")]
    assert hftune(monkeypatch, "gradcam", trained / "run", files[0], files[5]) == 0
    assert capsys.readouterr().out == f"look at {trained / 'run' / 'gradcam.png'}\n"
    two = drawn(trained / "run/gradcam.png")
    Path("photos/.trash").mkdir(parents=True)
    for hidden in ("photos/.trash/1.png", "photos/._1.png"):
        Path(hidden).write_text("no image")
    for number in range(12):
        Path(f"photos/{number}.png").write_bytes(Path(files[number]).read_bytes())
    assert hftune(monkeypatch, "gradcam", trained / "run", "photos", "--output", "heat.png") == 0
    assert capsys.readouterr().out == "look at heat.png\n"
    assert drawn(Path("heat.png")).shape[0] > two.shape[0]
    assert hftune(monkeypatch, "gradcam", trained / "run", files[0], "photos", "--output", "heat.png") == 0
    assert capsys.readouterr().out == "look at heat.png (the first 12 of 13 images)\n"
