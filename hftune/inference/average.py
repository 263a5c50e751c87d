"""The mean of the weights of several trained models: one model, as fast as each of them.

Wortsman et al. 2022, Model soups: averaging weights of multiple fine-tuned models improves accuracy without
increasing inference time (arXiv:2203.05482), recipe 1, the greedy soup.
"""

import dataclasses
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from hftune.data.dataset import Rows
from hftune.data.inputs import Inputs
from hftune.data.loader import worker_count
from hftune.errors import BadInput
from hftune.inference.candidates import Candidate
from hftune.inference.load import load_model, one_accelerator
from hftune.inference.predict import autocast, precision_of
from hftune.report.model_card import Card, write_card
from hftune.report.model_use import modality_of
from hftune.report.summary import metrics_of
from hftune.settings.base import Settings, field_types
from hftune.storage.checkpoint import Tensors, load_checkpoint, tensor_digest
from hftune.storage.files import new_folder, read_json, write_json
from hftune.storage.model_files import hash_model
from hftune.storage.run_dir import package_versions
from hftune.storage.user_files import hash_files
from hftune.tasks.base import Task
from hftune.tasks.metric import LabelScores, Predictions
from hftune.training.evaluate import (
    compare,
    note_only_answer,
    predict,
    result_key,
    score,
    score_with_intervals,
)
from hftune.training.precision import device_name
from hftune.training.result import record_test
from hftune.training.saved_model import save_model
from hftune.training.setup import best_metric
from hftune.training.state import load_weights
from hftune.training.tune import finish, note_choice

log = logging.getLogger(__name__)

OTHER_SCORE = 0.02  # by which a score may differ on another device, in parts of it where it is above 1


@dataclass(frozen=True)
class Tried:
    """What came out for one candidate.

    Args:
        candidate: The candidate.
        digest: The SHA-256 (hex) of its weights.
        alone: Its validation score.
        together: That of the mean with it; None for the first one.
        taken: Whether it is part of the mean.
    """

    candidate: Candidate
    digest: str
    alone: float
    together: float | None = None
    taken: bool = True


@dataclass(frozen=True)
class Average:
    """What was averaged, and what came of it.

    Args:
        tried: The candidates, the best first, as they were tried.
        metric: The score that decided.
        task: As tuned to the mean.
        results: The content of its all_results.json.
    """

    tried: Sequence[Tried]
    metric: str
    task: Task
    results: dict[str, float]


class Scorer:
    """Scores weights as the run of a candidate would.

    Args:
        first: The candidate; the others have the same rows, and weights of the same names and shapes.

    Raises:
        BadInput: Its rows cannot be had as they were.
    """

    def __init__(self, first: Candidate):
        loaded = load_model(str(first.run_dir))
        self.inputs, self.model = loaded.inputs, loaded.model
        self.settings = settings_for(self.inputs, first)
        self.unfinished = self.inputs.load(self.settings)
        if self.unfinished.fingerprint != first.record.data_fingerprints["data"]:
            raise BadInput(
                f"{first.run_dir}: its rows have changed since, or its recipe reads them in its own way; "
                "without its validation rows nothing can be chosen"
            )
        self.data = finish(self.unfinished, self.model)  # what that does to the weights, the next ones undo
        self.metric = best_metric(self.data.task, self.settings)
        self.precision = precision_of(self.settings)

    def weights(self, candidate: Candidate) -> Tensors:
        """Returns a candidate's finished weights and buffers by name, float32 on the CPU."""
        if candidate.checkpoint is None:
            kind: Any = type(self.model)
            return kind.from_pretrained(
                candidate.run_dir, use_safetensors=True, dtype=torch.float32
            ).state_dict()
        checkpoint = load_checkpoint(candidate.checkpoint)
        load_weights(self.model, checkpoint, "average" if "average" in checkpoint.tensors else "model")
        finish(self.unfinished, self.model)
        return {name: tensor.cpu().clone() for name, tensor in self.model.state_dict().items()}

    def predict(self, model: PreTrainedModel, rows: Rows) -> Predictions:
        """Returns a model's predictions of some rows, in their order."""
        accelerator = one_accelerator()
        with autocast(self.precision):
            return predict(
                self.data.task,
                model,
                rows,
                self.data.collate,
                accelerator,
                rows_per_batch=self.settings.per_device_eval_batch_size,
                workers=worker_count(self.inputs.workers, accelerator.device, accelerator.num_processes),
            )

    def validate(self, weights: Tensors) -> tuple[Task, Predictions]:
        """Gives the model some weights; returns the task as tuned to them, and the validation predictions."""
        self.model.load_state_dict(weights)
        found = self.predict(self.model, self.data.validation)
        return self.data.task.tune(found, self.data.validation.targets), found

    def score(self, weights: Tensors) -> float:
        """Returns the validation score of some weights that chooses among them."""
        task, found = self.validate(weights)
        return score(task, "eval", found, self.data.validation.targets, [self.metric])[
            result_key(task, "eval", self.metric)
        ]

    def above(self, score: float) -> float:
        """Returns a validation score so that more of it is better; one that is not defined is the worst."""
        upwards = self.settings.greater_is_better
        if upwards is None:
            upwards = self.data.task.metric(self.metric).greater_is_better
        return -math.inf if math.isnan(score) else score if upwards else -score


