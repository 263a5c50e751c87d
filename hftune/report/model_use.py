"""The part of a model card that depends on where the model is: how to use it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from hftune.errors import BadInput
from hftune.report.markdown import quoted, render
from hftune.storage.files import read_json, write_text
from hftune.tasks.base import Task
from hftune.tasks.use import Use

HUB = "https://huggingface.co"
TITLE = "## How to use it"  # of the template


def how_to_use(
    run_dir: Path, task: Task, modality: str, config: Mapping[str, Any], hub_id: str | None
) -> str:
    """Shows how to use a model, in lines that run as they are printed.

    Args:
        run_dir: The run's folder.
        task: What the model was asked; it knows its pipeline.
        modality: What a row is, "text", "text pair" or "image".
        config: The content of the model's config.json.
        hub_id: OWNER/NAME under which the model is published; None: used from its folder.

    Returns:
        Markdown that begins with `TITLE`.
    """
    where = hub_id or f"./{run_dir.resolve().name}"  # a name without ./ would be asked of the Hub
    use = use_of(task, modality, config)
    return render(
        "model_use.md",
        images=modality == "image",
        hub_id=hub_id,
        timm=config.get("model_type") == "timm_wrapper",
        call=pipeline_call(task, modality, where, config),
        arguments=use.arguments,
        reading=use.reading,
        background=config.get("transparent_background"),
        source_files=_source_files(config),
    )


def pipeline_call(task: Task, modality: str, where: str, config: Mapping[str, Any]) -> str:
    """Returns the Python expression that makes the pipeline of a saved model."""
    use = task.use(modality)
    arguments = [quoted(use.pipeline), quoted(where), *([use.options] if use.options else [])]
    arguments += ["trust_remote_code=True"] if "auto_map" in config else []  # its source file came along
    return f"pipeline({', '.join(arguments)})"


def use_line(run_dir: Path, task: Task, config: Mapping[str, Any]) -> str:
    """Returns one line of Python that uses the model of a run, also for texts longer than it reads."""
    modality = modality_of(run_dir, config)
    call = pipeline_call(task, modality, str(run_dir), config)
    return f"from transformers import pipeline; {call}({use_of(task, modality, config).arguments})"


def use_of(task: Task, modality: str, config: Mapping[str, Any]) -> Use:
    """Returns how plain transformers uses a saved model, by which pairs are cut as in training."""
    use, kept = task.use(modality), config.get("truncation", "longest_first")  # what True means for pairs
    if kept == "longest_first":
        return use
    shown = [part.replace("truncation=True", f"truncation={quoted(kept)}") for part in use]
    return Use(*shown)


def _source_files(config: Mapping[str, Any]) -> list[str]:
    """Returns the files that `trust_remote_code=True` would run."""
    # A tokenizer has two classes, the slow and the fast one, of which one may be missing.
    entries = config.get("auto_map", {}).values()
    classes = [name for entry in entries for name in (entry if isinstance(entry, list) else [entry]) if name]
    return sorted({f"{name.split('--')[-1].split('.')[0]}.py" for name in classes})


def modality_of(run_dir: Path, config: Mapping[str, Any]) -> str:
    """Returns what a saved model reads: "image" where it has an image processor, "text" or "text pair"."""
    if (run_dir / "preprocessor_config.json").exists():
        return "image"
    return "text pair" if config.get("text_pair") else "text"


def set_repo_id(run_dir: Path, hub_id: str, task_of: Callable[[Mapping[str, Any]], Task]) -> None:
    """Makes the card of a finished run name the repository that the run goes to; the rest stays as it is.

    Args:
        run_dir: The run's folder; one without a card, or whose card has no such part, is left alone.
        hub_id: OWNER/NAME.
        task_of: Finds the task in a model's config, `hftune.tasks.task_of`.

    Raises:
        BadInput: The card is not UTF-8, or cannot be written.
        ResourceError: The disk has no room or fails.
    """
    page = run_dir / "README.md"
    try:
        old = page.read_text(encoding="utf-8") if page.is_file() else ""
    except UnicodeDecodeError as error:
        raise BadInput(f"{page}: byte {error.start} is not UTF-8; save it as UTF-8 and push again") from None
    before, found, rest = old.partition(f"\n{TITLE}\n")
    if not found:
        return
    _, following, after = rest.partition("\n## ")
    config = read_json(run_dir / "config.json")
    new = how_to_use(run_dir, task_of(config), modality_of(run_dir, config), config, hub_id)
    _rewrite(page, f"{before}\n{new}\n{following}{after}")
    for path in sorted(run_dir.glob(".eval_results/*.yaml")):
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
        for entry in entries:
            entry["source"] = {**entry.get("source", {}), "url": f"{HUB}/{hub_id}"}
        _rewrite(path, yaml.safe_dump(entries, sort_keys=False, allow_unicode=True))


def _rewrite(path: Path, text: str) -> None:
    """Writes a file if that changes it: what goes to the same place again may lie on a read-only disk."""
    if path.read_text(encoding="utf-8") != text:
        write_text(path, text)
