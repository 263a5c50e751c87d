"""Chooses what of a run is published, and refuses what would tell a token or a path of this machine."""

import mmap
import os
import re
from pathlib import Path
from typing import Any

import huggingface_hub

from hftune.errors import PASSWORD, BadInput
from hftune.storage.files import read_json
from hftune.storage.model_files import ADAPTER_FILES, changed_files, model_files
from hftune.storage.run_dir import RunRecord

# What others judge it by, and what LoRA learned by itself.
BESIDE_MODEL = ("README.md", "all_results.json", ".eval_results/*.yaml", *ADAPTER_FILES)
BINARY = {".safetensors", ".png", ".model"}
TOKEN = re.compile(rb"hf_[A-Za-z0-9]{30,}")
SECRET_NAME = re.compile(r"(TOKEN|SECRET|PASSWORD|PASSWD|API_KEY|ACCESS_KEY|PRIVATE_KEY)$")
SHORTEST_SECRET = 16  # letters; what is shorter may stand in a vocabulary


def files_of(run_dir: Path) -> list[Path]:
    """Lists what of a run is published; nothing else of its folder is.

    That is the model, its card and its results; images come along where the card shows them: others may
    show rows of somebody's data.

    Args:
        run_dir: A run directory.

    Returns:
        Files inside it, sorted.

    Raises:
        BadInput: A file holds a token, or a text file the path of the home or the working folder; or the
            model is not the one that was scored, so that the card's numbers would not be its own.
    """
    record = RunRecord.read(run_dir)
    if record and record.weights and (changed := changed_files(run_dir, record.weights)):
        (name, what), *others = changed.items()
        raise BadInput(
            f"{run_dir / name}: {what}, so nothing is pushed: the card's numbers are of another model; bring "
            "back what was there, or train again in another --output_dir",
            [f"{other}: {why}" for other, why in others],
        )
    read_json(run_dir / "config.json")  # a run without hashes may have a broken one
    found = {*model_files(run_dir), *(path for pattern in BESIDE_MODEL for path in run_dir.glob(pattern))}
    card = run_dir / "README.md"
    if card.is_file():
        text = card.read_bytes()
        found |= {path for path in run_dir.glob("*.png") if path.name.encode() in text}
    files = sorted(path for path in found if path.is_file())
    for path in files:
        _check_content(path)
    return files


def secrets() -> dict[str, bytes]:
    """Returns what must not leave this machine: where it is from -> the token, key or password."""
    found = {name: value for name, value in os.environ.items() if SECRET_NAME.search(name.upper())}
    if token := huggingface_hub.get_token():
        found.setdefault("HF_TOKEN", token)
    return {name: os.fsencode(value) for name, value in found.items() if len(value) >= SHORTEST_SECRET}


def redact(text: str) -> str:
    """Takes tokens, keys and what an address carries out of a text."""
    for value in secrets().values():
        text = text.replace(os.fsdecode(value), "***")
    text = re.sub(r"(https?://[^\s?#]*)[?#]\S*", r"\1", PASSWORD.sub("", text))
    return re.sub(TOKEN.pattern.decode(), "hf_***", text)


def _check_content(path: Path) -> None:
    """Raises BadInput if a file holds what must not leave this machine."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if TOKEN.search(content):
            raise BadInput(
                f"{path} holds a Hub token (hf_...), so nothing is pushed; take it out and push again"
            )
        for name, value in secrets().items():
            if content.find(value) >= 0:
                raise BadInput(f"{path} holds the value of {name}, so nothing is pushed; take it out")
        if path.suffix in BINARY:
            return
        for folder in (Path.home(), Path.cwd()):
            if match := _naming(folder, content):
                line = content[: match.start()].count(b"\n") + 1
                raise BadInput(
                    f"{path} line {line} holds the path of a folder here, {folder}, so nothing is pushed; "
                    "take it out and push again"
                )


def _naming(folder: Path, content: Any) -> re.Match[bytes] | None:
    """Finds a folder's path in a text; a short one such as /root only where a path goes on."""
    if len(folder.parts) < 2:
        return None
    end = rb"/" if len(folder.parts) == 2 else rb"(?![\w.-])"
    return re.search(rb"(?<![\w./-])" + re.escape(str(folder).encode()) + end, content)