def average(
    candidates: Sequence[Candidate], output: Path, tick: Callable[[], object] = lambda: None
) -> Average:
    """Averages the weights of models greedily, and saves what comes of it as a run is saved.

    Args:
        candidates: Two or more that `refuse_unlike` lets pass.
        output: The folder of the result, which is not there or empty.
        tick: Called when a model has been scored on the validation rows: for each candidate alone, and for
            each but one as part of a mean.

    Raises:
        BadInput: The rows cannot be had, two candidates have the same weights, or their buffers differ.
        ResourceError: The disk has no room or fails.
    """
    scorer = Scorer(candidates[0])
    tried = rank(scorer, candidates, tick)

    def load(one: Tried) -> Tensors:
        return scorer.weights(one.candidate)

    def counted(weights: Tensors) -> float:
        found = scorer.score(weights)
        together.append(found)
        tick()
        return scorer.above(found)

    together: list[float] = []
    best = load(tried[0])
    mean, taken = greedy_mean(best, scorer.above(tried[0].alone), map(load, tried[1:]), counted)
    tried[1:] = [
        dataclasses.replace(one, together=found, taken=kept)
        for one, found, kept in zip(tried[1:], together, taken, strict=True)
    ]
    with new_folder(output) as folder:
        task, results = save(scorer, tried, best, mean, folder)
    return Average(tried, scorer.metric, task, results)


def rank(scorer: Scorer, candidates: Sequence[Candidate], tick: Callable[[], object]) -> list[Tried]:
    """Scores each candidate alone; returns the best first.

    Raises:
        BadInput: Two have the same weights, or other buffers.
    """
    buffers: Tensors = {}
    found: dict[str, Tried] = {}
    for candidate in candidates:
        weights = scorer.weights(candidate)
        own = {name: weights[name] for name, _ in scorer.model.named_buffers() if name in weights}
        buffers = buffers or own
        if changed := [name for name, tensor in own.items() if not torch.equal(tensor, buffers[name])]:
            raise BadInput(
                f"{candidates[0].name} and {candidate.name} cannot be averaged: {changed[0]} differs, and "
                "statistics that a model keeps of its rows, as BatchNorm does, are not those of the mean; "
                "train with --freeze_batch_norm"
            )
        digest = tensor_digest(weights)
        if digest in found:
            same = found[digest].candidate.name
            raise BadInput(f"{same} and {candidate.name} have the same weights; name one of them")
        found[digest] = Tried(candidate, digest, scorer.score(weights))
        warn_of_other_score(scorer, found[digest])
        tick()
    return sorted(found.values(), key=lambda one: -scorer.above(one.alone))


def warn_of_other_score(scorer: Scorer, one: Tried) -> None:
    """Warns where a run's model has another validation score here than in its all_results.json."""
    if one.candidate.checkpoint is None:
        key = result_key(scorer.data.task, "eval", scorer.metric)
        before = read_json(one.candidate.run_dir / "all_results.json").get(key)
        if before is not None and abs(before - one.alone) > OTHER_SCORE * max(1.0, abs(before)):
            log.warning(
                "%s: %s was %.4g in its run and is %.4g here: does its recipe read rows its own way?",
                one.candidate.name,
                key,
                before,
                one.alone,
            )


