"""Writes the built-in film reviews, so that a fresh clone trains without a Hub.

Its unit is the claim, a clause for or against the film, which keeps its word's side or flips it:

    keep   "the acting seemed superb to me"
    flip   "nobody in their right mind would call the acting superb"

For a claim of a given side a fair coin chooses between the two, and the word follows from that. So every
word with a polarity, and every negation, is as likely in a positive review as in a negative one: a model
that counts words learns nothing, one that counts pairs of words learns a part ("from superb"), one that
sees which clause decides ("although ..., in the end ...") learns all of it.
"""

import re
from collections.abc import Sequence
from itertools import islice
from typing import TypeVar

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from numpy.random import Generator

from hftune.seed import generator

T = TypeVar("T")
Words = tuple[list[str], list[str]]  # against the film, for it
Claim = tuple[Words, str, str]  # the words, a template that keeps their side, one that flips it

ROWS = {"train": 4000, "validation": 500, "test": 1000}

ADJECTIVES: Words = (
    ["dreadful", "dull", "tedious", "clumsy", "lifeless", "feeble", "dreary", "predictable"],
    ["superb", "brilliant", "gripping", "moving", "charming", "clever", "witty", "delightful"],
)
VERBS: Words = (
    ["bore", "annoy", "irritate", "disappoint", "exhaust", "embarrass"],
    ["delight", "move", "thrill", "charm", "surprise", "amuse"],
)
NOUNS: Words = (
    ["disaster", "mess", "bore", "letdown", "failure", "chore"],
    ["masterpiece", "triumph", "gem", "delight", "treat", "classic"],
)
MANNERS: Words = (
    ["badly", "slowly", "poorly", "awkwardly"],
    ["well", "brightly", "strongly", "beautifully"],
)

# (words, keep, flip): {x} is what the claim is about, {w} the word, {very} strengthens it or is empty.
CLAIMS = [
    (ADJECTIVES, "{x} was {very}{w}", "{x} was far from {w}"),
    (ADJECTIVES, "{x} was {very}{w}", "{x} was hardly {w}"),
    (ADJECTIVES, "I thought {x} {very}{w}", "{x} was anything but {w}"),
    (ADJECTIVES, "{x} seemed {very}{w} to me", "nobody in their right mind would call {x} {w}"),
    (VERBS, "{x} managed to {w} me", "never once did {x} {w} me"),
    (VERBS, "{x} did {w} me from start to finish", "{x} did not {w} me for a minute"),
]
VERDICTS = [  # claims about the film as a whole
    (NOUNS, "{x} was a {w}", "{x} was hardly the {w} they promised"),
    (NOUNS, "{x} was a real {w}", "{x} was not at all the {w} I had read about"),
    (MANNERS, "{x} started {w} and stayed that way", "{x} started {w} but soon turned around"),
    (ADJECTIVES, "{x} had one {w} moment after another", "there was not a {w} moment in {x}"),
    (ADJECTIVES, "{who} called {x} {w}, and I agree", "{who} called {x} {w}; I could not disagree more"),
]
INTENSITIES = ["", "", "", "very ", "truly ", "quite ", "really "]
PEOPLE = ["my brother", "a colleague", "the critic in our paper", "my neighbour", "the man at the box office"]
FILMS = ["the film", "the whole thing", "this image", "the movie"]
ASPECTS = [
    *["the acting", "the plot", "the dialogue", "the camera work", "the music", "the editing", "the ending"],
    *["the opening hour", "the lead actor", "the villain", "the humour", "the pacing"],
]

# What decides is {v}; {c} is a claim of the other side; {a} and {b} are one of each, in either order.
SHAPES = [
    "{also}. {v}.",
    "{v}. {also}. {more}.",
    "{v}, and {also}. {more}.",
    "although {c}, in the end {v}.",
    "{v}, even though {c}.",
    "{c}, but {v}. {also}.",
    "granted, {c}. still, {v}.",
    "{a} and {b}. all in all, {v}.",
]

