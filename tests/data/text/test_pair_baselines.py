"""Simple models of pairs: what overlaps is counted right, and each reads its own part and no other."""

import numpy as np
import pytest

from hftune.data.text.pair_baselines import PairBaseline, part_baselines
from hftune.tasks.single_label import SingleLabel

WORDS = [f"w{number}" for number in range(40)]


def pairs_of(kind: str, rows: int, seed: int) -> tuple[dict, np.ndarray]:
    """Writes pairs whose label is in the first text, the second one, or in whether both are alike."""
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    pairs: dict[str, list[str]] = {"text": [], "text_pair": []}
    for label in labels:
        first, second = random.choice(WORDS, (2, 8))
        second = random.permutation(first) if kind == "alike" and label else second
        first = ["yes" if label else "no", *first] if kind == "first" else first
        second = ["yes" if label else "no", *second] if kind == "second" else second
        pairs["text"].append(" ".join(first))
        pairs["text_pair"].append(" ".join(second))
    return pairs, labels


def accuracies(kind: str) -> dict[str, float]:
    (train, targets), (test, truth) = pairs_of(kind, 200, 0), pairs_of(kind, 60, 1)
    found = {}
    for simple in (PairBaseline(train, test), *part_baselines(train, test)):
        logits = SingleLabel(("a", "b")).baselines(targets, 60, simple)[simple.name]["logits"]
        found[simple.name] = (logits.argmax(1) == truth).mean()
    return found


@pytest.mark.parametrize(
    ("kind", "who"),
    [("first", "first_only"), ("second", "second_only"), ("alike", "overlap"), ("alike", "tfidf")],
)
def test_each_reads_its_part_and_no_other(kind, who):
    found = accuracies(kind)
    assert found[who] > 0.95
    blind = {"first_only", "second_only", "overlap"} - {who} - ({"overlap"} if who == "tfidf" else set())
    assert all(found[name] < 0.7 for name in blind), found


def test_overlap_is_counted_in_words():
    train = {"text": ["a b c d", "x y", "x"], "text_pair": ["c d e", "x y", "q"]}
    overlap = part_baselines(train, train)[-1]
    numbers, _ = overlap.features()
    assert numbers.shape == (3, 16)
    assert numbers[:, 0].argmax() == 1  # all words shared
    assert numbers[:, 0].argmin() == 2
    from hftune.data.text.pair_baselines import TfidfTransformer, _counts, overlaps

    words = {"token_pattern": r"\w+"}
    rarity = TfidfTransformer(sublinear_tf=True).fit(_counts(train["text"], **words))
    first = overlaps(train["text"], train["text_pair"], words, rarity)[0]
    np.testing.assert_allclose(first[:4], [2 / 5, 2 / 4, 2 / 3, 1 / 4])
    np.testing.assert_allclose(first[6:], [4 / 7, np.log(2)])


@pytest.mark.parametrize("texts", [["", ""], ["?!", "..."], ["电影好", "电影坏"], ["one", "two"]])
def test_tiny_and_empty_pairs_do_not_crash(texts):
    pairs = {"text": texts, "text_pair": texts[::-1]}
    for simple in (PairBaseline(pairs, pairs), *part_baselines(pairs, pairs)):
        logits = SingleLabel(("a", "b")).baselines(np.array([0, 1]), 2, simple)[simple.name]["logits"]
        assert np.isfinite(logits).all()


def test_a_swap_leaves_the_words_of_the_pair_as_they_are():
    train, targets = pairs_of("alike", 200, 0)
    swapped = {"text": train["text_pair"], "text_pair": train["text"]}
    simple = PairBaseline(train, swapped)
    whole, turned = simple.features()
    assert abs(whole - turned)[:, :-16].max() < 1e-6
    assert len(targets) == whole.shape[0]
