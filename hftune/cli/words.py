"""Splits a command's words into what it works on and its flags."""

from typing import Any

from hftune.flags import read_flags


def read_words(words: list[str], kinds: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Returns the words before the first flag, and the flags by name.

    Args:
        words: What stands behind the command's name.
        kinds: The type of each flag that the command knows.

    Raises:
        BadInput: A flag is unknown, repeated, without a value or mistyped.
    """
    first = next((place for place, word in enumerate(words) if word.startswith("--")), len(words))
    return words[:first], read_flags(words[first:], kinds)
