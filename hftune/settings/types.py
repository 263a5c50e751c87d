"""From what a person writes, in a flag or in YAML, to a value of a setting's type."""

import difflib
import json
import math
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

from hftune.errors import BadInput

YES, NO = ("true", "yes", "1", "on"), ("false", "no", "0", "off")


def convert(kind: Any, value: Any) -> Any:
    """Makes a value of a field's type from a flag's text, a YAML scalar or a Python value.

    Args:
        kind: `str`, `int`, `float`, `bool`, a `Literal` of strings, or one of them `| None`.
        value: What was given; "none" stands for None where None is allowed.

    Raises:
        ValueError: The value is not one of that type; the message says what was expected.
    """
    if types.NoneType in typing.get_args(kind):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            return None
        (kind,) = [kind for kind in typing.get_args(kind) if kind is not types.NoneType]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"expected {describe(kind)}, got nothing")
    if choices := typing.get_args(kind):
        if value not in choices:
            raise ValueError(f"expected {describe(kind)}, got {value!r}{did_you_mean(str(value), choices)}")
        return value
    converted = {str: _text, int: _whole, float: as_number, bool: _truth}[kind](value)
    if converted is None:
        raise ValueError(f"expected {describe(kind)}, got {value!r}")
    return converted


def bare(kind: Any) -> Any:
    """Returns T of `T | None`."""
    parts = [part for part in typing.get_args(kind) if part is not types.NoneType]
    return parts[0] if types.NoneType in typing.get_args(kind) else kind


def describe(kind: Any) -> str:
    """Says in words what a field of a type takes."""
    if choices := [choice for choice in typing.get_args(kind) if isinstance(choice, str)]:
        return f"one of {', '.join(choices)}"
    return {str: "text", int: "a whole number", float: "a number", bool: "true or false"}[kind]


def did_you_mean(name: str, known: Iterable[str], dashes: str = "") -> str:
    """Returns "; did you mean NAME?" for the most similar known name, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {dashes}{found[0]}?" if found else ""


def parse_overrides(text: str, flag: str = "config_overrides") -> dict[str, Any]:
    """Reads "hidden_size=128,kernel_sizes=[3,4,5],scale=0.5,tied=true,act=gelu", or a JSON object.

    Args:
        text: Names and values. A value is a whole number, a number, true, false, none, a list,
            object or string in JSON's notation, or else the text itself.
        flag: Where the text comes from, for the error.

    Returns:
        The values by name, in their order.

    Raises:
        BadInput: A part is not NAME=VALUE, a name comes twice, or a bracket is not closed.
    """
    if text.lstrip().startswith("{"):
        return typing.cast(dict[str, Any], _json(text, flag))
    values: dict[str, Any] = {}
    for part in _split(text):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name.isidentifier() or not value:
            raise BadInput(f"--{flag}: expected NAME=VALUE, got {part.strip()!r} in {text!r}")
        if name in values:
            raise BadInput(f"--{flag}: {name} comes twice in {text!r}")
        values[name] = _value(value, flag)
    return values


def _split(text: str) -> list[str]:
    """Splits at the commas outside quotes and brackets."""
    parts, depth = [""], 0
    for token in re.findall(r'"(?:\\.|[^"\\])*"|.', text, re.DOTALL):  # a quoted string or a letter
        depth += (token in "[{") - (token in "]}")
        if token == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return parts if text.strip() else []


def _value(text: str, flag: str) -> Any:
    if text[0] in '[{"':
        return _json(text, flag)
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    whole = _whole(text) if re.fullmatch(r"[+-]?\d[\d_]*", text) else None
    number = as_number(text) if whole is None else whole
    return text if number is None else number


def _json(text: str, flag: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as problem:
        raise BadInput(f"--{flag}: {text!r} is not JSON: {problem}") from None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?\d[\d_]*\s*", value):
        return int(value.replace("_", ""))
    number = as_number(value)  # 1e4 steps are whole
    return int(number) if number is not None and number.is_integer() else None


def as_number(value: Any) -> float | None:
    """Returns a finite number, or None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _truth(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    return True if word in YES else False if word in NO else None
