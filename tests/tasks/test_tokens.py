import math

import numpy as np
import pyarrow as pa
import pytest

from hftune.data.tables.table import Table
from hftune.data.tokens.baseline import TokenBaseline
from hftune.data.tokens.tagged import TaggedText, of_rows
from hftune.errors import BadInput, NonFiniteError
from hftune.seed import generator
from hftune.tasks import task_of
from hftune.tasks.intervals import intervals
from hftune.tasks.tokens import Tokens

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def tagged(*lines: str) -> np.ndarray:
    """Makes rows of lines such as "Anna/B-PER sleeps/O", with class ids."""
    return of_rows([text.tagged(tuple(map(LABELS.index, text.tags))) for text in named(*lines)])


def named(*lines: str) -> list[TaggedText]:
    pairs = [[word.rsplit("/", 1) for word in line.split()] for line in lines]
    return [TaggedText.of_words([w for w, _ in row], tuple(tag for _, tag in row)) for row in pairs]


def predicted(*lines: str) -> dict[str, np.ndarray]:
    """Predictions that give each word the tag which a line has for it, with probability 0.9."""
    rows = tagged(*lines)
    logits = [np.log(np.where(np.eye(5)[list(row.tags)] > 0, 0.9, 0.025)).astype(np.float32) for row in rows]
    return {"logits": of_rows(logits), "words": rows}


def table(*lines: str, name: str = "train.conll", names: list[str] | None = None) -> Table:
    rows = named(*lines)
    texts = pa.chunked_array([[row.text for row in rows]])
    return Table(name, {"text": texts, "tags": rows}, class_names={"tags": names} if names else {})


def read(*lines: str, **others: Table) -> tuple[Tokens, dict, list[str]]:
    return Tokens().read_targets({"train": table(*lines), **others}, "tags", own=True)


def scores(task: Tokens, predictions: dict, targets: np.ndarray) -> dict[str, float]:
    rows = task.scored(predictions, targets, list(task.metrics))
    return {name: metric.compute(rows, targets) for name, metric in task.metrics.items()}


TRUE = tagged("Anna/B-PER Bell/I-PER saw/O Rome/B-LOC", "Bo/B-PER left/O", "it/O rained/O")
GUESS = predicted("Anna/B-PER Bell/I-PER saw/O Rome/I-LOC", "Bo/B-LOC left/O", "it/B-PER rained/O")


def test_scores_are_of_whole_entities():
    found = scores(Tokens(LABELS), GUESS, TRUE)
    assert found["precision"] == 2 / 4  # Rome begins with I, which the default rule lets pass
    assert found["recall"] == 2 / 3
    assert found["f1"] == 4 / 7
    assert found["f1_strict"] == 2 / (3 + 3)
    assert found["accuracy"] == 5 / 8
    assert found["log_loss"] == pytest.approx(-(5 * math.log(0.9) + 3 * math.log(0.025)) / 8, rel=1e-6)


def test_seen_and_unseen_entities_are_scored_apart():
    task = Tokens(LABELS).fit(tagged("ANNA/B-PER Bell/I-PER met/O Bo/B-PER", "Oslo/B-LOC"))
    found = scores(task, GUESS, TRUE)
    assert found["f1_seen"] == 2 / (2 + 2)  # Anna Bell and Bo, whose type is wrong
    assert found["f1_unseen"] == 2 / (2 + 1)  # Rome, and the made up one
    assert "f1_seen" not in Tokens(LABELS).metrics


