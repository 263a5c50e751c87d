"""Scores a trained model on labelled data, each score with its 95 % interval.

    hftune eval runs/imdb
    hftune eval runs/imdb --test_file reviews.csv
    hftune eval runs/hotdog --test_dir photos/test
    hftune eval OWNER/NAME --dataset_name stanfordnlp/imdb --output scores.json

MODEL is a run directory, a folder with a saved model, or a Hub id. A run directory without other data is
scored on its own test rows, which gives the scores of its all_results.json. Labels are matched by name: the
data's may stand in another order than the model's, but must not be others.

--dataset_name NAME     Hub id, folder or "sample"; --dataset_config_name and --dataset_revision go with it
--test_file FILE        .csv, .tsv, .jsonl or .parquet instead
--test_dir FOLDER       a folder with one folder of images per class instead
--split NAME            which split; else test, or validation where there is no labelled test split
--text_column_name C    column of the texts; likewise --text_pair_column_name, --image_column_name and
                        --label_column_name
--image_dir FOLDER      what the paths in a list start from, else the list's own folder
--max_eval_samples N    score on at most N rows, the ones that the run would draw (other data: data_seed 42)
--per_device_eval_batch_size N   rows in a batch
--skip_bad_images       leave out images that cannot be read, and say how many
--pos_label NAME        of two classes, whose precision, recall and F1 are shown; else the run's, or the last
--output FILE           write the scores there too: .json one flat object; .csv or .tsv a line for each score
--revision R            branch, tag or commit of a model on the Hub
--trust_remote_code     run code that comes with the model
"""

import math
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from hftune.cli.arguments import output_file, parse_args
from hftune.cli.console import Screen
from hftune.cli.models import MODEL_FLAGS, open_model, refuse_flags_of_other_inputs
from hftune.errors import BadInput, printable
from hftune.report.predictions import as_csv
from hftune.storage.files import read_json, write_json, write_text
from hftune.storage.run_dir import RunRecord, settings_of

if TYPE_CHECKING:
    from hftune.inference.load import LoadedModel
    from hftune.inference.rows import Labelled
    from hftune.tasks.base import Task
    from hftune.tasks.metric import Predictions

DATA = ("dataset_name", "test_file", "test_dir")  # at most one of them is given
COLUMNS = (
    *("text_column_name", "text_pair_column_name", "image_column_name", "label_column_name"),
    "image_dir",
)
FLAGS: dict[str, Any] = {
    **MODEL_FLAGS,
    **dict.fromkeys((*DATA, *COLUMNS, "dataset_config_name", "dataset_revision", "split", "output"), str),
    "pos_label": str,
    "max_eval_samples": int,
    "per_device_eval_batch_size": int,
    "skip_bad_images": bool,
}
PREFIXES = {"validation": "eval"}  # of a split's scores in all_results.json, where it is not its name


def main(argv: list[str]) -> None:
    """Scores a model and prints the table.

    Args:
        argv: The model and the flags above.

    Raises:
        BadInput: The model or the data cannot be read, or the data have labels that it does not know.
    """
    positional, options = parse_args(argv, FLAGS)
    if len(positional) != 1:
        raise BadInput("hftune eval needs one model: hftune eval RUN, or MODEL --test_file FILE")
    name = positional[0]
    record = RunRecord.read(Path(name))
    own = _own_settings(name, record, options)
    output = output_file(options, (".json", ".csv", ".tsv"), reads=[options.get(flag) for flag in DATA])
    loaded = open_model(name, options, dataset=options.get("dataset_name") or own.get("dataset_name"))
    refuse_flags_of_other_inputs(loaded, options)
    import datasets

    from hftune.inference.rows import read_labelled
    from hftune.tasks import name_of

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    others = {flag: options.pop(flag, None) for flag in ("test_file", "test_dir", "split")}
    settings = loaded.inputs.scoring_settings(own | options | {"task": name_of(loaded.task)})
    task = loaded.task.with_facts(record.facts if record else {})
    task = replace(task, pos_label=options.get("pos_label") or task.pos_label)
    data = read_labelled(loaded.inputs, task, settings, **others)
    predictions = _predict(loaded, data, settings, as_the_run=bool(own))
    scores = _scores(task, data, predictions)
    try:
        _print_origin(data, others["split"] is not None)
        if own and "max_eval_samples" not in options and data.split != "train":  # some were validated on
            _compare_size(Path(name), f"{data.split}_samples", len(data.targets))
        _print_table(name, task, data.split, scores)
    finally:  # also when stdout is closed early, as by `head`
        if output:
            _write(output, scores)


