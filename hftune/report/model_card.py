"""Writes the model card: what a model does, how to use it, how good it is and what nobody has tested.

The page is the template `model_card.md`; here is what it names. Page and front matter are made of the same
results. They name what the Hub knows, never a file, a folder or a machine of its author.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from hftune.errors import BadInput
from hftune.report.label_scores import label_section, named_labels
from hftune.report.markdown import plain, render, table, text
from hftune.report.model_use import HUB, how_to_use
from hftune.report.pairs import pair_lines
from hftune.report.summary import agreement, beside, metrics_of, verdict
from hftune.runtime.offline import SAMPLE, hub_id
from hftune.settings.base import Settings
from hftune.storage.files import read_json, write_text
from hftune.tasks.base import Task
from hftune.tasks.metric import LabelScores

HUB_METRICS = {
    "f1_macro": "f1",
    "mcc": "matthews_correlation",
    "ece": "expected_calibration_error",
    "r2": "r_squared",
    "pearson": "pearsonr",
    "spearman": "spearmanr",
}
KNOWN_METRICS = (
    *("accuracy", "precision", "recall", "f1", "matthews_correlation", "roc_auc"),
    *("mae", "mse", "r_squared", "pearsonr", "spearmanr"),
)
SPLITS = ("train", "unlabeled", "validation", "test")
# What changes no number, what another part of the page says, and what names folders of one machine.
HIDDEN_IN_CARD = re.compile(
    r"dataset_.*|.*_file|.*_dir|.*_column_name|model_name_or_path|model_type|resume_from_checkpoint|"
    r"teacher|distillation_.*|unlabeled_.*|(save|logging)_.*|report_to|dataloader_num_workers|baselines|(push_to_)?hub(_.*)?|seed|per_device_eval_batch_size"
)
PATHS = ("embeddings", "checkpoint_path")


@dataclass(frozen=True, kw_only=True, eq=False)
class Card:
    """What a model card is made of, besides the files of the run.

    Args:
        name: The recipe's name.
        task: What the model was asked; it names labels, scores and its pipeline.
        modality: What a row is, "text", "text pair" or "image".
        settings: The run's settings.
        results: The content of `all_results.json`; nan where a score is not defined.
        versions: Package versions, see `hftune.storage.run_dir.package_versions`.
        label_scores: Those of each label on the test rows; () without a test set.
        data_origin: One line: where the data came from, and how validation came about. Shown for data of
            the Hub and the sample alone, as it names files otherwise.
        dataset_commit: Commit of the Hub data set; None: the settings' `dataset_revision`.
        hub_id: OWNER/NAME under which the model is published; None: used from its folder.
        averaged: What the model is the mean of, the best first; () of a model that was trained.
    """

    name: str
    task: Task
    modality: str
    settings: Settings
    results: Mapping[str, float]
    versions: Mapping[str, str]
    label_scores: Sequence[LabelScores] = ()
    data_origin: str = ""
    dataset_commit: str | None = None
    hub_id: str | None = None
    averaged: Sequence[str] = ()

    @property
    def pipeline(self) -> str:
        """The name of the pipeline that runs the model."""
        return self.task.use(self.modality).pipeline

    @property
    def first(self) -> str:
        """The task's first metric."""
        return next(iter(self.task.metrics))

    @property
    def is_sample(self) -> bool:
        """Whether it was trained on the built-in sample."""
        return self.settings.dataset_name == SAMPLE

    @property
    def dataset(self) -> str | None:
        """The data set's Hub id; None for other data."""
        return None if self.is_sample else _hub_id(self.settings.dataset_name, "dataset_name")

    @property
    def base_model(self) -> str | None:
        """The Hub id of the model that was fine-tuned; None for others."""
        return _hub_id(self.settings.model_name_or_path, "model_name_or_path")

    @property
    def teacher(self) -> str | None:
        """The Hub id of the model that it was distilled from; None for others."""
        return _hub_id(self.settings.teacher, "teacher")

    @property
    def revision(self) -> str | None:
        """The revision of the Hub data set, if it is known."""
        return (self.dataset_commit or self.settings.dataset_revision) if self.dataset else None


