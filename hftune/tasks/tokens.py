"""Each word of a row has a tag, such as B-PER: entities are found, and scored as wholes.

Shapes: N rows, W words of a row, C tags.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.special import log_softmax, logsumexp, softmax

from hftune.data.tables.table import Table
from hftune.data.tokens.tagged import TaggedText, of_rows
from hftune.errors import BadInput, NonFiniteError, listed
from hftune.tasks.base import SimpleModel, Task, TestRows
from hftune.tasks.class_metrics import NLL_LIMIT
from hftune.tasks.entity_counts import Entities, Tags, count_per_row, find_entities, found
from hftune.tasks.entity_dictionary import look_up
from hftune.tasks.metric import LabelScores, Metric, Predictions
from hftune.tasks.tagging_scheme import (
    OUTSIDE,
    entities,
    find_scheme,
    from_bio,
    split_tag,
    to_bio,
)
from hftune.tasks.use import Use

if TYPE_CHECKING:
    import torch

BASELINES = {  # the best to compare with first
    "window": "words around + logistic regression",
    "dictionary": "dictionary of the training entities",
    "majority": "majority tag",
}
READING = (  # of a model card
    "An entity's `start` and `end` are characters of the text. A text that is longer than the model reads "
    "at once needs windows, else its end is left out: `classify(text, stride=32)`. Words that are cut "
    'already are given as a list: `classify(["Anna", "lives", "here"], is_split_into_words=True)`.'
)
AT_ONCE = 64  # windows that a model reads together: a long text has any number of them


@dataclass(frozen=True)
class Tokens(Task):
    """A tag for each word; targets are objects `TaggedText`, predictions `logits`, objects float32 (W, C).

    Args:
        scheme: How the user's tags are written: see `hftune.tasks.tagging_scheme`.
        seen: The entities of the training rows, in lower case; None where they are not known.
    """

    scheme: str = "bio"
    seen: frozenset[str] | None = None

    problem_type = "token_classification"
    units = "entities"
    predictions_file = "test_predictions.jsonl"
    no_answer = {"entities": None}  # noqa: RUF012  a constant
    limit = "It finds entities of the types that it was trained on; a word is of one entity at most."
    simplest = "tagging every word alike"
    baseline_titles = BASELINES

    @classmethod
    def of_config(cls, config: Mapping[str, Any], labels: tuple[str, ...], pos_label: str | None) -> Self:
        usual = "bio" if any(label.startswith("B-") for label in labels) else "io"
        return cls(labels, scheme=config.get("tagging_scheme", usual))

    @property
    def metrics(self) -> dict[str, Metric]:
        of_forms = {
            "f1_unseen": Metric(partial(f1, of="_unseen"), title="F1, unseen entities"),
            "f1_seen": Metric(partial(f1, of="_seen"), title="F1, seen entities"),
        }
        return {
            "f1": Metric(f1, title="F1"),
            "precision": Metric(lambda rows, _: _share(rows["hit"], rows["given"])),
            "recall": Metric(lambda rows, _: _share(rows["hit"], rows["true"])),
            "f1_strict": Metric(partial(f1, of="_strict"), title="F1, strict"),
            **({} if self.seen is None else of_forms),
            "accuracy": Metric(lambda rows, _: _share(rows["right"], rows["words"])),
            "log_loss": Metric(lambda rows, _: _share(rows["nll"], rows["words"]), False, title="log loss"),
        }

    @property
    def tags(self) -> Tags:
        """What the labels are."""
        return Tags.of(self.labels)

    def use(self, modality: str) -> Use:
        call = '"Write a text of your own here."'
        return Use("token-classification", 'aggregation_strategy="first"', call, READING)

    def model_config(self) -> dict[str, Any]:
        return super().model_config() | ({} if self.scheme == "bio" else {"tagging_scheme": self.scheme})

    # --- targets ---

    def read_targets(
        self, tables: Mapping[str, Table], column: str, *, own: bool
    ) -> tuple[Tokens, dict[str, np.ndarray], list[str]]:
        train = tables["train"]
        scheme = find_scheme(row.tags for row in train.columns[column])
        asked = replace(self, scheme=scheme)
        rows = {split: asked._unified(table, column) for split, table in tables.items()}
        labels = _order(rows["train"], train.class_names.get(column), scheme)
        asked = replace(asked, labels=labels)
        if not asked.tags.types:
            raise BadInput(f"{train.name}: every word is tagged {OUTSIDE}; there is no entity to learn")
        warnings = [] if scheme == "bio" else [f"{train.name}: tags are written as {scheme}, trained as BIO"]
        warnings = [line for line in warnings if scheme != "io"]
        warnings += [line for split, table in tables.items() for line in _repaired(table, column, scheme)]
        if all(label.isdecimal() for label in labels):
            warnings.append(
                f"{train.name}: tags are numbers without names, so words with one number are one entity"
            )
        problem = f"does not occur in {train.name}, so it cannot be learned"
        targets = {split: asked._numbered(tables[split], rows[split], problem) for split in tables}
        return asked, targets, warnings

    def match_targets(self, table: Table, column: str) -> np.ndarray:
        problem = f"is none that the model knows ({listed(self.labels)})"
        return self._numbered(table, self._unified(table, column), problem)

    def _unified(self, table: Table, column: str) -> list[list[str]]:
        """Returns the tags of each row as the model has them."""
        return [to_bio(row.tags, self.scheme) for row in table.columns[column]]

    def _numbered(self, table: Table, rows: list[list[str]], problem: str) -> np.ndarray:
        """Returns the rows of a table, whose last column holds them, with class ids."""
        number = {label: place for place, label in enumerate(self.labels)}
        texts: Sequence[TaggedText] = list(table.columns.values())[-1]
        targets = []
        for row, (text, tags) in enumerate(zip(texts, rows, strict=True)):
            for word, tag in enumerate(tags):
                if tag not in number:
                    named = f"tag {tag!r} of word {word + 1} ({text.words[word]!r})"
                    raise BadInput(f"{table.place(row)}: {named} {problem}")
            targets.append(text.tagged(tuple(number[tag] for tag in tags)))
        return of_rows(targets)

    def fit(self, targets: np.ndarray) -> Self:
        """Returns the task that knows the entities of these training rows."""
        forms = set()
        ids, row = _flat(targets)
        for start, end, _, number, _ in zip(*find_entities(ids, row, self.tags), strict=True):
            first = int(np.searchsorted(row, number))
            forms.add(_form(targets[number], start - first, end - first))
        return replace(self, seen=frozenset(forms))

    def facts(self) -> dict[str, Any]:
        return {} if self.seen is None else {"seen": sorted(self.seen)}

    def with_facts(self, facts: Mapping[str, Any]) -> Self:
        return replace(self, seen=frozenset(facts["seen"])) if "seen" in facts else self

    def count_labels(self, targets: np.ndarray) -> np.ndarray:
        ids, row = _flat(targets)
        pairs = np.unique(row * len(self.labels) + ids)
        return np.bincount(pairs % len(self.labels), minlength=len(self.labels))

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """Returns the rarest type of each row, the number of types where it has no entity."""
        ids, row = _flat(targets)
        kinds = self.tags.type[ids]
        types = len(self.tags.types)
        pairs = np.unique(row[kinds >= 0] * types + kinds[kinds >= 0])
        rows = np.bincount(pairs % types, minlength=types)
        groups = np.full(len(targets), types, np.int64)
        for pair in sorted(
            pairs.tolist(), key=lambda pair: -rows[pair % types]
        ):  # the rarest is written last
            groups[pair // types] = pair % types
        return groups

    # --- predictions ---

    def predict(self, model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> Predictions:
        """Returns the logits of every token, float32 (M, L, C) of M windows."""
        windows = len(batch["input_ids"])
        parts = [
            model(**{name: values[start : start + AT_ONCE] for name, values in batch.items()}).logits
            for start in range(0, windows, AT_ONCE)
        ]
        return {"logits": np.concatenate([part.float().cpu().numpy() for part in parts])}

    def per_row(self, predictions: Predictions, labels: torch.Tensor, targets: np.ndarray) -> Predictions:
        answered = labels.numpy() >= 0
        of_words = predictions["logits"][answered]
        ends = np.cumsum([len(target) for target in targets])
        return {"logits": of_rows(np.split(of_words, ends[:-1])), "words": targets}

    def nothing(self) -> Predictions:
        return {"logits": of_rows([]), "words": of_rows([])}

    def finite(self, predictions: Predictions) -> np.ndarray:
        return np.array([bool(np.isfinite(logits).all()) for logits in predictions["logits"]], bool)

    def scored(
        self, predictions: Predictions, targets: np.ndarray, names: Collection[str]
    ) -> dict[str, np.ndarray]:
        logits, ids, row = self._aligned(predictions, targets)
        count, rows = partial(np.bincount, row, minlength=len(targets)), len(targets)
        nll = np.minimum(-log_softmax(logits, axis=1)[np.arange(len(ids)), ids], NLL_LIMIT)
        given, true = (find_entities(each, row, self.tags) for each in (logits.argmax(1), ids))
        hits = found(given, true)
        begins = given.strict | (not self.tags.begins.any())
        result = {
            "words": count(),
            "right": count(weights=logits.argmax(1) == ids),
            "nll": count(weights=nll),
            "hit": count_per_row(hits, given, rows),
            "given": count_per_row(np.ones_like(hits), given, rows),
            "true": count_per_row(np.ones(len(true.row), bool), true, rows),
            "hit_strict": count_per_row(hits & begins, given, rows),
            "given_strict": count_per_row(begins, given, rows),
        }
        result["true_strict"] = result["true"]
        if self.seen is not None:
            known, of_train = (self._known(each, targets, row) for each in (given, true))
            for name, which, gold in (("seen", known, of_train), ("unseen", ~known, ~of_train)):
                result[f"hit_{name}"] = count_per_row(hits & which, given, rows)
                result[f"given_{name}"] = count_per_row(which, given, rows)
                result[f"true_{name}"] = count_per_row(gold, true, rows)
        return result

    def _aligned(
        self, predictions: Predictions, targets: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the logits, the true tag and the row of every word: float64 (W, C), int64 (W,) twice."""
        if not self.finite(predictions).all():
            raise NonFiniteError("the model's logits are NaN or infinite, so it cannot be scored")
        ids, row = _flat(targets)
        found = predictions["logits"]
        sizes = [len(target) for target in targets]
        # A baseline may have one answer for all words of a row.
        parts = [np.broadcast_to(part, (n, part.shape[1])) for part, n in zip(found, sizes, strict=True)]
        logits = np.concatenate([np.zeros((0, len(self.labels))), *parts]).astype(np.float64)
        return logits, ids, row

    def _known(self, those: Entities, targets: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Returns which entities stand in the training rows, bool (E,)."""
        first = np.searchsorted(row, those.row)
        places = zip(those.row.tolist(), those.start - first, those.end - first, strict=True)
        forms = (_form(targets[number], start, end) for number, start, end in places)
        return np.fromiter((form in (self.seen or ()) for form in forms), bool, len(those.row))

    def check_metric(self, metric: str, targets: np.ndarray) -> str:
        ids, row = _flat(targets)
        true = find_entities(ids, row, self.tags)
        known = self._known(true, targets, row)
        there = {"f1_seen": known.any(), "f1_unseen": (~known).any()}.get(metric, len(known) > 0)
        if metric not in ("accuracy", "log_loss", "loss") and not there:
            raise BadInput(
                f"--metric_for_best_model {metric}: no validation row has such an entity, so it is not "
                "defined; choose another, such as loss, or other rows"
            )
        return ""

    def label_scores(self, predictions: Predictions, targets: np.ndarray) -> list[LabelScores]:
        given, true, hits = self._entities(predictions, targets)
        types = len(self.tags.types)
        hit, guessed, there = (
            np.bincount(kinds, minlength=types) for kinds in (given.type[hits], given.type, true.type)
        )
        return [
            LabelScores(name, _ratio(h, g), _ratio(h, t), _ratio(2 * h, g + t), int(t))
            for name, h, g, t in zip(self.tags.types, hit, guessed, there, strict=True)
        ]

    def _entities(
        self, predictions: Predictions, targets: np.ndarray
    ) -> tuple[Entities, Entities, np.ndarray]:
        """Returns the entities that were predicted and that are there, and which of the former are right."""
        logits, ids, row = self._aligned(predictions, targets)
        given, true = (find_entities(each, row, self.tags) for each in (logits.argmax(1), ids))
        return given, true, found(given, true)

    def only_answer(self, predictions: Predictions) -> int | None:
        answers = {tag for logits in predictions["logits"] for tag in np.unique(logits.argmax(1)).tolist()}
        return answers.pop() if len(answers) == 1 and len(predictions["logits"]) > 1 else None

    def draw(self, predictions: Predictions, targets: np.ndarray, shown: TestRows, folder: Path) -> None:
        from hftune.report.plots.entities import draw_entities

        draw_entities(*self._entities(predictions, targets), self.tags.types, folder / "entities.png")

    # --- baselines ---

    def baselines(self, targets: np.ndarray, rows: int, simple: SimpleModel | None) -> dict[str, Predictions]:
        ids, _ = _flat(targets)
        shares = (np.bincount(ids, minlength=len(self.labels)) + 1) / (len(ids) + len(self.labels))
        answers = {"majority": [np.log(shares)[None]] * rows}
        if simple:
            source: Any = simple  # a TokenBaseline
            answers["dictionary"] = look_up(source.train, source.test, self.tags)
            train, test = simple.features()
            model = simple.estimator().fit(train, source.tags)
            logits = np.full((test.shape[0], len(self.labels)), -math.log(len(ids)) - 10)
            logits[:, model.classes_] = np.log(np.maximum(model.predict_proba(test), 1e-30))
            answers[simple.name] = np.split(logits, source.ends)
        return {name: {"logits": of_rows(parts)} for name, parts in answers.items()}

    # --- answers ---

    def found(self, text: TaggedText, logits: np.ndarray) -> list[dict[str, Any]]:
        """Returns the entities of a row as transformers' pipeline shows them; `score` is its words' mean."""
        chances = softmax(logits.astype(np.float64), axis=1).max(1)
        names = [self.labels[tag] for tag in logits.argmax(1).tolist()]
        answers = []
        for start, end, kind in entities(names):
            first, last = int(text.spans[start, 0]), int(text.spans[end - 1, 1])
            answers.append(
                {
                    "entity_group": kind,
                    "score": round(float(chances[start:end].mean()), 6),
                    "start": first,
                    "end": last,
                    "word": text.text[first:last],
                }
            )
        return answers

    def answer(self, predictions: Predictions, row: int, top_k: int | None = None) -> dict[str, Any]:
        return {"entities": self.found(predictions["words"][row], predictions["logits"][row])}

    def say(self, predictions: Predictions, row: int) -> str:
        entities = self.found(predictions["words"][row], predictions["logits"][row])
        return ", ".join(f"{one['word']} ({one['entity_group']})" for one in entities) or "no entity"

    def differences(self, predictions: Predictions, others: Predictions) -> np.ndarray:
        pairs = zip(predictions["logits"], others["logits"], strict=True)
        apart = (np.abs(softmax(one, axis=1) - softmax(other, axis=1)) for one, other in pairs)
        return np.array([values.max(initial=0) for values in apart], np.float64)

    def evidence(self, predictions: Predictions, label: int) -> np.ndarray:
        """Returns log(p / (1 - p)) of a tag at the word of each row that it fits best, float64 (N,)."""
        chances = [log_softmax(logits.astype(np.float64), axis=1) for logits in predictions["logits"]]
        odds = [row[:, label] - logsumexp(np.delete(row, label, axis=1), axis=1) for row in chances]
        return np.array([row.max() for row in odds])

    def columns(
        self, predictions: Predictions, targets: np.ndarray | None = None
    ) -> list[tuple[str, Sequence[Any]]]:
        texts, logits = predictions["words"], predictions["logits"]
        every = list(zip(texts, logits, strict=True))
        given = [] if targets is None else [("tags", [self._written(target.tags) for target in targets])]
        return [
            ("tokens", [text.words for text in texts]),
            *given,
            ("predicted", [self._written(tags.argmax(1).tolist()) for tags in logits]),
            ("entities", [self.found(text, tags) for text, tags in every]),
        ]

    def _written(self, tags: Sequence[int]) -> list[str]:
        """Returns the tags of a row in the user's scheme."""
        return from_bio([self.labels[tag] for tag in tags], self.scheme)

    # --- words ---

    def meaning(self, names: Sequence[str]) -> dict[str, list[str]]:
        strict = "an entity must begin with B- (seqeval's strict mode)"
        return {
            "of entities, whole and of the right type": [
                n for n in names if n in ("f1", "precision", "recall")
            ],
            strict: [name for name in names if name == "f1_strict"],
            "entities that stand, or do not stand, among those of the training rows": [
                name for name in names if name in ("f1_seen", "f1_unseen")
            ],
            "share of words": [name for name in names if name == "accuracy"],
        }

    def caption(self, names: Sequence[str]) -> str:
        return "F1, precision, recall: of whole entities; accuracy: of words" if "f1" in names else ""

    @property
    def named(self) -> tuple[str, ...]:
        return self.tags.types

    def describe(self, noun: str) -> str:
        return f"marks entities of {len(self.tags.types):,} types in {noun}"


def f1(rows: Predictions, targets: np.ndarray, of: str = "") -> float:
    """Returns F1 over the entities of all rows; nan where there is none to find."""
    if not rows[f"true{of}"].sum():
        return math.nan
    return _share(2 * rows[f"hit{of}"], rows[f"given{of}"] + rows[f"true{of}"])


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    """Returns the sum of the one over the sum of the other; 0 where there is nothing."""
    total = float(whole.sum())
    return float(part.sum()) / total if total else 0.0


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else math.nan


def _flat(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the tag and the row of every word of all rows, both int64 (W,)."""
    ids = np.fromiter((tag for target in targets for tag in target.tags), np.int64)
    return ids, np.repeat(np.arange(len(targets)), [len(target) for target in targets])


def _form(text: TaggedText, start: int, end: int) -> str:
    return " ".join(text.text[first:last].casefold() for first, last in text.spans[start:end].tolist())


def _order(rows: list[list[str]], brought: list[str] | None, scheme: str) -> tuple[str, ...]:
    """Returns the labels: as the data bring them, else O first and the types in alphabetical order."""
    used = {tag for tags in rows for tag in tags}
    if brought and used <= set(brought) and scheme in ("bio", "iob1", "io"):
        return tuple(brought)
    if scheme == "io":
        return (*([OUTSIDE] if OUTSIDE in used else []), *sorted(used - {OUTSIDE}))
    types = list(dict.fromkeys(split_tag(tag)[1] for tag in brought or sorted(used) if tag != OUTSIDE))
    return (OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))


def _repaired(table: Table, column: str, scheme: str) -> list[str]:
    """Returns the warning about rows whose tags break the scheme, such as I-PER behind O."""
    if scheme == "io":
        return []
    broken = [
        row
        for row, text in enumerate(table.columns[column])
        if from_bio(to_bio(text.tags, scheme), scheme) != list(text.tags)
    ]
    if not broken:
        return []
    return [
        f"{table.name}: the tags of {len(broken):,} rows break the scheme {scheme} and are read by "
        f"conlleval's rule (first: {table.place(broken[0])})"
    ]
