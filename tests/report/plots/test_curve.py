"""The curve of a run: what was logged is drawn, and the step that the run kept is marked."""

import json

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from hftune.report.plots.curve import draw_curve
from hftune.tasks.single_label import SingleLabel

TASK = SingleLabel()


def training_log() -> list[dict[str, float]]:
    steps = range(10, 101, 10)
    lines = [
        {"step": s, "epoch": s / 50, "loss": 1 / s, "learning_rate": 1e-3, "grad_norm": 1.0} for s in steps
    ]
    scores = [(50, 0.5, 0.8, 0.7), (100, 0.4, 0.8, 0.9)]
    return lines + [
        {"step": s, "epoch": s / 50, "eval_loss": loss, "eval_accuracy": accuracy, "eval_f1": f1}
        for s, loss, accuracy, f1 in scores
    ]


@pytest.mark.parametrize(
    "lines",
    [
        training_log(),
        training_log()[:10],
        training_log()[-1:],
        [],
        [{"step": 1, "loss": float("nan"), "learning_rate": 0.0}, {"step": 1, "eval_loss": float("nan")}],
    ],
)
def test_the_curve_is_a_image_whatever_was_logged(tmp_path, lines, recwarn):
    draw_curve(json.loads(json.dumps(lines)), tmp_path / "curve.png", TASK, "accuracy")
    assert imread(tmp_path / "curve.png").shape[:2] == (500, 1200)
    assert not [str(warning.message) for warning in recwarn]


@pytest.fixture
def labels(monkeypatch) -> list[str]:
    """Receives the label of everything that is drawn."""
    drawn: list[str] = []
    original = Axes.plot

    def plot(self, *points, **options):
        drawn.append(options.get("label", ""))
        return original(self, *points, **options)

    monkeypatch.setattr(Axes, "plot", plot)
    return drawn


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("accuracy", "best: accuracy 0.800 at step 50"),  # the first of equal scores
        ("f1", "best: F1 0.900 at step 100"),
        ("loss", "best: log loss 0.400 at step 100"),
        ("mcc", "best: log loss 0.400 at step 100"),  # not logged
    ],
)
def test_the_best_step_is_the_one_that_the_run_kept(tmp_path, labels, metric, label):
    draw_curve(training_log(), tmp_path / "curve.png", TASK, metric)
    assert [name for name in labels if name.startswith("best")] == [label]


def test_a_score_that_is_not_defined_is_never_the_best(tmp_path, labels):
    lines = [{"step": 1, "eval_accuracy": float("nan")}, {"step": 2, "eval_accuracy": 0.5}]
    draw_curve(lines, tmp_path / "curve.png", TASK, "accuracy")
    assert labels[-1] == "best: accuracy 0.500 at step 2"


def test_another_loss_in_training_has_a_panel_of_its_own(tmp_path, monkeypatch):
    panels = []
    original = Axes.plot

    def plot(self, *points, **options):
        panels.append((options.get("label"), self.get_title(), options["color"]))
        return original(self, *points, **options)

    monkeypatch.setattr(Axes, "plot", plot)
    draw_curve(training_log(), tmp_path / "curve.png", TASK, "accuracy", loss_apart=True)
    titles = {label: title for label, title, _ in panels}
    assert titles["training"] == "Training loss (another than validation's)"
    assert titles["validation"] == "Validation log loss"
    panels.clear()
    draw_curve(training_log(), tmp_path / "curve.png", TASK, "accuracy")
    assert {title for label, title, _ in panels if label in ("training", "validation")} == {"Loss"}
    colours = [colour for _, _, colour in panels if colour != "black"]
    assert len(set(colours)) == len(colours), "one colour means two things"


def test_more_log_changes_the_image(tmp_path):
    draw_curve(training_log(), tmp_path / "all.png", TASK, "accuracy")
    draw_curve(training_log()[:-1], tmp_path / "less.png", TASK, "accuracy")
    assert not np.array_equal(imread(tmp_path / "all.png"), imread(tmp_path / "less.png"))
