"""Markdown from the templates of this folder, and its pieces: they show any text as it is."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2


def render(template: str, **context: Any) -> str:
    """Fills in a template of this folder.

    Args:
        template: Its file name. `{% ... %}` stands on a line of its own, or inside one that ends with text.
        context: What it names; `text`, `code` and `quoted` are filters, to be used on every name of a user's.

    Returns:
        Markdown that ends without a line break.
    """
    page = _TEMPLATES.get_template(template).render(context)
    return re.sub(r"\n{3,}", "\n\n", page).strip("\n")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: bool = True) -> str:
    """Lays out a Markdown table, numbers to the right, "" without rows; the cells are Markdown already."""
    if not rows:
        return ""
    ruler = ["---", *["---:" if numbers else "---"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ruler, *rows])


def score(value: float) -> str:
    """Returns a score with three digits, a dash where it is not defined."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def plain(value: str) -> str:
    """Puts a text on one line, without what steers a screen or has no UTF-8 form."""
    unseen = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+"
    return " ".join(re.sub(unseen, " ", value).split())


def text(value: str, most: int = 80) -> str:
    """Makes Markdown that shows a text as it is, cut in the middle where it is long."""
    value = plain(value)
    if len(value) > most:
        value = f"{value[: most // 2]}…{value[-(most // 2 - 1) :]}"
    # An underscore inside a word is no emphasis, and reads better bare.
    return re.sub(r"[\\`*\[\]<>|~&$#]|(?<!\w)_|_(?!\w)", r"\\\g<0>", value)


def code(value: str | None) -> str:
    """Makes text that may stand between backticks."""
    return plain(value or "").replace("`", "'")


def quoted(value: str) -> str:
    """Writes a string as Python does, in the usual double quotes where nothing speaks against them."""
    return f'"{value}"' if re.fullmatch(r"[\w./ -]*", value) else repr(value)


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {"text": text, "code": code, "quoted": quoted}
