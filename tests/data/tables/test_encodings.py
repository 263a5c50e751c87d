"""The advice names the encoding that the bytes have, and never ISO-8859-1 for curly quotes."""

import pytest

from hftune.data.tables.encodings import likely_encoding


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        ("a film – it’s “fine”", "cp1252", "WINDOWS-1252"),
        ("café, très agréable, ações", "latin-1", "ISO-8859-1"),
        ("Отличный фильм, мне понравилось", "cp1251", "WINDOWS-1251"),
        ("Отличный фильм, мне понравилось", "koi8-r", "KOI8-R"),
        ("Хорошо, но дорого", "koi8-r", "KOI8-R"),
        ("الفيلم ممتاز وأنصح به للجميع", "cp1256", "WINDOWS-1256"),
        ("خدمة سيئة جدا ولا أنصح بها", "cp1256", "WINDOWS-1256"),
        ("这部电影非常好看，推荐大家去看", "gb18030", "GB18030"),
        ("這部電影非常好看，推薦", "big5", "BIG5"),
        ("とても良い映画でした", "shift_jis", "SHIFT_JIS"),
        ("とても良い映画でした", "euc_jp", "EUC-JP"),
        ("정말 재미있는 영화였어요 다시 보고", "cp949", "EUC-KR"),
    ],
)
def test_encoding_is_guessed(text, encoding, name):
    likely, others = likely_encoding(f"text,label\n{text},1\n".encode(encoding))
    assert likely == name
    assert name not in others
    assert {"WINDOWS-1252", "GB18030"} <= {likely, *others}
