"""Which encoding bytes probably have that are not UTF-8: advice for a message, never a way of reading."""

import re
from collections.abc import Callable

# Bytes 0x80 to 0x9F are curly quotes and dashes in Windows-1252, and control characters in ISO-8859-1, which
# decodes them, as it decodes anything, without an error.
USUAL = ("WINDOWS-1252", "ISO-8859-1", "WINDOWS-1251", "GB18030", "SHIFT_JIS")


def likely_encoding(data: bytes) -> tuple[str, tuple[str, ...]]:
    """Guesses the encoding of text that is not UTF-8.

    Languages of other scripts have words of high bytes throughout, and each encoding of them has bytes of its
    own; in western languages high bytes stand alone.

    Args:
        data: The bytes.

    Returns:
        The encoding's name, as iconv has it, and the other usual ones.
    """
    runs = re.findall(rb"[\x80-\xff]+", data)
    high = b"".join(runs)
    likely = next((name for name, fits in _DENSE.items() if fits(data, runs, high)), None)
    if likely is None:
        likely = "WINDOWS-1252" if re.search(rb"[\x80-\x9f]", data) else "ISO-8859-1"
    return likely, tuple(name for name in USUAL if name != likely)


def _share(data: bytes, encoding: str, first: str, last: str) -> float:
    """Returns which share of the signs beyond ASCII lie between two, 0 where the bytes do not decode."""
    try:
        signs = [sign for sign in data.decode(encoding) if sign > "\x7f"]
    except UnicodeDecodeError:
        return 0.0
    return sum(first <= sign <= last for sign in signs) / max(1, len(signs))


def _is_cyrillic(runs: list[bytes], high: bytes, small: tuple[int, int]) -> bool:
    """Tells words of Cyrillic letters, most of which are `small` (their first and last byte)."""
    letters = sum(byte >= 0xC0 for byte in high)
    return (
        len(high) >= 2.5 * len(runs)
        and letters >= 0.9 * len(high)
        and sum(small[0] <= byte <= small[1] for byte in high) > 0.6 * letters
    )


def _is_arabic(data: bytes, runs: list[bytes]) -> bool:
    """Tells words of Arabic letters: every third of them is alef, lam or yeh, and many begin with alef."""
    text = b"".join(runs).decode("cp1256")
    usual = sum(text.count(letter) for letter in "\u0627\u0644\u064a")
    return len(text) >= 2.5 * len(runs) and usual > 0.25 * len(text) and b"\xc7\xe1" in data


def _are_pairs(runs: list[bytes]) -> bool:
    return all(len(run) % 2 == 0 for run in runs)


def _is_korean(data: bytes, runs: list[bytes]) -> bool:
    leads = b"".join(run[::2] for run in runs)
    hangul = sum(0xB0 <= byte <= 0xC8 for byte in leads)
    return len(leads) >= 10 and _are_pairs(runs) and hangul > 0.95 * len(leads)


def _is_chinese(data: bytes, runs: list[bytes], encoding: str, dense: float) -> bool:
    return len(b"".join(runs)) >= dense * len(runs) and _share(data, encoding, "\u3000", "\uffef") > 0.95


_DENSE: dict[str, Callable[[bytes, list[bytes], bytes], bool]] = {
    "SHIFT_JIS": lambda data, runs, high: _share(data, "cp932", "\u3040", "\u30ff") > 0.25,
    "EUC-JP": lambda data, runs, high: _share(data, "euc_jp", "\u3040", "\u30ff") > 0.25,
    "WINDOWS-1256": lambda data, runs, high: _is_arabic(data, runs),
    "WINDOWS-1251": lambda data, runs, high: _is_cyrillic(runs, high, (0xE0, 0xFF)),
    "KOI8-R": lambda data, runs, high: _is_cyrillic(runs, high, (0xC0, 0xDF)),
    "EUC-KR": lambda data, runs, high: _is_korean(data, runs),
    "GB18030": lambda data, runs, high: _are_pairs(runs) and _is_chinese(data, runs, "gb18030", 3),
    "BIG5": lambda data, runs, high: _is_chinese(data, runs, "big5", 1.8),
}