def greedy_mean(
    best: Tensors, floor: float, others: Iterable[Tensors], score: Callable[[Tensors], float]
) -> tuple[Tensors, list[bool]]:
    """Adds weights to a mean one after the other, and keeps those with which its score does not fall.

    Sums are in float64, and each mean is rounded once: frozen weights stay what they are, to the bit.

    Args:
        best: The weights to begin with.
        floor: Their score.
        others: Further weights of the same names and shapes, in the order in which they are tried; whole
            numbers among them are those of `best`.
        score: More of it is better.

    Returns:
        The mean, in the types of `best`, and of each of the others whether it is part of it.
    """
    learned = [name for name, tensor in best.items() if tensor.is_floating_point()]
    total = {name: best[name].double() for name in learned}
    mean, taken, parts = best, [], 1
    for weights in others:
        grown = {name: total[name] + weights[name].double() for name in learned}
        tried = best | {name: (grown[name] / (parts + 1)).to(best[name].dtype) for name in learned}
        found = score(tried)
        taken.append(found >= floor)
        if taken[-1]:
            mean, total, floor, parts = tried, grown, found, parts + 1
    return mean, taken


def save(
    scorer: Scorer, tried: Sequence[Tried], best: Tensors, mean: Tensors, folder: Path
) -> tuple[Task, dict[str, float]]:
    """Saves a mean of weights as a finished run; what is tested is what others will load.

    Returns:
        The task as tuned to it, and the content of all_results.json.
    """
    parts, first = [one for one in tried if one.taken], tried[0].candidate
    alone, _ = scorer.validate(best)
    rows = scorer.data.test if len(parts) > 1 else None
    single = None if rows is None else scorer.predict(scorer.model, rows)
    task, found = scorer.validate(mean)
    data = dataclasses.replace(scorer.data, task=task)
    note_choice(scorer.model, scorer.data.task, task)
    save_model(scorer.model, data, folder)
    before = read_json(first.run_dir / "all_results.json")
    names = [name for name in metrics_of(before, task) if name == "loss" or name in task.metrics]
    validated = [name for name in names if not task.metric(name).only_tested]
    results = data.facts | score(task, "eval", found, data.validation.targets, validated)
    results |= note_only_answer(task, "validation", found)
    labels: list[LabelScores] = []
    if data.test is not None:
        targets = data.test.targets
        tested = scorer.predict(load_model(str(folder)).model, data.test)
        scores, labels = record_test(data, tested, names, folder)
        results |= scores
        if single is not None:
            results |= score_with_intervals(alone, "test_single", single, targets, names)
            results |= compare(task, "single", tested, single, targets, alone)
    write_json(folder / "all_results.json", results)
    card = Card(
        name=folder.name,
        modality=modality_of(folder, read_json(folder / "config.json")),
        settings=settings_for(scorer.inputs, first),
        task=task,
        results=results,
        versions=package_versions(),
        label_scores=labels,
        data_origin=data.origin,
        dataset_commit=data.dataset_commit,
        averaged=[one.candidate.short_name for one in parts],
    )
    write_card(folder, card)
    hashes = hash_model(folder)
    record = dataclasses.replace(
        first.record,
        versions=package_versions(),
        threads=torch.get_num_threads(),
        world_size=1,
        best_step=None,
        last_step=None,
        weights=hashes,
        files=hash_files(folder, hashes),
        precision=scorer.precision,
        device=device_name(scorer.model.device),
        averaged={one.candidate.name: one.digest for one in parts},
    )
    record.write(folder)
    return task, results


def settings_for(inputs: Inputs, candidate: Candidate) -> Settings:
    """Returns a run's settings as its inputs know them; those of its recipe alone are left out."""
    known = field_types(inputs.settings_class)
    return inputs.settings_class(**{name: v for name, v in candidate.settings.items() if name in known})
