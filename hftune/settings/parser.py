"""From a command line and a YAML file to settings, and from the settings' source to `--help`.

Flags win over `--config FILE.yaml`, which wins over the recipe's defaults.
"""

import re
from pathlib import Path
from typing import Any, TypeVar

from hftune.console import close_output
from hftune.errors import BadInput
from hftune.settings.base import ALIASES, Settings, field_types
from hftune.settings.help import help_text
from hftune.settings.types import bare, convert, describe, did_you_mean

AnySettings = TypeVar("AnySettings", bound=Settings)
Found = dict[str, tuple[Any, str]]  # name -> (value, where it was written)

# Names of transformers 4, of example scripts and of habit, and what to say now: the first that there is.
RENAMED: dict[str, str | tuple[str, ...]] = {
    "warmup_ratio": "--warmup_steps 0.1 (below 1 it is a share of all steps)",
    "num_warmup_steps": "--warmup_steps",
    "group_by_length": "--train_sampling_strategy group_by_length",
    "evaluation_strategy": "--eval_strategy",
    "lr": "--learning_rate",
    "lr_scheduler": "--lr_scheduler_type",
    "epochs": "--num_train_epochs",
    "batch_size": ("--per_device_train_batch_size", "--per_device_eval_batch_size"),
    "train_batch_size": "--per_device_train_batch_size",
    "eval_batch_size": "--per_device_eval_batch_size",
    "per_gpu_train_batch_size": "--per_device_train_batch_size",
    "per_gpu_eval_batch_size": "--per_device_eval_batch_size",
    "seeds": "hftune run, which knows it",
    "max_train_steps": "--max_steps",
    "max_seq_length": "--max_length",
    "max_predict_samples": "--max_eval_samples",
    "text_column_names": "--text_column_name",
    "validation_split_percentage": "--train_val_split 0.1 (a share)",
    "adafactor": "--optim timm_adafactor",
    "logging_dir": "the variable TENSORBOARD_LOGGING_DIR",
    "no_cuda": "accelerate launch --cpu",
    "use_cpu": "accelerate launch --cpu",
    "use_mps_device": "nothing: the device is found",
    "tf32": "nothing: float32 is computed in full; --bf16 is faster",
    "fp16_backend": "--fp16",
    "fp16_opt_level": "--fp16",
    "half_precision_backend": "--fp16 or --bf16",
    "mixed_precision": "--bf16 or --fp16, or accelerate launch --mixed_precision",
    "torchdynamo": "--torch_compile",
    "save_safetensors": "nothing: weights are always saved as safetensors",
    "tokenizer_name": "nothing: the tokenizer belongs to --model_name_or_path",
    "config_name": "--model_type and --config_overrides",
    "pad_to_max_length": "nothing: a batch is padded to its longest text",
    "do_train": "nothing: a run trains, validates and tests",
    "do_eval": "nothing: a run trains, validates and tests",
    "do_predict": "nothing: a run trains, validates and tests",
    "push_to_hub_token": "`hf auth login` or the variable HF_TOKEN: a flag would show the token to everyone",
    "hub_token": "`hf auth login` or the variable HF_TOKEN: a flag would show the token to everyone",
    "use_auth_token": "`hf auth login` or the variable HF_TOKEN",
    "token": "`hf auth login` or the variable HF_TOKEN: a flag would show the token to everyone",
}


def parse(defaults: AnySettings, argv: list[str], prog: str, description: str) -> AnySettings:
    """Reads a command line over a recipe's settings.

    Args:
        defaults: The recipe's settings.
        argv: The words after the program's name.
        prog: The program's name, for `--help`.
        description: The recipe's docstring; its first line opens `--help`, its rest closes it.

    Returns:
        Settings of the same class. `--help` and `--version` print and exit with code 0 instead.

    Raises:
        BadInput: An unknown, renamed, repeated, valueless or mistyped flag, or a bad YAML file.
    """
    if {"--help", "-h"} & set(argv):
        try:
            print(help_text(defaults, prog, description), flush=True)
        except BrokenPipeError:
            close_output()
        raise SystemExit(0)
    if "--version" in argv:
        from importlib.metadata import version

        print(f"hftune {version('hftune')}")
        raise SystemExit(0)
    kinds = field_types(type(defaults))
    flags = read_flags(argv, {**kinds, "config": str})
    path = flags.pop("config", None)
    written = read_yaml(path, kinds) if path else {}
    try:
        return defaults.overlaid({name: value for name, (value, _) in written.items()}, flags)
    except BadInput as error:
        for name in re.findall(r"--(\w+)", error.message):
            if name in written and name not in flags:
                raise BadInput(f"{written[name][1]}: {error.message}", error.details) from None
        raise


