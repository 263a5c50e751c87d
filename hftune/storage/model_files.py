"""Which files of a run's folder are the saved model, and which the run writes when it has trained."""

from pathlib import Path

from hftune.storage.files import hash_file

MODEL_FILES = (  # all that `from_pretrained` may read of a saved classifier
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.*",
    "merges.txt",
    "*.model",  # SentencePiece
    "preprocessor_config.json",
    "processor_config.json",
)
ADAPTER_FILES = ("adapter/adapter_config.json", "adapter/adapter_model.safetensors")  # of LoRA, for peft
AT_THE_END = (  # what a run writes when it has trained; its other files are there from the start
    *MODEL_FILES,
    "*.py",
    "README.md",
    ".eval_results/*.yaml",
    "all_results.json",
    "confusion.png",
    "curve.png",
    "labels.png",
    "mistakes.png",
    "scatter.png",
    "test_predictions.csv",
    "test_predictions.jsonl",
    "entities.png",
    *ADAPTER_FILES,
)


def model_files(run_dir: Path) -> list[Path]:
    """Lists the files of a saved model: `MODEL_FILES`, and its source files where config.json names some."""
    found = {path for pattern in MODEL_FILES for path in run_dir.glob(pattern)}
    config = run_dir / "config.json"
    if config.is_file() and b'"auto_map"' in config.read_bytes():
        found |= set(run_dir.glob("*.py"))
    return sorted(path for path in found if path.is_file())


def hash_model(run_dir: Path) -> dict[str, str]:
    """Returns the SHA-256 (hex) of each file of a saved model, by its name."""
    return {path.name: hash_file(path) for path in model_files(run_dir)}


def changed_files(run_dir: Path, scored: dict[str, str]) -> dict[str, str]:
    """Says of each file of a finished run's model how it differs from what was scored.

    Args:
        run_dir: The run's folder.
        scored: The `weights` of its run.json; {} has nothing to compare with.
    """
    found = hash_model(run_dir)
    if "config.json" not in scored:  # a run of an earlier hftune
        found = {name: digest for name, digest in found.items() if name in scored}
    changed = {}
    for name in sorted(scored.keys() | found.keys()):
        if name not in found:
            changed[name] = "missing"
        elif name not in scored:
            changed[name] = "was not there when the model was scored"
        elif found[name] != scored[name]:
            changed[name] = "not the one that was scored (other sha256)"
    return changed
