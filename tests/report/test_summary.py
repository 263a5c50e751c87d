import io
import re

import numpy as np
import pytest
from rich.console import Console

from hftune.report.summary import (
    answered_alike,
    metrics_of,
    print_summary,
    summary_table,
    verdict,
)
from hftune.tasks.single_label import SingleLabel
from hftune.training.evaluate import label_results

TASK = SingleLabel()


def interval(key: str, value: float) -> dict[str, float]:
    return {key: value, f"{key}_low": value - 0.004, f"{key}_high": value + 0.004}


RESULTS = {
    "epoch": 3.0,
    "train_loss": 0.2345,
    "train_runtime": 150.0,
    "train_samples_per_second": 1412.3,
    "train_truncated_rows": 3,
    "test_samples": 1000,
    "eval_loss": 0.310,
    "eval_accuracy": 0.913,
    "eval_f1": 0.905,
    **interval("test_loss", 0.300),
    **interval("test_accuracy", 0.912),
    **interval("test_f1", 0.904),
    **interval("test_tfidf_accuracy", 0.891),
    **interval("test_tfidf_f1", 0.884),
    **interval("test_accuracy_over_tfidf", 0.021),
    **interval("test_majority_accuracy", 0.500),
    **interval("test_majority_f1", 0.333),
    **interval("test_accuracy_over_majority", 0.412),
}


def render(item, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(item)
    return console.file.getvalue()


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_every_metric_has_one_row_and_every_model_a_column():
    table = summary_table("imdb", RESULTS, TASK)
    assert [str(column.header) for column in table.columns] == [
        "metric",
        "validation",
        "test [95 % interval]",
        "TF-IDF +\nlogistic\nregression",
        "majority\nclass",
    ]
    rows = render(table).splitlines()[-3:]
    assert [cells(row) for row in rows] == [
        ["accuracy", "0.913", "0.912 [0.908, 0.916]", "0.891", "0.500"],
        ["F1", "0.905", "0.904 [0.900, 0.908]", "0.884", "0.333"],
        ["log loss", "0.310", "0.300 [0.296, 0.304]", "-", "-"],
    ]


def test_what_was_not_measured_has_no_column():
    validation = {key: value for key, value in RESULTS.items() if key.startswith("eval_")}
    table = summary_table("imdb", validation, TASK)
    assert [str(column.header) for column in table.columns] == ["metric", "validation"]


def test_a_score_that_is_not_defined_is_a_dash():
    table = render(
        summary_table("imdb", {"eval_roc_auc": float("nan"), **interval("test_roc_auc", 0.5)}, TASK)
    )
    assert cells(table.splitlines()[3]) == ["ROC AUC", "-", "0.500 [0.496, 0.504]"]
    half = {"test_f1": 0.5, "test_f1_low": float("nan"), "test_f1_high": float("nan")}
    assert cells(render(summary_table("imdb", half, TASK)).splitlines()[3]) == ["F1", "0.500"]


@pytest.mark.parametrize("width", [60, 80])
def test_narrow_terminals_lose_no_digit(width):
    text = render(summary_table("imdb", RESULTS, TASK), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert all(number in text for number in ["0.913", "0.908,", "0.916]", "0.891", "0.500", "0.304]"])


def test_an_interval_stays_on_its_line_at_80_columns():
    assert "0.912 [0.908, 0.916]" in render(summary_table("imdb", RESULTS, TASK), 80)


def test_facts_about_the_data_are_no_metrics():
    assert metrics_of(RESULTS, TASK) == ["accuracy", "f1", "loss"]


@pytest.mark.parametrize(
    ("gain", "low", "high", "sentence"),
    [
        (0.021, 0.016, 0.026, "better than TF-IDF + logistic regression by 0.021 [0.016, 0.026] accuracy"),
        (
            0.002,
            -0.001,
            0.005,
            "does not beat TF-IDF + logistic regression: accuracy differs by +0.002 [-0.001, +0.005]",
        ),
        (
            -0.02,
            -0.03,
            -0.01,
            "does not beat TF-IDF + logistic regression: accuracy differs by -0.020 [-0.030, -0.010]",
        ),
    ],
)
def test_only_an_interval_above_zero_is_called_better(gain, low, high, sentence):
    key = "test_accuracy_over_tfidf"
    assert verdict({key: gain, f"{key}_low": low, f"{key}_high": high}, TASK) == sentence


def test_no_verdict_without_a_floor():
    assert verdict({"test_accuracy": 0.9}, TASK) == ""


def test_the_table_names_the_class_that_f1_is_of():
    page = render(summary_table("mail", RESULTS, SingleLabel(("ham", "spam\x1b[31m"))))
    assert page.splitlines()[-1].strip() == "F1 of 'spam\\x1b[31m' (another: --pos_label)"
    assert "F1 of 'ham'" in render(summary_table("mail", RESULTS, SingleLabel(("ham", "spam"), "ham")))
    assert " of '" not in render(summary_table("mail", RESULTS, SingleLabel(("a", "b", "c"))))


def test_the_means_of_three_classes_are_one_row():
    both = {**RESULTS, "eval_f1_macro": 0.905, **interval("test_f1_macro", 0.904)}
    rows = render(summary_table("x", both, SingleLabel(("a", "b", "c"))))
    assert "F1" in rows
    assert "macro" not in rows
    assert "F1, macro" in render(summary_table("x", both, SingleLabel(("a", "b"))))


def test_the_majority_class_stands_beside_validation_where_nothing_was_tested():
    validation = {
        "eval_accuracy": 0.9,
        "eval_majority_accuracy": 0.6,
        "eval_majority_loss": 0.7,
        "eval_loss": 1,
    }
    assert metrics_of(validation, TASK) == ["accuracy", "loss"]
    table = render(summary_table("imdb", validation, SingleLabel(("a", "b"))))
    assert [cells(row) for row in table.splitlines()[-2:]] == [
        ["accuracy", "0.900", "0.600"],
        ["log loss", "1.000", "0.700"],
    ]


def test_scores_of_classes_are_no_metrics_whatever_the_classes_are_called():
    names = ("a", "a_low", "f1", "a_f1", "majority", "")
    scores = SingleLabel(names).label_scores({"logits": np.eye(6)}, np.arange(6))
    found = label_results("test", scores)
    assert len(found) == 4 * len(names)
    assert metrics_of({**RESULTS, **found}, TASK) == metrics_of(RESULTS, TASK)


def test_one_answer_for_all_rows_is_said():
    results = {"validation_only_answer": 1.0, "validation_samples": 1200, "test_only_answer": 0.0}
    task = SingleLabel(("no", "yes"))
    assert answered_alike(results, task) == [
        "all 1,200 validation rows are answered 'yes'",
        "all test rows are answered 'no'",
    ]
    assert answered_alike(RESULTS, task) == []


def test_the_summary_ends_with_what_to_do_next(tmp_path):
    console = Console(file=io.StringIO(), width=80, soft_wrap=True, highlight=False)
    step = (
        'use it: pipeline("text-classification", "runs/[a]") from transformers, a line longer than 80 columns'
    )
    print_summary(console, "imdb", RESULTS, tmp_path / "[a]", [step], TASK)
    lines = console.file.getvalue().splitlines()
    assert lines[-4:] == [
        "better than TF-IDF + logistic regression by 0.021 [0.017, 0.025] accuracy",
        "trained for 2.5 minutes, 1,412 rows/s, mean training loss 0.2345",
        f"saved in {tmp_path / '[a]'}",
        f"  {step}",
    ]
    assert max(map(len, lines[: lines.index(next(line for line in lines if "better" in line))])) <= 80