def write_card(run_dir: Path, card: Card) -> None:
    """Writes `README.md`, and `.eval_results/NAME.yaml` where a Hub data set's test rows were scored.

    Images of the run are shown where they exist: `confusion.png`, `labels.png`, `scatter.png`, `curve.png`
    and `mistakes.png` for the built-in sample alone, as other images may be somebody's own. The same card
    gives the same bytes.

    Args:
        run_dir: The run's folder, with the saved model's `config.json`.
        card: What there is to say.

    Raises:
        BadInput: There is no `config.json`.
        ResourceError: The disk has no room or fails; what stood there still does.
    """
    config = read_json(run_dir / "config.json")
    write_text(run_dir / "README.md", render("model_card.md", **_context(run_dir, card, config)) + "\n")
    if card.dataset and math.isfinite(card.results.get(f"test_{card.first}", math.nan)):
        name = re.sub(r"[^\w.-]+", "-", card.dataset)
        content = yaml.safe_dump(_eval_entries(card), sort_keys=False, allow_unicode=True)
        write_text(run_dir / f".eval_results/{name}.yaml", content)


def _context(run_dir: Path, card: Card, config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the template names."""
    settings, results, task = card.settings, card.results, card.task
    metrics = metrics_of(results, task)
    inputs = f"{card.modality}s"
    rows = {split: results.get(f"{split}_samples", 0) for split in SPLITS}
    changed = [[f"`{name}`", text(value, most=400)] for name, value in _changed(settings).items()]
    return {
        "metadata": _metadata(card, config, metrics).to_yaml(),
        "card": card,
        "settings": settings,
        "results": results,
        "inputs": inputs,
        "link": lambda name, kind="": f"[{text(name)}]({HUB}/{kind}{name})",
        "interval": lambda key: _interval(card, key),
        "opening": f"It {': '.join(filter(None, [task.describe(inputs), named_labels(task.named)]))}.",
        "label_section": label_section(card.label_scores, task.units),
        "architecture": config.get("architecture") or config.get("architectures", ["model"])[0],
        "own_weights": settings.model_name_or_path or settings.checkpoint_path,
        "how_to_use": how_to_use(run_dir, task, card.modality, config, card.hub_id),
        "tested": any(f"test_{name}" in results for name in metrics),
        "verdict": verdict(results, task),
        "difference": f"test_{card.first}_over_{task.constant}",
        "over_single": f"test_{card.first}_over_single",
        "scores": _scores(card, metrics),
        "meanings": _meanings(card, metrics),
        "pair_lines": pair_lines(results, task),
        "agreement": agreement(results),
        "images": _images(run_dir, card),
        "splits": table(["split", "rows"], [[split, f"{n:,.0f}"] for split, n in rows.items() if n]),
        "changed": table(["setting", "value"], changed, numbers=False),
        "transparent_background": config.get("transparent_background"),
        "trust": task.trust(results),
        "ece": results.get("test_ece", math.nan),
    }


def _hub_id(value: str | None, flag: str) -> str | None:
    """Returns what names a repository on the Hub; None for a folder, also one that is gone by now."""
    try:
        return hub_id(value, flag)
    except BadInput:
        return None


def _metadata(card: Card, config: Mapping[str, Any], metrics: list[str]) -> ModelCardData:
    """Returns what the Hub indexes; see huggingface.co/docs/hub/model-cards."""
    names = dict.fromkeys(HUB_METRICS.get(name, name) for name in metrics)
    timm = ["timm"] if config.get("model_type") == "timm_wrapper" else []
    kind = card.dataset or ("hftune-sample" if card.is_sample else "custom")
    own = {"hftune-sample": "hftune's built-in sample", "custom": "data of the author's own"}
    scores = [
        EvalResult(
            task_type=card.pipeline,
            dataset_type=kind,
            dataset_name=own.get(kind, kind),
            dataset_config=card.settings.dataset_config_name if card.dataset else None,
            dataset_split="test",
            dataset_revision=card.revision,
            metric_type=HUB_METRICS.get(metric, metric),
            metric_name=card.task.title(metric),
            metric_value=card.results[f"test_{metric}"],
        )
        for metric in metrics
        if math.isfinite(card.results.get(f"test_{metric}", math.nan))
    ]
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=card.pipeline,
        base_model=card.base_model,
        datasets=[card.dataset] if card.dataset else None,
        metrics=[name for name in names if name in KNOWN_METRICS] or None,
        tags=["hftune", *timm],
        model_name=plain(card.name) if scores else None,
        eval_results=scores or None,
    )


def _eval_entries(card: Card) -> list[dict[str, Any]]:
    """Returns the score that `.eval_results` holds, one per data set and task: the task's first metric."""
    key, title = f"test_{card.first}", card.task.title(card.first)
    rows, interval = card.results.get("test_samples"), _interval(card, key)
    tested = f"{title} on {rows:,.0f} test rows" if rows else title
    entry = EvalResultEntry(
        dataset_id=str(card.dataset),
        task_id=card.settings.dataset_config_name or "default",
        value=card.results[key],
        dataset_revision=card.revision,
        source_url=f"{HUB}/{card.hub_id}" if card.hub_id else None,
        notes=tested + (f", 95 % interval {interval}" if interval else ""),
    )
    return eval_result_entries_to_yaml([entry])


def _meanings(card: Card, metrics: list[str]) -> dict[str, list[str]]:
    """Returns the legend of the scores: what is said, and the titles of which it is said."""
    falling = [name for name in metrics if not card.task.metric(name).greater_is_better]
    said = {**card.task.meaning(metrics), "less is better": falling}
    found = {text(meaning): [card.task.title(name) for name in names] for meaning, names in said.items()}
    titles = card.task.baseline_titles
    simple = [title for name, title in titles.items() if f"test_{name}_{card.first}" in card.results]
    found["simple models, trained and tested on the same rows"] = simple
    return {meaning: names for meaning, names in found.items() if names}


def _scores(card: Card, metrics: list[str]) -> str:
    """Lays out the scores, one metric a row; a column without any score is left out."""
    task = card.task
    columns = {"test_": "test"} | {f"test_{name}_": title for name, title in beside(task).items()}
    simplest = f"{task.baseline_titles[task.constant]}, validation"
    columns |= {"eval_": "validation", f"eval_{task.constant}_": simplest}
    results = card.results
    head, rows = ["score"], [[card.task.title(metric)] for metric in metrics]
    for prefix, title in columns.items():
        if not any(prefix + metric in results for metric in metrics):
            continue
        with_interval = prefix == "test_"
        head += [title, "95 % interval"] if with_interval else [title]
        for row, metric in zip(rows, metrics, strict=True):
            value = results.get(prefix + metric, math.nan)
            row.append("–" if math.isnan(value) else task.figure(value))
            row += [_interval(card, prefix + metric)] if with_interval else []
    return table(head, rows)


def _images(run_dir: Path, card: Card) -> dict[str, str]:
    """Returns the images to show, with their titles."""
    titles = {
        "confusion.png": "How often each class was taken for each other, on the test rows",
        "scatter.png": "What the model answered, and the true numbers, of the test rows",
        "entities.png": "How well entities of each type are found, and what became of them, on the test rows",
        "labels.png": "F1 of each label on the test rows, with its 95 % interval",
        "curve.png": "Losses and validation scores over the training",
    }
    if card.is_sample:
        titles["mistakes.png"] = "Test images that the model got wrong"
    return {name: title for name, title in titles.items() if (run_dir / name).is_file()}


def _changed(settings: Settings) -> dict[str, str]:
    """Returns the settings that differ from the defaults that hftune, not a recipe, gives them."""
    changed = {}
    for name in (field.name for field in dataclasses.fields(settings)):
        value = getattr(settings, name)
        if value != _default(type(settings), name) and not HIDDEN_IN_CARD.fullmatch(name):
            local = name in PATHS or str(value).startswith(("/", "~/", "./", "../"))
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            changed[name] = "a file of the author's own" if value and local else shown
    return changed


def _default(kind: type[Settings], name: str) -> Any:
    """Returns the default of a setting in the first class that has it, which is hftune's."""
    bases = filter(dataclasses.is_dataclass, reversed(kind.__mro__))
    return next(field.default for base in bases for field in dataclasses.fields(base) if field.name == name)


def _interval(card: Card, key: str) -> str:
    low, high = card.results.get(f"{key}_low", math.nan), card.results.get(f"{key}_high", math.nan)
    return "" if math.isnan(low + high) else f"{card.task.figure(low)} to {card.task.figure(high)}"