def _own_settings(name: str, record: RunRecord | None, options: dict[str, Any]) -> dict[str, Any]:
    """Returns the settings of the run that a name is, where no other data are given."""
    given = [flag for flag in DATA if flag in options]
    if len(given) > 1:
        raise BadInput(f"--{given[0]} and --{given[1]} contradict each other: give one of them")
    for flag in ("dataset_config_name", "dataset_revision"):
        if flag in options and "dataset_name" not in options:
            raise BadInput(f"--{flag} needs --dataset_name")
    if record is None and not given:
        raise BadInput(
            f"{name} is no run directory, so it has no test rows of its own; pass --dataset_name, "
            "--test_file or --test_dir"
        )
    return settings_of(record) if record and not given else {}


def _predict(loaded: "LoadedModel", data: "Labelled", settings: Any, as_the_run: bool) -> "Predictions":
    from hftune.inference.predict import autocast, precision_of, predict_rows

    rows = loaded.inputs.rows(data.values)
    precision = precision_of(settings) if as_the_run else "no"
    size = settings.per_device_eval_batch_size
    with tqdm(desc="classifying", total=len(rows), disable=None, leave=False) as bar, autocast(precision):
        return predict_rows(loaded, rows, rows_per_batch=size, on_progress=bar.update)


def _scores(task: "Task", data: "Labelled", predictions: "Predictions") -> dict[str, float]:
    """Returns the scores with their intervals, those of each label, and whether all rows got one answer."""
    from hftune.training.evaluate import label_results, note_only_answer, score_with_intervals

    prefix = PREFIXES.get(data.split, data.split)
    return {
        f"{data.split}_samples": len(data.targets),
        **score_with_intervals(task, prefix, predictions, data.targets, task.metrics),
        **label_results(prefix, task.label_scores(predictions, data.targets)),
        **note_only_answer(task, data.split, predictions),
    }


def _print_origin(data: "Labelled", asked: bool) -> None:
    for line in data.warnings:
        print(f"warning: {line}", file=sys.stderr)
    why = " (there is no labelled test split)" if data.split == "validation" and not asked else ""
    print(f"{len(data.targets):,} rows of {data.origin}, split {data.split}{why}")


def _compare_size(run_dir: Path, key: str, rows: int) -> None:
    """Warns where a run's own data are not what they were."""
    path = run_dir / "all_results.json"
    before = read_json(path).get(key) if path.is_file() else None
    if before not in (None, rows):
        print(f"warning: the run was scored on {before:,} rows: its data have changed", file=sys.stderr)


def _print_table(name: str, task: "Task", split: str, scores: dict[str, float]) -> None:
    """Prints the table that a run prints at its end."""
    from hftune.report.summary import answered_alike, summary_table

    prefix = f"{PREFIXES.get(split, split)}_"
    tested = {f"test_{key.removeprefix(prefix)}": value for key, value in scores.items()}
    Screen().print(summary_table(name, tested, task, split))
    for line in answered_alike(scores, task):
        print(printable(line))


def _write(output: Path, scores: dict[str, float]) -> None:
    """Writes the scores: one JSON object, or a line for each with its interval."""
    if output.suffix.lower() == ".json":
        write_json(output, scores)
        return

    def cell(key: str) -> float | str:
        value = scores.get(key, math.nan)
        return "" if math.isnan(value) else value

    limits = {f"{key}_{end}" for key in scores for end in ("low", "high")}
    names = [key for key in scores if key not in limits]
    columns: list[tuple[str, Iterable[Any]]] = [("score", names), ("value", [cell(key) for key in names])]
    columns += [(end, [cell(f"{key}_{end}") for key in names]) for end in ("low", "high")]
    write_text(output, as_csv(columns, "\t" if output.suffix.lower() == ".tsv" else ","))
