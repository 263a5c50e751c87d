"""The lines below scores of pairs: told where they were measured, and never taken for scores of the model."""

import numpy as np

from hftune.report.pairs import pair_lines
from hftune.report.summary import metrics_of
from hftune.tasks.single_label import SingleLabel
from hftune.training.evaluate import swap_results

TASK = SingleLabel(("no", "yes"))
RESULTS = {
    "test_accuracy": 0.8, "test_accuracy_low": 0.7, "test_accuracy_high": 0.9,
    "test_second_only_accuracy": 0.6, "test_second_only_accuracy_low": 0.5,
    "test_first_only_accuracy": 0.55, "test_first_only_accuracy_low": 0.5,
    "test_overlap_accuracy": 0.7, "test_overlap_accuracy_low": 0.5,
    "test_swap_consistency": 0.975, "test_swap_consistency_low": 0.95, "test_swap_consistency_high": 0.99,
}  # fmt: skip


def test_each_has_its_line():
    assert pair_lines(RESULTS, TASK) == [
        "accuracy 0.600 from the second text alone",
        "accuracy 0.550 from the first text alone",
        "accuracy 0.700 from overlap alone, nothing of what the texts say",
        "97.5 % [95.0, 99.0] of the test rows get the same answer where the two texts change places",
    ]
    assert pair_lines({"test_swap_change": 0.1234}, TASK) == [
        "answers change by 0.123 on average where the two texts change places"
    ]
    assert pair_lines({"test_accuracy": 0.8}, TASK) == []


def test_they_are_no_metrics():
    assert metrics_of(RESULTS, TASK) == ["accuracy"]


def test_a_swap_is_told_in_rows_or_in_numbers():
    logits = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    turned = {"logits": np.array([[0.0, 9.0], [1.0, 0.5], [1.0, 0.0], [0.0, 1.0]])}
    found = swap_results(TASK, {"logits": logits}, turned)
    assert found["test_swap_consistency"] == 0.75
    assert found["test_swap_consistency_low"] < 0.75 < found["test_swap_consistency_high"]

    class Numbers(SingleLabel):
        def differ(self, predictions, others):
            return predictions["logits"][:, 1] - others["logits"][:, 1]

    assert swap_results(Numbers(("no", "yes")), {"logits": logits}, turned) == {"test_swap_change": 2.375}
    assert swap_results(TASK, TASK.nothing(), TASK.nothing()) == {}