def test_nothing_to_find_is_no_score_and_nothing_found_is_zero():
    none = tagged("it/O rained/O")
    assert math.isnan(scores(Tokens(LABELS), predicted("it/O rained/O"), none)["f1"])
    found = scores(Tokens(LABELS), predicted("Anna/O"), tagged("Anna/B-PER"))
    assert (found["f1"], found["precision"], found["recall"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("metric", "row", "defined"),
    [
        *[("f1", "it/O rained/O", False), ("f1", "Bo/B-PER", True), ("loss", "it/O rained/O", True)],
        *[
            ("f1_seen", "Bo/B-PER", False),
            ("f1_unseen", "Bo/B-PER", True),
            ("f1_unseen", "oslo/B-LOC", False),
        ],
    ],
)
def test_a_metric_that_no_validation_row_defines_is_refused(metric, row, defined):
    task = Tokens(LABELS).fit(tagged("Oslo/B-LOC"))
    if defined:
        assert task.check_metric(metric, tagged(row)) == ""
    else:
        with pytest.raises(BadInput, match=f"--metric_for_best_model {metric}: no validation row has such"):
            task.check_metric(metric, tagged(row))


def test_intervals_hold_the_scores_and_shrink_with_more_rows():
    task = Tokens(LABELS)
    widths = []
    for times in (10, 40):
        many, guess = np.tile(TRUE, times), {name: np.tile(part, times) for name, part in GUESS.items()}
        found = scores(task, guess, many)
        limits = intervals(task.metrics, task.scored(guess, many, list(task.metrics)), many, found)
        assert all(low <= found[name] <= high for name, (low, high) in limits.items())
        widths.append(limits["f1"][1] - limits["f1"][0])
    assert 0.3 < widths[1] / widths[0] < 0.7


def test_scores_of_types():
    per, loc = Tokens(LABELS).label_scores(GUESS, TRUE)
    assert (per.label, per.precision, per.recall, per.f1, per.rows) == ("PER", 1 / 2, 1 / 2, 1 / 2, 2)
    assert (loc.label, loc.precision, loc.recall, loc.f1, loc.rows) == ("LOC", 1 / 2, 1, 2 / 3, 1)


def test_a_model_that_answers_nan_is_not_scored():
    broken = {**GUESS, "logits": of_rows([part * np.nan for part in GUESS["logits"]])}
    with pytest.raises(NonFiniteError):
        scores(Tokens(LABELS), broken, TRUE)


def test_bioes_is_trained_as_bio_and_comes_back():
    task, targets, (told,) = read("Anna/B-PER Bell/E-PER saw/O Rome/S-LOC", "it/O")
    assert told == "train.conll: tags are written as bioes, trained as BIO"
    assert task.labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert [task.labels[tag] for tag in targets["train"][0].tags] == ["B-PER", "I-PER", "O", "B-LOC"]
    rows = targets["train"]
    logits = of_rows([np.eye(5, dtype=np.float32)[list(row.tags)] for row in rows])
    written = dict(task.columns({"logits": logits, "words": rows}, rows))
    assert written["tags"] == written["predicted"] == [["B-PER", "E-PER", "O", "S-LOC"], ["O"]]
    saved = task.model_config()
    again = task_of({**saved, "architectures": ["BertForTokenClassification"]})
    assert again == task
    assert again.match_targets(table("Bo/S-PER"), "tags")[0].tags == (3,)


def test_labels_keep_the_order_that_the_data_bring():
    names = ["O", "B-b", "I-b", "B-a", "I-a"]
    train = table("x/B-a y/O", "z/B-b", names=names)
    assert Tokens().read_targets({"train": train}, "tags", own=False)[0].labels == tuple(names)


def test_tags_that_break_the_scheme_are_repaired_and_the_first_is_named():
    task, targets, (told,) = read("a/B-PER b/I-PER", "c/O d/I-PER", "e/B-PER")
    assert targets["train"][1].tags == (0, task.labels.index("B-PER"))
    assert told.startswith("train.conll: the tags of 1 rows break the scheme bio")
    assert told.endswith("(first: train.conll row 1)")


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_tag_that_training_rows_have_not_is_named(split):
    other = table("Rome/B-LOC", name="other.conll")
    problem = r"other.conll row 0: tag 'B-LOC' of word 1 \('Rome'\) does not occur in train.conll"
    with pytest.raises(BadInput, match=problem):
        read("Anna/B-PER saw/O", **{split: other})


def test_an_i_that_only_a_test_row_has_is_known():
    _, targets, _ = read("Anna/B-PER saw/O", test=table("Anna/B-PER Bell/I-PER", name="other"))
    assert targets["test"][0].tags == (1, 2)


def test_without_an_entity_there_is_nothing_to_learn():
    with pytest.raises(BadInput, match=r"train.conll: every word is tagged O"):
        read("it/O rained/O")


def test_rare_types_are_kept_in_both_parts_of_a_split():
    task = Tokens(LABELS)
    rows = tagged("a/B-PER", "b/B-PER c/B-LOC", "d/O", "e/B-PER")
    assert task.strata(rows).tolist() == [0, 1, 2, 0]
    assert task.count_labels(rows).tolist() == [1, 3, 0, 1, 0]


def test_the_baselines_learn_what_stands_around_a_word():
    random = generator("test", "baseline")
    names = ["".join(chr(97 + n) for n in random.integers(0, 26, 5)).capitalize() for _ in range(80)]
    rows = tagged(*(f"ask/O {names[n]}/B-PER in/O {names[60 + n % 20]}/B-LOC" for n in range(60)))
    train, test = rows[:40], rows[40:]
    answers = Tokens(LABELS).baselines(train, len(test), TokenBaseline(train, test))
    found = {name: scores(Tokens(LABELS), answer, test) for name, answer in answers.items()}
    assert found["majority"]["f1"] == 0
    assert found["window"]["f1"] > 0.95
    assert found["dictionary"]["f1"] == 2 * 20 / (20 + 40)  # the places, which stand in train
    assert found["majority"]["log_loss"] < 1.5


def test_an_answer_stands_in_the_text():
    (first, second) = Tokens(LABELS).answer(GUESS, 0)["entities"]
    assert first == {"entity_group": "PER", "score": 0.9, "start": 0, "end": 9, "word": "Anna Bell"}
    assert (second["start"], second["end"], second["word"]) == (14, 18, "Rome")
