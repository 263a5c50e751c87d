"""Writes the model card: what a model does, how to use it, how good it is and what nobody has tested.

The page and its front matter are made of the same results. It names what the Hub knows, never a file,
a folder or a machine of whoever trained the model.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from hftune.errors import BadInput
from hftune.report.markdown import code, plain, table, text
from hftune.report.model_use import HUB, Task, how_to_use
from hftune.report.summary import BESIDE, FLOORS, NAMES, metrics_of, verdict
from hftune.runtime.offline import SAMPLE, hub_id
from hftune.settings.base import Settings
from hftune.storage.files import read_json, write_text
from hftune.tasks.metrics import LOWER_IS_BETTER, per_class, positive_class

HUB_METRICS = {"f1_macro": "f1", "mcc": "matthews_correlation", "ece": "expected_calibration_error"}
KNOWN_METRICS = ("accuracy", "precision", "recall", "f1", "matthews_correlation", "roc_auc")
NOUNS = {"text-classification": "texts", "image-classification": "pictures"}
MOST_LABELS = 20  # named in the first sentence
MOST_CLASSES = 40  # with a row each in the table; of more, the weakest are shown
WEAKEST = 20
FEW_ROWS = 30  # of a class: its own scores then swing by more than a tenth
# What changes no number, what the page says elsewhere, and what names folders of one machine.
UNSAID = re.compile(
    r"dataset_.*|.*_file|.*_dir|.*_column_name|model_name_or_path|model_type|resume_from_checkpoint|"
    r"(save|logging)_.*|report_to|dataloader_num_workers|floor|(push_to_)?hub(_.*)?|seed|per_device_eval_batch_size"
)
PATHS = ("embeddings", "checkpoint_path")


@dataclass(frozen=True, kw_only=True, eq=False)
class Card:
    """What a model card is made of, besides the files of the run.

    Args:
        name: The recipe's name.
        task: The pipeline that runs the model.
        settings: The run's settings.
        labels: The C class names in the order of the class numbers.
        results: The content of `all_results.json`.
        versions: Package versions, see `hftune.storage.run_dir.package_versions`.
        confusion: Test rows per label and prediction, int64 (C, C); None without a test set.
        data_origin: One line: where the data came from, and how validation came about. Shown for data of
            the Hub and the sample alone, as it names files otherwise.
        dataset_commit: Commit of the Hub data set; None: the settings' `dataset_revision`.
        hub_id: OWNER/NAME under which the model is published; None: used from its folder.
        revision: Commit or branch of `hub_id` that holds the model; None: not pinned.
        date: ISO 8601 time of the test; None: the Hub takes the time of the commit.
    """

    name: str
    task: Task
    settings: Settings
    labels: Sequence[str]
    results: Mapping[str, float | None]
    versions: Mapping[str, str]
    confusion: np.ndarray | None = None
    data_origin: str = ""
    dataset_commit: str | None = None
    hub_id: str | None = None
    revision: str | None = None
    date: str | None = None


class _Facts(NamedTuple):
    """What the parts of the page share."""

    card: Card
    run_dir: Path
    config: dict[str, Any]
    results: dict[str, float]
    metrics: list[str]
    dataset: str | None  # a Hub id
    revision: str | None  # of the data set
    base_model: str | None  # a Hub id


def write_card(run_dir: Path, card: Card) -> None:
    """Writes `README.md`, and `.eval_results/NAME.yaml` where a Hub data set's test rows were scored.

    Pictures of the run are shown where they exist: `confusion.png`, `curve.png`, and `mistakes.png` for
    the built-in sample alone, as other pictures may be somebody's own. The same card gives the same bytes.

    Args:
        run_dir: The run's folder, with the saved model's `config.json`.
        card: What there is to say.

    Raises:
        BadInput: There is no `config.json`.
        ResourceError: The disk has no room or fails; what stood there still does.
    """
    facts = _facts(run_dir, card)
    sections = (_opening, _usage, _scores, _classes, _pictures, _data, _training, _limits)
    page = "\n\n".join(filter(None, (section(facts) for section in sections)))
    write_text(run_dir / "README.md", f"---\n{_front_matter(facts)}\n---\n\n{page}\n")
    if entries := _eval_entries(facts):
        name = re.sub(r"[^\w.-]+", "-", str(facts.dataset))
        content = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)
        write_text(run_dir / f".eval_results/{name}.yaml", content)


def _facts(run_dir: Path, card: Card) -> _Facts:
    results = {name: math.nan if value is None else float(value) for name, value in card.results.items()}
    settings = card.settings
    dataset = None if settings.dataset_name == SAMPLE else _hub_id(settings.dataset_name, "dataset_name")
    revision = (card.dataset_commit or settings.dataset_revision) if dataset else None
    base_model = _hub_id(settings.model_name_or_path, "model_name_or_path")
    config = read_json(run_dir / "config.json")
    return _Facts(card, run_dir, config, results, metrics_of(results), dataset, revision, base_model)


def _hub_id(value: str | None, flag: str) -> str | None:
    """Returns what names a repository on the Hub; None for a folder, also one that is gone by now."""
    try:
        return hub_id(value, flag)
    except BadInput:
        return None


# --- what machines read ---


def _front_matter(facts: _Facts) -> str:
    """Returns the YAML that the Hub indexes; see huggingface.co/docs/hub/model-cards."""
    timm = ["timm"] if facts.config.get("model_type") == "timm_wrapper" else []
    scores = _eval_results(facts)
    metrics = dict.fromkeys(HUB_METRICS.get(name, name) for name in facts.metrics)
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag=facts.card.task,
        base_model=facts.base_model,
        datasets=[facts.dataset] if facts.dataset else None,
        metrics=[name for name in metrics if name in KNOWN_METRICS] or None,
        tags=["hftune", *timm],
        model_name=plain(facts.card.name) if scores else None,
        eval_results=scores or None,
    )
    return data.to_yaml()


def _eval_results(facts: _Facts) -> list[EvalResult]:
    """Returns the test scores as the Hub's `model-index` has them; none where nothing was tested."""
    settings = facts.card.settings
    kind, name = str(facts.dataset), str(facts.dataset)
    if not facts.dataset:
        kind, name = "custom", "data of the author's own"
    if settings.dataset_name == SAMPLE:
        kind, name = "hftune-sample", "hftune's built-in sample"
    return [
        EvalResult(
            task_type=facts.card.task,
            dataset_type=kind,
            dataset_name=name,
            dataset_config=settings.dataset_config_name if facts.dataset else None,
            dataset_split="test",
            dataset_revision=facts.revision,
            metric_type=HUB_METRICS.get(metric, metric),
            metric_name=_metric_name(metric),
            metric_value=facts.results[f"test_{metric}"],
        )
        for metric in facts.metrics
        if math.isfinite(facts.results.get(f"test_{metric}", math.nan))
    ]


