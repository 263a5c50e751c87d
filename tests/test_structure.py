"""The house keeps its shape: imports point downwards, files stay small, nothing heavy loads early.

Which file stands in which room is read from docs/architecture.md, so that the page cannot go stale.
"""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.runs import file_flags
from tests.test_picture_splits import write_class_folders

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "hftune"

FILE_LINES = 500  # the longest are tables of checks and of settings
LOOP_FILE_LINES = 260  # train.py: a second hour of reading is one too many
LOOP_LINES = 40  # fit
FUNCTION_LINES = 65  # without the docstring; the longest only hands settings on
RECIPE_LINES = range(10, 61)

PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
OPTIONAL = {"timm", "torchvision", "albumentations", "cv2", "captum", "tensorboard"} | {
    *("pi_heif", "onnx", "onnxruntime", "onnxscript", "onnx_ir", "gradio"),
}
HEAVY = {"torch", "transformers", "datasets", "accelerate", "evaluate", "sklearn", "pandas", "matplotlib"}


def module_name(path: Path) -> str:
    """hftune/data/text.py -> data/text, recipes/imdb.py -> recipes/imdb."""
    base = PACKAGE if path.is_relative_to(PACKAGE) else ROOT
    return path.relative_to(base).with_suffix("").as_posix()


def parsed(paths) -> dict[str, ast.Module]:
    return {module_name(path): ast.parse(path.read_text(), str(path)) for path in sorted(paths)}


