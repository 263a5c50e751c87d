"""Which evaluation is the best: the score, then the loss; no number never wins; ties also after a resume."""

import dataclasses
import json
import math
from signal import SIGTERM
from types import SimpleNamespace

import pytest

from hftune.errors import StoppedBySignal
from hftune.training.loop import Progress, beats, fit

NAN = math.nan


def judged(evaluations: list[tuple[float, float]], progress: Progress | None = None, **options) -> Progress:
    progress = progress or Progress()
    for score, loss in evaluations:
        progress.step += 1
        progress.update_best(score, loss, options.get("upwards", True), options.get("patience", 0))
    return progress


@pytest.mark.parametrize(
    ("evaluations", "upwards", "best"),
    [
        ([(0.5, 1.0), (0.7, 2.0), (0.6, 0.1)], True, 2),
        ([(0.5, 1.0), (0.7, 2.0), (0.4, 3.0)], False, 3),
        ([(0.9, 1.0), (0.9, 0.5), (0.9, 0.7), (0.9, 0.5)], True, 2),  # equal: the lower loss, then the first
        ([(0.9, 1.0), (0.9, 0.5), (0.95, 2.0), (0.9, 0.1)], True, 3),
        ([(0.2, 1.0), (0.2, 0.5), (0.3, 0.1)], False, 2),
        ([(NAN, 0.1), (0.0, 9.0), (NAN, 0.05)], True, 2),
        ([(NAN, 0.1), (9.0, 9.0), (NAN, 0.05)], False, 2),
        ([(NAN, 0.3), (NAN, 0.2), (NAN, 0.4)], True, 2),
        ([(0.9, 0.5), (0.9, NAN)], True, 1),
    ],
)
def test_the_best_evaluation(evaluations, upwards, best):
    straight = judged(evaluations, upwards=upwards)
    assert straight.best_step == best
    for cut in range(1, len(evaluations)):
        saved = json.loads(json.dumps(dataclasses.asdict(judged(evaluations[:cut], upwards=upwards))))
        resumed = judged(evaluations[cut:], Progress(**saved), upwards=upwards)
        assert repr(resumed) == repr(straight)  # NaN is not equal to itself


def test_an_equal_score_is_no_gain_to_wait_for():
    progress = judged([(0.9, 1.0), (0.9, 0.5), (0.9, 0.4)], patience=2)
    assert (progress.best_step, progress.evaluations_without_gain, progress.finished) == (3, 2, True)
    assert not judged([(0.9, 1.0), (0.9, 0.5), (0.91, 0.6)], patience=2).finished


def test_a_checkpoint_that_does_not_know_the_loss_keeps_its_best():
    saved = dataclasses.asdict(judged([(0.9, 1.0)]))
    del saved["best_loss"]  # of an earlier hftune
    assert judged([(0.9, 0.1)], Progress(**saved)).best_step == 1
    assert judged([(0.9, 0.1), (0.91, 3.0), (0.91, 2.0)], Progress(**saved)).best_step == 4


def test_no_number_is_worse_than_every_number():
    assert beats(0.0, NAN, True)
    assert beats(9.0, NAN, False)
    assert not any(beats(NAN, other, upwards) for other in (0.0, NAN) for upwards in (True, False))


def test_the_loader_is_closed_while_the_error_lives(monkeypatch):
    """Workers that live on to the exit of a stopped run would be taken there for failed ones."""
    closed = []

    def batches(first_step):
        try:
            yield {}
        finally:
            closed.append(first_step)

    def update(training, step, batches):
        next(batches)
        raise StoppedBySignal(SIGTERM, "")

    monkeypatch.setattr("hftune.training.loop.update", update)
    training = SimpleNamespace(
        batches=batches,
        after_step=None,
        plan=SimpleNamespace(steps=lambda first, last: [None]),
        schedule=SimpleNamespace(total_steps=1),
        model=SimpleNamespace(train=lambda: None),
    )
    with pytest.raises(StoppedBySignal) as caught:
        fit(training, Progress(), None)
    assert closed == [0]
    assert caught.tb  # its frames hold the batches
