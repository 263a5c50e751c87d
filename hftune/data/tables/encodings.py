"""Which encoding bytes probably have that are not UTF-8: advice for a message, never a way of reading."""

import re
from typing import NamedTuple

# Bytes 0x80 to 0x9F are curly quotes and dashes in Windows-1252, and control characters in ISO-8859-1, which
# decodes them, as it decodes anything, without an error.
USUAL = ("WINDOWS-1252", "ISO-8859-1", "WINDOWS-1251", "GB18030", "SHIFT_JIS")


class _Script(NamedTuple):
    """An encoding of words of other letters.

    Args:
        name: As iconv has it.
        codec: As Python has it.
        letters: A regular expression of one.
        share: Of all signs beyond ASCII in a text, so many are such letters at least.
        width: Bytes beyond ASCII in each such sign, at least.
    """

    name: str
    codec: str
    letters: str
    share: float
    width: int


_SCRIPTS = [  # each decodes some texts of those below it as well, to other signs
    _Script("SHIFT_JIS", "cp932", "[\u3040-\u30ff]", 0.25, 1),  # kana
    _Script("EUC-JP", "euc_jp", "[\u3040-\u30ff]", 0.25, 2),
    _Script("KOI8-R", "koi8_r", "[\u0430-\u044f]", 0.75, 1),  # small letters, capitals in other encodings
    _Script("WINDOWS-1256", "cp1256", "[\u0600-\u06ff]", 0.9, 1),
    _Script("WINDOWS-1251", "cp1251", "[\u0430-\u044f]", 0.6, 1),
    _Script("EUC-KR", "cp949", "[\uac00-\ud7a3]", 0.95, 2),
    _Script("GB18030", "gb18030", "[\u3000-\uffef]", 0.95, 2),
    _Script("BIG5", "big5", "[\u3000-\uffef]", 0.95, 1),
]


def likely_encoding(data: bytes) -> tuple[str, tuple[str, ...]]:
    """Guesses the encoding of text that is not UTF-8.

    Args:
        data: The bytes.

    Returns:
        The encoding's name, as iconv has it, and the other usual ones.
    """
    western = "WINDOWS-1252" if re.search(rb"[\x80-\x9f]", data) else "ISO-8859-1"
    likely = next((script.name for script in _SCRIPTS if _is_of(data, script)), western)
    return likely, tuple(name for name in USUAL if name != likely)


def _is_of(data: bytes, script: _Script) -> bool:
    """Returns whether a codec finds words of its letters; in western languages high bytes stand alone."""
    try:
        signs = re.findall("[^\0-\x7f]+", data.decode(script.codec))
    except UnicodeDecodeError:
        return False
    count, found = sum(map(len, signs)), sum(map(len, re.findall(script.letters, "".join(signs))))
    dense = sum(byte > 0x7F for byte in data) >= script.width * count and count > 2 * len(signs)
    return dense and found > script.share * count
