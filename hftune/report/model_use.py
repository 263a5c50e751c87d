"""The part of a model card that depends on where the model is: how to use it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from hftune.errors import BadInput
from hftune.report.markdown import quoted, text
from hftune.storage.files import read_json, write_text

HUB = "https://huggingface.co"
TITLE = "## How to use it"
A_TEXT = '"Write a text of your own here.", truncation=True'  # cut where the saved tokenizer says
Task = Literal["text-classification", "image-classification"]


def how_to_use(
    run_dir: Path, task: Task, config: Mapping[str, Any], hub_id: str | None, revision: str | None
) -> str:
    """Shows how to use a model, in lines that run as they are printed.

    Args:
        run_dir: The run's folder.
        task: The pipeline that runs the model.
        config: The content of the model's config.json.
        hub_id: OWNER/NAME under which the model is published; None: used from its folder.
        revision: Commit or branch of `hub_id`; None: not pinned.

    Returns:
        Markdown that begins with `TITLE`.
    """
    code = config.get("auto_map", {})
    where = hub_id or f"./{run_dir.resolve().name}"  # a bare name would be asked of the Hub
    made = pipeline_call(task, where, config, revision if hub_id else None)
    lines = ["from transformers import pipeline", "", f"classify = {made}"]
    packages = ["transformers", "torch"]
    if task == "image-classification":
        packages += ["torchvision", "pillow"]
        lines.insert(0, "from PIL import Image")
        lines.append('print(classify(Image.new("RGB", (224, 224))))  # your own: classify("photo.jpg")')
    else:
        lines.append(f"print(classify({A_TEXT}))")
    packages += ["timm"] if config.get("model_type") == "timm_wrapper" else []
    place = "" if hub_id else " Start Python in the folder that holds the model's own."
    said = f"Needs `pip install {' '.join(packages)}`, and nothing of hftune.{place}"
    block = "\n".join(["```python", *lines, "```"])
    background = _background(config.get("transparent_background"))
    return "\n\n".join(filter(None, [TITLE, said, block, background, _own_code(code, hub_id, revision)]))


def _background(colour: str | None) -> str:
    """Says how transparent images are to be prepared, "" where they need not be."""
    if not colour:
        return ""
    lines = [
        "```python",
        'image = Image.open("icon.png").convert("RGBA")',
        f'background = Image.new("RGBA", image.size, {quoted(colour)})',
        'print(classify(Image.alpha_composite(background, image).convert("RGB")))',
        "```",
    ]
    said = (
        f"Trained with transparent pixels put on {text(colour)}, which `pipeline` does not do; do it first:"
    )
    return "\n\n".join([said, "\n".join(lines)])


def pipeline_call(task: Task, where: str, config: Mapping[str, Any], revision: str | None = None) -> str:
    """Returns the Python expression that makes the pipeline of a saved model."""
    arguments = [quoted(task), quoted(where)]
    arguments += [f"revision={quoted(revision)}"] if revision else []
    arguments += ["trust_remote_code=True"] if "auto_map" in config else []  # its source file came along
    return f"pipeline({', '.join(arguments)})"


def use_line(run_dir: Path, config: Mapping[str, Any]) -> str:
    """Returns one line of Python that uses the model of a run, also for texts longer than it reads."""
    task = task_of(run_dir)
    call = pipeline_call(task, str(run_dir), config)
    content = A_TEXT if task == "text-classification" else '"photo.jpg"'
    return f"from transformers import pipeline; {call}({content})"


def _own_code(auto_map: Mapping[str, Any], hub_id: str | None, revision: str | None) -> str:
    """Says what `trust_remote_code=True` would run, "" where it runs nothing."""
    if not auto_map:
        return ""
    # A tokenizer has two classes, the slow and the fast one, of which one may be missing.
    entries = [entry if isinstance(entry, list) else [entry] for entry in auto_map.values()]
    classes = [name for entry in entries for name in entry if name]
    files = sorted({f"`{name.split('--')[-1].split('.')[0]}.py`" for name in classes})
    said = (
        f"`trust_remote_code=True` runs {' and '.join(files)}, the model's source code. It lies beside the "
    )
    said += "weights and imports torch and transformers only: read it first."
    pin = "`revision` pins" if revision else 'Adding `revision="COMMIT"` then pins'
    return f"{said} {pin} what you have read, so that no later change is run unseen." if hub_id else said


def task_of(run_dir: Path) -> Task:
    """Returns the pipeline that runs a saved model: pictures come with an image processor."""
    pictures = (run_dir / "preprocessor_config.json").exists()
    return "image-classification" if pictures else "text-classification"


def readdress_card(run_dir: Path, hub_id: str) -> None:
    """Makes the card of a finished run name the repository that the run goes to; the rest stays as it is.

    Args:
        run_dir: The run's folder; one without a card, or whose card has no such part, is left alone.
        hub_id: OWNER/NAME.

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
    new = how_to_use(run_dir, task_of(run_dir), config, hub_id, None)
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
