"""The folders are the map: imports point one way, some parts stand alone, nothing heavy loads early."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.data.image.test_splits import write_class_folders
from tests.forked import run_python
from tests.runs import file_flags

ROOT = Path(__file__).resolve().parents[1]

# In the order in which a run uses them: each imports from itself and from what stands further right.
ORDER = """
recipes cli dry_run launcher run inference training hub recipe tasks report models data
tasks.base tasks.metric tasks.use data.tables.table
runtime storage settings console models.standalone data.image.presets seed errors
"""
LAYERS = ORDER.split()

PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
OPTIONAL = {"timm", "torchvision", "albumentations", "cv2", "captum", "tensorboard", "pi_heif"}
OPTIONAL |= {"onnx", "onnxruntime", "onnxscript", "onnx_ir", "gradio", "gensim", "peft"}
HEAVY = {"torch", "transformers", "datasets", "accelerate", "evaluate", "sklearn", "pandas", "matplotlib"}


def parsed(folder: str) -> dict[str, ast.Module]:
    """Returns the files of a folder under their dotted names: data.text.load, recipes.imdb."""
    paths = sorted((ROOT / folder).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    named = zip((name.removeprefix("hftune.") for name in names), paths, strict=True)
    return {name: ast.parse(path.read_text()) for name, path in named if not name.endswith("__init__")}


RECIPES = parsed("recipes")
MODULES = parsed("hftune") | RECIPES


@cache
def imported(tree: ast.Module) -> set[str]:
    """Returns what a file imports, inside functions too: `a` and `a.b` for `from a import b`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names |= {f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


GRAPH = {
    name: {other.removeprefix("hftune.") for other in imported(tree)} & MODULES.keys()
    for name, tree in MODULES.items()
}


def layer(name: str) -> int:
    """Returns where a module stands: the place of the longest layer that its name begins with."""
    of = (place for place in LAYERS if name == place or name.startswith(f"{place}."))
    return LAYERS.index(max(of, key=len))


def test_imports_point_one_way():
    assert len(GRAPH) > 90  # a guard that guards nothing must fail
    wrong = [f"{a} imports {b}" for a in GRAPH for b in GRAPH[a] if layer(b) < layer(a)]
    assert not wrong
    try:
        tuple(TopologicalSorter(GRAPH).static_order())
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' -> '.join(error.args[1])}")


def test_text_and_image_are_apart():
    for here, there in (("text", "image"), ("image", "text")):
        for name in GRAPH:
            if name.startswith(f"data.{here}.") or (name.startswith("data.") and name.count(".") == 1):
                assert not [b for b in GRAPH[name] if re.match(rf"(data|settings)\.{there}\b", b)], name


def test_standalone_models_import_torch_and_transformers_only():
    for name in MODULES:
        if name.startswith("models.standalone."):
            used = {module.partition(".")[0] for module in imported(MODULES[name])}
            assert used <= {"torch", "transformers", *sys.stdlib_module_names}, name


def test_only_recipes_import_from_the_package_itself():
    for name in MODULES.keys() - RECIPES.keys():
        for node in ast.walk(MODULES[name]):
            if isinstance(node, ast.ImportFrom) and node.module == "hftune":
                assert {alias.name for alias in node.names} <= MODULES.keys(), name


def test_the_loop_stays_short():
    (fit,) = (node for node in MODULES["training.loop"].body if getattr(node, "name", "") == "fit")
    assert fit.end_lineno - fit.body[1].lineno < 40


def test_nothing_optional_is_imported_at_the_top_and_evaluate_once():
    users = [name for name, tree in MODULES.items() if "evaluate" in imported(tree)]
    assert users == ["tasks.evaluate_metrics"]
    for name, tree in MODULES.items():
        top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
        assert not OPTIONAL & {module.partition(".")[0] for module in imported(top)}, name


def test_no_pickle():
    for name, tree in (MODULES | parsed("benchmarks")).items():
        assert not PICKLES & {module.partition(".")[0] for module in imported(tree)}, name
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                assert ast.unparse(node) not in {"torch.load", "torch.save"}, f"{name}:{node.lineno}"
            elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.unparse(node.value) == "False", f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_how_to_launch_it(name):
    command = rf"^ +accelerate launch {name.replace('.', '/')}\.py"
    assert re.search(command, ast.get_docstring(RECIPES[name]) or "", re.MULTILINE)


def modules_after(code: str, *, forked: bool = False) -> set[str]:
    """Runs a program in a process of its own; returns the modules that it has loaded.

    Args:
        code: The program.
        forked: Whether torch and others that are neither hftune nor optional may be there at its start.
    """
    code += "\nimport sys\nprint(' '.join(sys.modules))"
    if forked:
        done = run_python(["-c", code], cwd=ROOT, server="first")
    else:
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


def test_code_for_images_loads_optional_packages_when_they_are_used():
    imports = "\n".join(f"import hftune.{name}" for name in MODULES if "image" in name or name == "run")
    loaded = {module.partition(".")[0] for module in modules_after(imports, forked=True)}
    # transformers itself loads torchvision for its image processors and peft, where they are installed
    assert not (OPTIONAL - {"torchvision", "peft"}) & loaded
    assert "hftune" in loaded


def test_a_run_loads_nothing_of_the_other_kind(tmp_path, reviews, encoder):
    for split in ("train", "test"):
        write_class_folders(tmp_path / "pets" / split, 4, split)
    common = ["--max_steps", 1, "--per_device_train_batch_size", 4, "--baselines", "false", "--bf16", "false"]
    images = ["--dataset_name", tmp_path / "pets", "--config_overrides", "width=4", "--image_size", 16]
    texts = [*file_flags(reviews), "--model_name_or_path", encoder, "--max_length", 16]
    for recipe, flags, own, other in (("shapes", images, "image", "text"), ("imdb", texts, "text", "image")):
        given = [str(flag) for flag in [*flags, *common, "--output_dir", tmp_path / recipe]]
        program = (
            f"import hftune\nfrom hftune.recipes import {recipe}\nhftune.launch({recipe}.recipe, {given})"
        )
        loaded = modules_after(program, forked=True)
        assert f"hftune.data.{own}.load" in loaded
        assert not [name for name in loaded if re.match(rf"hftune\.(data|settings|models)\.{other}\b", name)]
    assert not {"timm", "albumentations", "cv2", "captum"} & loaded
