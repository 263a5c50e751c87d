"""One label as it is written: what it holds, which number it is, and what else looks like it."""

import ast
import json
import re
import unicodedata
import warnings
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from hftune.errors import shown

Label = str | bool | int | float | Decimal

MISSING_WORDS = frozenset(  # what tools write for a missing value, in lower case
    (
        *("nan", "none", "null", "nil", "missing", "undefined", "nat", "<nan>", "<na>", "(null)", "(none)"),
        *("na", "n/a", "#n/a", "#na", "n.a.", "n.a", "n/d", "-", "--", "---", "?", ".", "\\n", "(blank)"),
        *("#ref!", "#value!", "#div/0!", "#name?", "#null!", "#num!", "1.#ind", "1.#qnan"),
    )
)
EXACT = 2**53  # beyond it a number with a point is not exact: neighbours are one and the same

_UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))
_QUOTES = "\"'`\u00ab\u00bb\u2018\u2019\u201a\u201c\u201d\u201e\u2039\u203a\u300c\u300d"
# Small letters of Cyrillic, and one of Greek, and the Latin ones that they, or their capitals, look like.
_TWINS = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0456\u0458\u0455\u03bf",
    "abekmhopctyxijso",
)
_TAGS = range(0xE0020, 0xE0080)  # which tell the flags of England, Scotland and Wales apart

_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,999}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,999}(\.[0-9]*)?|\.[0-9]+)")


class NotOneLabel(ValueError):
    """A cell holds several labels, or an object; the message says what, to stand behind "the label is"."""


def single_label(written: Any) -> Any:
    """Returns the label of a cell: itself, or the only element of a list, set or {"choices": [...]}.

    Lists and objects may be written as text, as Python or JSON write them.

    Returns:
        The label; None for an empty list. Values of other types than `Label` are returned as they are.

    Raises:
        NotOneLabel: There are several labels, or an object that is not Label Studio's.
    """
    if isinstance(written, str):
        held = written_collection(written)
        return written if held is None else single_label(held)
    if isinstance(written, Mapping):
        if set(written) != {"choices"}:
            raise NotOneLabel(f"an object ({quoted(written)})")
        return single_label(written["choices"])
    if isinstance(written, (list, tuple, set, frozenset)):
        if len(written) > 1:
            one_hot = "; for one-hot rows write the class's name" if set(map(str, written)) <= _BITS else ""
            raise NotOneLabel(f"a list of {len(written)} ({quoted(written)}){one_hot}")
        return single_label(next(iter(written))) if written else None
    return written


_BITS = {"0", "1", "0.0", "1.0", "False", "True"}


def written_collection(text: str) -> Collection | None:
    """Returns the list, set or object that a text is in writing; None for any other text."""
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "()", "{}"):
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            with warnings.catch_warnings(action="ignore"):  # Python's own, of odd backslashes
                found = parse(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if not isinstance(found, (list, tuple, set, dict)):
            return None
        joined = [item for item in found if isinstance(item, str) and item not in text]
        # numpy writes ['a' 'b'], which Python reads as one text
        return text[1:-1].split() if parse is ast.literal_eval and joined else found
    inside = text[1:-1]
    if text[0] == "[" and ("," in inside or re.fullmatch(r"[\d\s.+-]+", inside)):
        return inside.split("," if "," in inside else None)
    return None


def quoted(value: Any) -> str:
    """Returns a value as Python writes it, cut to what fits into a message."""
    return shown(repr(value))


def is_number(text: str) -> bool:
    """Tells a number, such as 1, -0.5 or 01, from a word."""
    return bool(_NUMBER.fullmatch(text.strip()))


def are_numbers(texts: Collection[str]) -> bool:
    """Tells numbers, as csv files write them, from words; zero-padded codes such as 01 are words."""
    words = [text.strip() for text in texts]
    return all(_WHOLE.fullmatch(word) or (_NUMBER.fullmatch(word) and "." in word) for word in words)


def exact_number(value: str | int | float | Decimal) -> int | Decimal:
    """Returns a label's number without rounding it: an int where it is whole, else a Decimal.

    Args:
        value: A number, or a text for which `is_number` is true.

    Raises:
        ValueError: It is not finite, or has a point and is so large that it may have been rounded.
    """
    if isinstance(value, int) or (isinstance(value, str) and "." not in value):
        return int(value)
    exact = value if isinstance(value, Decimal) else Decimal(str(value).strip())
    if not exact.is_finite():
        raise ValueError("is not a number that a class can have")
    if abs(exact) >= EXACT and not isinstance(value, Decimal):
        raise ValueError(
            "is beyond 2**53, where numbers with a point are rounded into each other; write it as a whole "
            "number or as a word"
        )
    if exact == int(exact):
        return int(exact)
    return Decimal(format(exact, "f").rstrip("0"))


def label_name(value: Label) -> str:
    """Returns what a class is called: a word without blanks around it, a number in its shortest form."""
    if isinstance(value, str):
        word = value.strip()
        if "." not in word or not is_number(word):
            return word
    elif isinstance(value, bool):
        return str(value)
    try:
        number = exact_number(value)
        return str(number) if isinstance(number, int) else format(number, "f")
    except ValueError:
        return str(value).strip()


def canonical_label(text: str) -> str:
    """Returns what is the same in labels that look alike.

    Case, blanks, normal forms (an accent as one character or two, fullwidth letters) and characters
    that are not seen (zero-width, soft hyphen, direction and byte order marks, controls, the marks that
    choose between two forms of an emoji) do not count, nor do quotes around a label; within a word, letters
    of Cyrillic are as the Latin ones that they look like.
    """
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    seen = " ".join("".join(filter(_is_seen, plain)).split())
    inner = (seen.strip(_QUOTES) if seen[:1] in _QUOTES and seen[-1:] in _QUOTES else seen).strip() or seen
    return inner.translate(_TWINS) if len(inner) > 1 else inner


def _is_seen(c: str) -> bool:
    if unicodedata.category(c) in ("Cc", "Cf"):
        return c.isspace() or ord(c) in _TAGS
    return c not in _UNSEEN


def difference(text: str, other: str) -> str:
    """Says how a label differs from another that looks alike, to stand between the two."""
    if is_number(text) and is_number(other):
        return "is the same number as"
    if " ".join(text.split()).casefold() == " ".join(other.split()).casefold():
        return "differs only by case or blanks from"
    before = _equal_at_start(text, other)
    after = _equal_at_start(text[before:][::-1], other[before:][::-1])
    points = [
        " ".join(f"U+{ord(c):04X}" for c in word[before : len(word) - after][:5]) or "nothing"
        for word in (text, other)
    ]
    return f"has {points[0]} where there is {points[1]}, and so only looks like"


def _equal_at_start(text: str, other: str) -> int:
    """Returns how many characters two texts have in common at their start."""
    return next(
        (i for i, pair in enumerate(zip(text, other, strict=False)) if pair[0] != pair[1]),
        min(len(text), len(other)),
    )