def _eval_entries(facts: _Facts) -> list[dict[str, Any]]:
    """Returns the score that `.eval_results` holds: one per data set and task, so the accuracy."""
    value = facts.results.get("test_accuracy", math.nan)
    if not facts.dataset or not math.isfinite(value):
        return []
    card, interval = facts.card, _interval(facts.results, "test_accuracy")
    tested = f"accuracy on {_count(facts, 'test')} test rows" if _count(facts, "test") else "accuracy"
    entry = EvalResultEntry(
        dataset_id=facts.dataset,
        task_id=card.settings.dataset_config_name or "default",
        value=value,
        dataset_revision=facts.revision,
        date=card.date,
        source_url=f"{HUB}/{card.hub_id}" if card.hub_id else None,
        notes=tested + (f", 95 % interval {interval}" if interval else ""),
    )
    return eval_result_entries_to_yaml([entry])


# --- what people read ---


def _opening(facts: _Facts) -> str:
    card, settings = facts.card, facts.card.settings
    named = ", ".join(f"**{text(label)}**" for label in card.labels[:MOST_LABELS])
    more = len(card.labels) - MOST_LABELS
    rest = f" and {more:,} more, all listed in `config.json`" if more > 0 else ""
    weights = settings.model_name_or_path or getattr(settings, "checkpoint_path", None)
    made = "fine-tuned from weights of the author's own" if weights else "trained from scratch"
    made = f"fine-tuned from {_link(facts.base_model)}" if facts.base_model else made
    data = f" on {_link(facts.dataset, 'datasets/')}" if facts.dataset else ""
    kind = facts.config.get("architecture") or facts.config.get("architectures", ["model"])[0]
    sorts = f"It sorts {NOUNS[card.task]} into {len(card.labels):,} classes: {named}{rest}."
    return f"# {text(card.name)}\n\n{sorts} The model is a `{code(kind)}`, {made}{data}."


def _usage(facts: _Facts) -> str:
    return how_to_use(facts.run_dir, facts.card.task, facts.config, facts.card.hub_id, facts.card.revision)


