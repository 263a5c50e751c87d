"""docs/own_parts.md: every block runs as it stands, in the order of the page."""

import contextlib
import json
import re
import sys
from pathlib import Path

import pytest

from hftune.cli import eval as evaluate
from tests.runs import without_figures

pytestmark = pytest.mark.usefixtures("quick_disk", "shapes_once")

PAGE = (Path(__file__).parents[2] / "docs" / "own_parts.md").read_text()
SECTIONS = PAGE.replace("They share", "## Base\n", 1)
FIRST, *BLOCKS = re.findall(r"^## (.+?)$.*?^```python\n(.*?)^```", SECTIONS, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with reviews.py."""
    folder = tmp_path_factory.mktemp("own_parts")
    (folder / "reviews.py").write_text(FIRST[1])
    return folder


@pytest.mark.parametrize(("title", "code"), BLOCKS, ids=[title for title, _ in BLOCKS])
def test_a_block_runs_as_it_stands(title, code, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "reviews", raising=False)
    scope = {"__name__": "block"}
    with contextlib.nullcontext() if title == "A metric" else without_figures():
        exec(compile(code, f"{title} of docs/own_parts.md", "exec"), scope)
    for name in re.findall(r'name="(\w+)"', code):
        results = json.loads((folder / "runs" / name / "all_results.json").read_text())
        assert results["test_loss"] > 0
    if title == "A metric":
        results = scope["results"]
        assert results["test_cost_low"] <= results["test_cost"] <= results["test_cost_high"]
        run = folder / "runs" / "complaints"
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        assert min(line["eval_cost"] for line in log if "eval_cost" in line) == results["eval_cost"]
        assert "cost per row" in (run / "README.md").read_text()
        assert "cost per row" in capsys.readouterr().out
        evaluate.main([str(run)])  # knows the task's own metrics
        assert f"{results['test_accuracy']:.3f} [" in capsys.readouterr().out
    if title == "In a notebook":
        assert "--learning_rate: expected a number" in capsys.readouterr().out
    if title == "In a sweep":
        assert len(scope["scores"]) == 3


def test_the_page_has_them_all():
    assert len(BLOCKS) >= 8