MODULES = parsed(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
PACKAGES = parsed(PACKAGE.rglob("__init__.py"))
RECIPES = parsed(path for path in (ROOT / "recipes").glob("*.py") if path.name != "__init__.py")
BENCHMARKS = parsed((ROOT / "benchmarks").rglob("*.py"))


@cache
def imported_modules(tree: ast.Module) -> set[str]:
    """Returns what a file imports, inside functions too: `a` and `a.b` for `from a import b`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def own_imports(tree: ast.Module) -> set[str]:
    """Returns what a file imports of hftune, as modules: data/text, recipes/imdb."""
    own = (name for name in imported_modules(tree) if name.startswith("hftune."))
    return {name.removeprefix("hftune.").replace(".", "/") for name in own} & (
        MODULES.keys() | RECIPES.keys()
    )


def rooms() -> dict[str, int]:
    """Returns each module's room in docs/architecture.md, counted from the bottom."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.split("## The rooms")[1].split("\n## ")[0]
    rows = [line.split("|")[2] for line in section.splitlines() if line.startswith("| ")][1:]
    named = [re.findall(r"`([\w/*.]+)`", row) for row in rows]
    places = {name: height for height, row in enumerate(reversed(named)) for name in row}
    assert len(places) == sum(map(len, named)), "a file stands in two rooms of docs/architecture.md"
    recipes = places.pop("recipes/*.py")
    return places | dict.fromkeys(RECIPES, recipes)


def files_of_room(room: str) -> set[str]:
    """Returns the modules of one room in docs/architecture.md."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    (row,) = [line.split("|")[2] for line in page.splitlines() if line.startswith(f"| {room} |")]
    return set(re.findall(r"`([\w/]+)`", row))


def functions(tree: ast.Module):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node) is not None:
        lines -= node.body[0].end_lineno - node.body[0].lineno + 1
    return lines


def test_every_module_stands_in_a_room():
    assert MODULES.keys() | RECIPES.keys() == rooms().keys()


def test_imports_point_downwards():
    place = rooms()
    upwards = [
        f"{name} imports {other}"
        for name, tree in (MODULES | RECIPES).items()
        for other in own_imports(tree)
        if place[other] > place[name]
    ]
    assert not upwards


def test_no_circles():
    graph = {name: own_imports(tree) for name, tree in (MODULES | RECIPES).items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(error.args[1])}")


def test_texts_and_pictures_know_nothing_of_each_other():
    texts, pictures = files_of_room("texts"), files_of_room("pictures")
    assert texts
    assert pictures
    for here, there in ((texts, pictures), (pictures, texts)):
        for name in here:
            assert not own_imports(MODULES[name]) & there, name
    for below in ("data", "measure", "settings", "ground"):
        for name in files_of_room(below):
            assert not own_imports(MODULES[name]) & (texts | pictures), name
    assert not any("text_settings" in own_imports(MODULES[name]) for name in pictures)
    assert not any("image_settings" in own_imports(MODULES[name]) for name in texts)


def test_models_travel_alone():
    for name, tree in MODULES.items():
        if name.startswith("models/"):
            used = {module.split(".")[0] for module in imported_modules(tree)}
            assert used <= {"torch", "transformers", *sys.stdlib_module_names}, name


def test_only_recipes_import_from_the_package_itself():
    for name, tree in (MODULES | PACKAGES).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert "hftune" not in [alias.name for alias in node.names], name
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: relative import"
                if node.module == "hftune":  # a module of that name is fine, a name of __init__ is not
                    assert {alias.name for alias in node.names} <= MODULES.keys() | {"models", "data"}, name


def test_no_drawer_for_everything():
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    for name in MODULES | RECIPES | PACKAGES:
        assert not drawers & set(name.split("/")), name


def test_evaluate_has_one_door_and_optional_packages_none_at_import():
    assert [name for name, tree in MODULES.items() if "evaluate" in imported_modules(tree)] == [
        "evaluate_metrics"
    ]
    assert not any("evaluate_metrics" in own_imports(tree) for tree in MODULES.values())
    for name, tree in (MODULES | RECIPES).items():
        at_top = imported_modules(
            ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        )
        assert not OPTIONAL & {module.split(".")[0] for module in at_top}, name


def test_size_budgets():
    over = []
    for name, tree in MODULES.items():
        lines = len((PACKAGE / f"{name}.py").read_text().splitlines())
        if lines > (LOOP_FILE_LINES if name == "train" else FILE_LINES):
            over.append(f"{name}: {lines} lines")
        for function in functions(tree):
            length = length_without_docstring(function)
            if length > (LOOP_LINES if (name, function.name) == ("train", "fit") else FUNCTION_LINES):
                over.append(f"{name}.{function.name}: {length} lines")
    assert not over


def test_no_pickle():
    for name, tree in (MODULES | RECIPES | BENCHMARKS).items():
        assert not PICKLES & {module.split(".")[0] for module in imported_modules(tree)}, name
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in {"torch.load", "torch.save"}, f"{name}:{node.lineno}"
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_short_and_says_how_to_launch_it(name):
    lines = (ROOT / f"{name}.py").read_text().splitlines()
    assert len(lines) in RECIPE_LINES
    docstring = ast.get_docstring(RECIPES[name]) or ""
    assert re.search(rf"^ +accelerate launch {name}\.py", docstring, re.MULTILINE)


def modules_of(room: str) -> set[str]:
    return {f"hftune.{name.replace('/', '.')}" for name in files_of_room(room)}


def modules_after(code: str) -> set[str]:
    """Runs a program in a process of its own; returns the modules that it has loaded."""
    code += "\nimport sys\nprint(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("name", ["imdb", "shapes", "hotdog"])
def test_help_and_import_stay_light(name):
    code = f"""
import contextlib, io, runpy, sys
import hftune, hftune.launcher, hftune.recipes.{name}
sys.argv = ["recipes/{name}.py", "--help"]
page = io.StringIO()
try:
    with contextlib.redirect_stdout(page):
        runpy.run_path("recipes/{name}.py", run_name="__main__")
except SystemExit as ending:
    assert not ending.code, ending
assert "--learning_rate" in page.getvalue()
"""
    assert not (HEAVY | OPTIONAL) & {module.partition(".")[0] for module in modules_after(code)}


def test_code_for_pictures_loads_optional_packages_when_they_are_used():
    pictures = files_of_room("pictures") | {
        "vision",
        "gradcam",
        "gallery",
        "views",
        "mixing",
        "finish",
        "run",
    }
    imports = "\n".join(f"import hftune.{name.replace('/', '.')}" for name in sorted(pictures))
    loaded = {module.partition(".")[0] for module in modules_after(imports)}
    # transformers itself loads torchvision for its image processors, where it is installed
    assert not (OPTIONAL - {"torchvision"}) & loaded
    assert "torch" in loaded


def test_a_run_loads_nothing_of_the_other_kind(tmp_path, reviews, encoder):
    for split in ("train", "test"):
        write_class_folders(tmp_path / "pets" / split, 4, split)
    common = ["--max_steps", 1, "--per_device_train_batch_size", 4, "--floor", "false", "--bf16", "false"]
    pictures = ["--dataset_name", tmp_path / "pets", "--config_overrides", "width=4", "--image_size", 16]
    texts = [*file_flags(reviews), "--model_name_or_path", encoder, "--max_length", 16]
    loaded = {}
    for recipe, flags in (("shapes", pictures), ("imdb", texts)):
        given = [str(flag) for flag in [*flags, *common, "--output_dir", tmp_path / recipe]]
        program = (
            f"import hftune\nfrom hftune.recipes import {recipe}\nhftune.launch({recipe}.recipe, {given})"
        )
        loaded[recipe] = modules_after(program)
    assert "hftune.data.load_images" in loaded["shapes"]
    assert not (modules_of("texts") | {"hftune.text_settings"}) & loaded["shapes"]
    assert "hftune.data.load_text" in loaded["imdb"]
    assert not (modules_of("pictures") | {"hftune.image_settings", "hftune.vision"}) & loaded["imdb"]
    assert not {"timm", "albumentations", "cv2", "captum"} & loaded["imdb"]