def _scores(facts: _Facts) -> str:
    results, metrics = facts.results, facts.metrics
    titles = {"test_": "test"} | {f"test_{name}_": title for name, title in BESIDE.items()}
    titles |= {"eval_": "validation", "eval_majority_": f"{FLOORS['majority']}, validation"}
    head, rows = ["score"], [[_metric_name(metric)] for metric in metrics]
    for prefix, title in titles.items():
        if not any(prefix + metric in results for metric in metrics):
            continue
        with_interval = prefix == "test_"
        head += [title, "95 % interval"] if with_interval else [title]
        for row, metric in zip(rows, metrics, strict=True):
            row.append(_share(results.get(prefix + metric, math.nan)))
            row += [_interval(results, prefix + metric)] if with_interval else []
    return "\n\n".join(["## How good it is", _judgement(results), table(head, rows), _legend(facts)])


def _judgement(results: Mapping[str, float]) -> str:
    """Says in a sentence what the scores come to."""
    if "test_accuracy" not in results:
        return "There was no test set: the rows scored here also chose the model, which flatters it."
    if said := verdict(results):
        return f"On the test rows the model {'is ' if said.startswith('better') else ''}{said}."
    key = "test_accuracy_over_majority"
    if key not in results:
        return "No simple model was trained beside it: there is nothing to compare these scores with."
    said = f"{results[key]:+.3f} ({_interval(results, key)})"
    return f"On the test rows its accuracy differs by {said} from always giving the commonest class."


def _legend(facts: _Facts) -> str:
    """Explains what a score is of, and the columns."""
    labels, results = facts.card.labels, facts.results
    positive = labels[positive_class(labels, facts.card.settings.pos_label)]
    of = f"of the class **{text(positive)}**" if len(labels) == 2 else "means over the classes"
    simple = [title for name, title in FLOORS.items() if f"test_{name}_accuracy" in results]
    said = {
        of: [_metric_name(name) for name in facts.metrics if name in ("precision", "recall", "f1")],
        "less is better": [_metric_name(name) for name in facts.metrics if name in LOWER_IS_BETTER],
        "simple models, trained and tested on the same rows": simple,
    }
    lines = [f"- {', '.join(names)}: {meaning}." for meaning, names in said.items() if names]
    if "test_accuracy" in results:
        lines.append(
            "- 95 % interval: how far a score may be off because the test rows are a sample. The model was "
            f"trained once (seed {facts.card.settings.seed}); how another training would differ is not in it."
        )
    return "\n".join(lines)


def _classes(facts: _Facts) -> str:
    confusion, labels = facts.card.confusion, facts.card.labels
    if confusion is None or not confusion.any():
        return ""
    scores = per_class(confusion, labels)
    few = sum(row.rows < FEW_ROWS for row in scores)
    said = (
        "Precision: how many of the rows given this class have it. Recall: how many of the rows that have it "
    )
    said += "were given it. Rows: in the test set."
    if few:
        said += f" Classes with fewer than {FEW_ROWS} rows ({few:,} here) are hard to judge."
    if len(scores) > MOST_CLASSES:
        scores = sorted(scores, key=lambda row: (math.isnan(row.f1), row.f1))[:WEAKEST]
        said += f" These are the {WEAKEST} classes of {len(labels):,} with the lowest F1."
    cells = [[text(row.label), *map(_share, row[1:4]), f"{row.rows:,}"] for row in scores]
    return f"## Class by class\n\n{said}\n\n{table(['class', 'precision', 'recall', 'F1', 'rows'], cells)}"


def _pictures(facts: _Facts) -> str:
    shown = {
        "confusion.png": "How often each class was taken for each other, on the test rows",
        "curve.png": "Losses and validation scores over the training",
    }
    if facts.card.settings.dataset_name == SAMPLE:
        shown["mistakes.png"] = "Test pictures that the model got wrong"
    there = {name: title for name, title in shown.items() if facts.run_dir.joinpath(name).is_file()}
    return "\n\n".join(f"![{title}]({name})" for name, title in there.items())


def _data(facts: _Facts) -> str:
    card, config = facts.card, facts.card.settings.dataset_config_name
    said = "Data of the author's own, which are not published with the model."
    if facts.dataset:
        said = _link(facts.dataset, "datasets/") + (f", configuration `{code(config)}`" if config else "")
        said += f", revision `{code(facts.revision)}`." if facts.revision else "."
    if card.settings.dataset_name == SAMPLE:
        said = "hftune's built-in sample, made by a program to try a training out: "
        said += f"the model is of no use for real {NOUNS[card.task]}."
    if card.data_origin and (facts.dataset or card.settings.dataset_name == SAMPLE):
        said += f" As read: {text(card.data_origin, most=400)}."
    splits = [[name, _count(facts, name)] for name in ("train", "validation", "test") if _count(facts, name)]
    sizes = table(["split", "rows"], splits) if splits else ""
    return "\n\n".join(filter(None, ["## Data", said, sizes, _cut(facts)]))