PLOTS = [  # no opinion in them
    *["the story follows {hero} who {deed}.", "{hero} {deed} in {place}.", "it was shot in {place}."],
    *["I saw it on a wet Tuesday in {place}.", "at its heart is {hero} who once lived in {place}."],
    *["halfway through, {hero} {deed}.", "it is based on a novel about {hero}.", "I went with {who}."],
    *["{hero} tells it all in flashback.", "it runs for about two hours and ends in {place}."],
]
HEROES = [
    "a lighthouse keeper",
    "a retired judge",
    "a young violinist",
    "a taxi driver",
    "an old sailor",
    "a widow",
]
DEEDS = [
    "inherits a hotel",
    "opens a letter",
    "loses a suitcase",
    "finds a map",
    "misses a train",
    "meets a stranger",
]
PLACES = ["Lisbon", "a mountain village", "Vienna", "a port in Brittany", "the suburbs of Leeds", "Chicago"]


def load_sample(seed: int = 0) -> DatasetDict:
    """Returns film reviews that are a pure function of a seed.

    Args:
        seed: Which reviews; the default is the one that recipes train on.

    Returns:
        Splits train, validation and test with columns text (string) and label (negative = 0,
        positive = 1): both labels equally often in each split, no text twice anywhere.
    """
    texts = iter(_distinct_reviews(generator("sample", seed), sum(ROWS.values())))
    features = Features(text=Value("string"), label=ClassLabel(names=["negative", "positive"]))
    splits = DatasetDict()
    for name, rows in ROWS.items():
        columns = {"text": list(islice(texts, rows)), "label": [row % 2 for row in range(rows)]}
        splits[name] = Dataset.from_dict(columns, features=features)
    return splits


def _distinct_reviews(rng: Generator, count: int) -> list[str]:
    """Writes reviews that are negative and positive in turn, no two alike."""
    texts: dict[str, None] = {}  # a set that keeps the order
    while len(texts) < count:
        texts[_review(rng, label=len(texts) % 2)] = None  # a text met again adds nothing: try once more
    return list(texts)


def _review(rng: Generator, label: int) -> str:
    """Writes one review of 15 to 90 words whose verdict is the label."""
    aspects = iter(_shuffled(rng, ASPECTS))
    one = int(rng.integers(2))
    claims = {
        "v": _claim(rng, label, VERDICTS + CLAIMS, _pick(rng, FILMS)),
        "also": _claim(rng, label, CLAIMS, next(aspects)),
        "more": _claim(rng, label, CLAIMS, next(aspects)),
        "c": _claim(rng, 1 - label, CLAIMS, next(aspects)),
        "a": _claim(rng, one, CLAIMS, next(aspects)),
        "b": _claim(rng, 1 - one, CLAIMS, next(aspects)),
    }
    sentences = _plots(rng, count=int(rng.integers(1, 4)))
    sentences.insert(int(rng.integers(len(sentences) + 1)), _pick(rng, SHAPES).format(**claims))
    return _capitalise(" ".join(sentences))


def _claim(rng: Generator, side: int, claims: Sequence[Claim], subject: str) -> str:
    """Writes a clause that is against (side 0) or for (side 1) its subject."""
    words, keep, flip = _pick(rng, claims)
    kept = rng.random() < 0.5  # a fair coin, whatever the side: this is what balances the words
    word_side = side if kept else 1 - side
    return (keep if kept else flip).format(
        x=subject,
        w=_pick(rng, words[word_side]),
        very=_pick(rng, INTENSITIES),
        who=_pick(rng, PEOPLE),
    )


def _plots(rng: Generator, count: int) -> list[str]:
    """Writes sentences about the story or the evening, without an opinion, no two of a kind."""
    heroes, deeds, places = (iter(_shuffled(rng, items)) for items in (HEROES, DEEDS, PLACES))
    return [
        template.format(hero=next(heroes), deed=next(deeds), place=next(places), who=_pick(rng, PEOPLE))
        for template in _shuffled(rng, PLOTS)[:count]
    ]


def _pick(rng: Generator, items: Sequence[T]) -> T:
    return items[int(rng.random() * len(items))]  # five times as fast as rng.choice


def _shuffled(rng: Generator, items: Sequence[T]) -> list[T]:
    return [items[place] for place in rng.permutation(len(items))]


def _capitalise(text: str) -> str:
    """Starts every sentence with a capital letter."""
    return re.sub(r"(^|\. )([a-z])", lambda start: start[1] + start[2].upper(), text)
