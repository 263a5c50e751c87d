"""How names of classes and places in a user's data are written into a plot."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from matplotlib import font_manager

# matplotlib's own font has Latin, Greek, Cyrillic, Arabic and more; these have the rest, where installed.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
)


def name_style(size: float) -> dict[str, Any]:
    """Returns how names are written: in fonts that have their characters, and `$` is a dollar."""
    return {"fontsize": size, "fontfamily": [name for name, _ in fonts()], "parse_math": False}


@cache
def fonts() -> tuple[tuple[str, Any], ...]:
    """Returns the installed fonts by name: those of `FONTS` in that order, then Noto's of other scripts."""
    installed = set(font_manager.get_font_names())
    others = sorted(name for name in installed - {*FONTS} if name.startswith("Noto Sans "))
    return tuple(
        (name, font_manager.get_font(font_manager.findfont(name)))
        for name in (*FONTS, *others)
        if name in installed
    )


def drawable(text: str) -> str:
    """Returns a text with codes such as <U+732B> for the characters that no installed font has."""

    def known(letter: str) -> bool:
        return letter.isspace() or any(font.get_char_index(ord(letter)) for _, font in fonts())

    return "".join(letter if known(letter) else f"<U+{ord(letter):04X}>" for letter in text)


def class_names(names: Sequence[str]) -> list[str]:
    """Returns the names, with those that no installed font can write as `class N`, N their number."""
    return [drawable_or(name, f"class {number}") for number, name in enumerate(names)]


def drawable_or(text: str, otherwise: str) -> str:
    """Returns a text, or another where no installed font has all of its characters."""
    return text if drawable(text) == text else otherwise


def end_of(place: str, most: int = 36) -> str:
    """Cuts a long place at its start: what tells it from others is its file and line."""
    return place if len(place) <= most else f"…{place[1 - most :]}"


def shortened(name: str, most: int = 24) -> str:
    """Cuts the middle out of a long name: both ends may tell it from others."""
    name = " ".join(name.split())
    keep = most - 1
    return name if len(name) <= most else f"{name[: keep - keep // 3]}…{name[-(keep // 3) :]}"