def _cut(facts: _Facts) -> str:
    """Says what the model does not read of long texts, "" for pictures."""
    settings, results = dataclasses.asdict(facts.card.settings), facts.results
    if "max_length" not in settings:
        return ""
    said = f"The model reads at most {settings['max_length']:,} tokens of a text"
    if settings["truncation"] != "head":
        kept = {
            "tail": "the end was kept",
            "head+tail": "a quarter from the front and the rest from the end were kept here; "
            "`pipeline` keeps the end",
        }
        said += f". Of a longer one {kept[settings['truncation']]}"
    rows, tokens = (results.get(f"train_truncated_{what}_share", 0.0) for what in ("rows", "tokens"))
    return f"{said}. {rows:.1%} of the training texts were longer, and {tokens:.1%} of all tokens were cut."


def _training(facts: _Facts) -> str:
    results, card = facts.results, facts.card
    effort = [f"seed {card.settings.seed}"]
    if {"train_steps", "epoch", "train_runtime"} <= results.keys():
        effort += [f"{results['train_steps']:,.0f} optimizer steps", f"{results['epoch']:g} epochs"]
        effort += [f"{results['train_runtime'] / 60:,.1f} minutes"]
    versions = ", ".join(f"{text(name)} {text(version)}" for name, version in card.versions.items())
    parts = ["## Training", f"{', '.join(effort).capitalize()}. Made with {versions}."]
    if changed := _changed(card.settings):
        parts.append("Settings that differ from hftune's defaults:")
        rows = [[f"`{name}`", text(value, most=400)] for name, value in changed.items()]
        parts.append(table(["setting", "value"], rows, numbers=False))
    return "\n\n".join(parts)


def _changed(settings: Settings) -> dict[str, str]:
    """Returns the settings that differ from the defaults that hftune, not a recipe, gives them."""
    changed = {}
    for name in (field.name for field in dataclasses.fields(settings)):
        value = getattr(settings, name)
        bases = (vars(base) for base in reversed(type(settings).__mro__))
        default = next((base[name] for base in bases if name in base), None)
        if value != default and not UNSAID.fullmatch(name):
            local = name in PATHS or str(value).startswith(("/", "~/", "./", "../"))
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            changed[name] = "a file of the author's own" if value and local else shown
    return changed


def _limits(facts: _Facts) -> str:
    card, results = facts.card, facts.results
    of_texts = card.task == "text-classification"
    others = "other subjects, languages and times" if of_texts else "other cameras, places and subjects"
    tested = "Tested only on rows from where the training rows came from"
    ece, interval = results.get("test_ece", math.nan), _interval(results, "test_ece")
    trust = "Whether its probabilities can be believed (calibration) was not measured."
    if not math.isnan(ece):
        trust = (
            f"Its probabilities are {100 * ece:.1f} points away from the share of right answers on average "
        )
        trust += f"(expected calibration error {ece:.3f}{', ' * bool(interval)}{interval}; test rows)."
    base = " and of the base model" if facts.base_model else ""
    lines = [
        *_odd_images(facts),
        f"{tested if 'test_accuracy' in results else 'Not tested'}; {others} were not tried.",
        "It always answers with one of its classes, also where none fits.",
        trust,
        "Whether it treats groups of people alike was not looked at.",
        f"This card states no license; that of the data{base} may bind what you do with the model.",
    ]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _odd_images(facts: _Facts) -> list[str]:
    """Says of images that `pipeline` may see otherwise, or not as they are meant, how many there were."""
    deep, transparent = (
        facts.results.get(f"images_{what}", 0.0) for what in ("above_8_bits", "with_transparency")
    )
    lines = []
    if deep:
        lines.append(
            f"{deep:,.0f} of its images had grey values of more than 8 bits. They were scaled to 8, for "
            "training and for these scores, but `pipeline` cuts such values off to white: give it 8 bits."
        )
    if transparent and not facts.config.get("transparent_background"):
        lines.append(
            f"{transparent:,.0f} of its images had transparent pixels; the colours that the files store "
            "under them were used, as `pipeline` does."
        )
    return lines


def _metric_name(metric: str) -> str:
    return NAMES.get(metric, metric.replace("_", " "))


def _count(facts: _Facts, split: str) -> str:
    rows = facts.results.get(f"{split}_samples", 0)
    return f"{rows:,.0f}" if rows else ""


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _interval(results: Mapping[str, float], key: str) -> str:
    low, high = results.get(f"{key}_low", math.nan), results.get(f"{key}_high", math.nan)
    return "" if math.isnan(low + high) else f"{low:.3f} to {high:.3f}"


def _link(repository: str, kind: str = "") -> str:
    return f"[{text(repository)}]({HUB}/{kind}{repository})"