def read_flags(argv: list[str], kinds: dict[str, Any]) -> dict[str, Any]:
    """Reads `--name value`, `--name=value`, `--flag`, `--flag false` and `--no_flag`.

    Args:
        argv: The words of a command line.
        kinds: The type of each known flag.

    Returns:
        The value of each flag that was given, converted to its type.

    Raises:
        BadInput: See `parse`.
    """
    found: dict[str, Any] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or word == "--":
            raise BadInput(f"{word!r} belongs to no flag; flags are written --name value")
        flag, equals, text = word.partition("=")
        name, negated = _known_name(flag, kinds)
        if negated and equals:
            raise BadInput(f"{flag} takes no value")
        if negated:
            text = "false"
        elif not equals:
            text = _next_value(flag, kinds[name], words)
        try:
            value = convert(kinds[name], text)
        except ValueError as problem:
            raise BadInput(f"--{name}: {problem}") from None
        if name in found and found[name] != value:
            raise BadInput(f"--{name} is given twice: {found[name]} and {value}")
        found[name] = value
    return found


def _known_name(flag: str, kinds: dict[str, Any]) -> tuple[str, bool]:
    """Returns a flag's setting, and whether it is the `--no_` form of a switch."""
    name = flag[2:].replace("-", "_")
    if (current := ALIASES.get(name, name)) in kinds:
        return current, False
    positive = ALIASES.get(name.removeprefix("no_"), name.removeprefix("no_"))
    if positive != name and positive in kinds and _is_switch(kinds[positive]):
        return positive, True
    raise BadInput(f"{flag}: {_unknown(name, 'flag', kinds)}")


def _unknown(name: str, word: str, kinds: dict[str, Any]) -> str:
    found = RENAMED.get(name, ())
    for advice in (found,) if isinstance(found, str) else found:
        of_training = advice.startswith(("nothing", "the variable", "accelerate launch"))
        named = re.findall(r"--(\w+)", advice.partition("accelerate launch")[0])
        if all(other in kinds for other in named) and ("max_steps" in kinds or not of_training):
            return f"no such {word}; use {advice}"
    return f"no such {word}{did_you_mean(name, kinds, '--' if word == 'flag' else '')}"


def _next_value(flag: str, kind: Any, words: list[str]) -> str:
    """Takes the value that follows a flag; a switch may stand alone."""
    missing = not words or words[0].startswith("--")
    if missing and _is_switch(kind):
        return "true"
    if missing:
        raise BadInput(f"{flag} needs a value: {describe(bare(kind))}")
    return words.pop(0)


def _is_switch(kind: Any) -> bool:
    return bare(kind) is bool


def read_yaml(path: str, kinds: dict[str, Any]) -> Found:
    """Reads a flat YAML file of settings.

    Scalars are taken as the text that is written, and get the type of their setting: so `1e-5` is a
    number, `no` a choice and `0123` a revision, whatever YAML would make of them. Nothing in the file
    is executed.

    Args:
        path: The file.
        kinds: The type of each known setting.

    Returns:
        The converted value of each setting, and `FILE:LINE` of it.

    Raises:
        BadInput: The file cannot be read, is not flat YAML, has an unknown or repeated name, or a value
            of the wrong type. The message names line and column.
    """
    import yaml

    try:
        root = yaml.compose(_read_text(path), Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        problem = re.sub(
            r"found character '\\t'.*", "a tab; YAML is indented with spaces", str(error.problem)
        )
        raise BadInput(f"{_place(path, error.problem_mark)}: not YAML: {problem}") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:  # "\\UFFFFFFFF", [[[[...
        raise BadInput(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if root is None:  # an empty file
        return {}
    if not isinstance(root, yaml.MappingNode):
        raise BadInput(f"{_place(path, root.start_mark)}: expected lines of NAME: VALUE")
    found: Found = {}
    for key, node in root.value:
        name = str(_scalar(path, "a name", key, str)).replace("-", "_")
        name = ALIASES.get(name, name)
        if name in found:
            raise BadInput(f"{_place(path, key.start_mark)}: {name} was given before, at {found[name][1]}")
        if name not in kinds:
            raise BadInput(f"{_place(path, key.start_mark)}: {name}: {_unknown(name, 'setting', kinds)}")
        found[name] = (_scalar(path, name, node, kinds[name]), f"{path}:{node.start_mark.line + 1}")
    return found


def _read_text(path: str) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadInput(f"--config {path}: {str(error.strerror).lower()}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"--config {path}: byte {error.start} is not UTF-8 text") from None


def _scalar(path: str, name: str, node: Any, kind: Any) -> Any:
    place = _place(path, node.start_mark)
    if node.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
        raise BadInput(f"{place}: {name}: the tag {node.tag} is not allowed; write a plain value")
    if not isinstance(node.value, str):
        raise BadInput(f"{place}: {name}: expected one value, got a nested one; write it as text, in quotes")
    try:
        return convert(kind, None if node.style is None and node.value in ("", "~") else node.value)
    except ValueError as problem:
        raise BadInput(f"{place}: {name}: {problem}") from None


def _place(path: str, mark: Any) -> str:
    return f"{path}:{mark.line + 1}:{mark.column + 1}"
