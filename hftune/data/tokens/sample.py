"""Writes the built-in sentences about people and places, so that a fresh clone trains without a Hub.

Names are made of syllables, and those of the test rows stand in no training row: what a name is, only the
words around it say ("moved to ..."), and its capital letter.
"""

from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from numpy.random import Generator

from hftune.seed import generator

ROWS = {"train": 1000, "validation": 200, "test": 300}
TAGS = ["O", "B-person", "I-person", "B-place", "I-place"]
SYLLABLES = [
    "ba",
    "dor",
    "el",
    "fin",
    "ga",
    "ko",
    "lu",
    "mar",
    "ni",
    "or",
    "pel",
    "ra",
    "sta",
    "tu",
    "vi",
    "wen",
]
SENTENCES = (
    "yesterday {person} moved to {place} .",
    "{person} and {person} met in {place} last year .",
    "the road from {place} to {place} is closed .",
    "nobody has seen {person} since Monday .",
    "The mayor of {place} thanked {person} , her friend .",
    "it rained all day , so we stayed at home .",
    "I asked {person} for the way to {place} .",
    "Most of the shops were closed on Sunday .",
    "{place} is larger than {place} , said {person} .",
)


def load_sample() -> DatasetDict:
    """Returns train, validation and test with `tokens` and `ner_tags`; the same rows each time."""
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=TAGS))})
    splits = {}
    for split, rows in ROWS.items():
        random = generator("sample", "tokens", split)
        made = [_sentence(random) for _ in range(rows)]
        columns = {"tokens": [words for words, _ in made], "ner_tags": [tags for _, tags in made]}
        splits[split] = Dataset.from_dict(columns, features=features)
    return DatasetDict(splits)


def _sentence(random: Generator) -> tuple[list[str], list[int]]:
    words: list[str] = []
    tags: list[int] = []
    for piece in SENTENCES[random.integers(len(SENTENCES))].split():
        kind = piece.strip("{}")
        if kind == piece:
            words.append(piece)
            tags.append(0)
            continue
        name = [_name(random) for _ in range(1 + int(random.integers(2)))]
        first = TAGS.index(f"B-{kind}")
        words += name
        tags += [first] + [first + 1] * (len(name) - 1)
    return words, tags


def _name(random: Generator) -> str:
    return "".join(SYLLABLES[at] for at in random.integers(len(SYLLABLES), size=3)).capitalize()
