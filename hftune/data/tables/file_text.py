"""From the path that a user wrote to the bytes of a file, and from bytes to text."""

import difflib
import glob
import re
from pathlib import Path

from hftune.data.failed_download import failed_download
from hftune.data.tables.encodings import likely_encoding
from hftune.errors import BadInput, listed

_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst")
_WORKBOOKS = (".xls", ".xlsx", ".xlsm", ".xlsb", ".ods")
_BYTE_ORDER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",  # before UTF-16, whose mark it begins with
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def read_bytes(name: str, suffixes: tuple[str, ...]) -> bytes:
    """Reads a file whole.

    Args:
        name: Its path as the user wrote it; `~` is the home folder.
        suffixes: The endings, in lower case, that its name may have.

    Raises:
        BadInput: There is no such file, it cannot be read, or its name ends otherwise.
    """
    try:
        path = Path(name).expanduser()
        _refuse_what_is_no_file(name, path)
        suffix = path.suffix.lower()
        if suffix not in suffixes:
            hint = "; unpack it first" if suffix in _PACKED else ""
            hint = "; save the sheet as csv (UTF-8)" if suffix in _WORKBOOKS else hint
            raise BadInput(f"{name}: a data file's name must end with one of {', '.join(suffixes)}{hint}")
        if not path.exists():
            raise BadInput(f"{name} does not exist{_suggestion(path)}")
        before = path.stat()
        data = path.read_bytes()
        after = path.stat()
    except PermissionError:
        raise BadInput(f"{name}: no permission to read this file") from None
    except (OSError, ValueError, RuntimeError) as error:  # no such home folder; a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{name} cannot be read: {reason}") from None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(
        data
    ) != after.st_size:
        raise BadInput(f"{name} changed while it was read; wait until it is written, then start again")
    return data


def _refuse_what_is_no_file(name: str, path: Path) -> None:
    if re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE):
        on_hub = re.match(r"(?:https?://huggingface\.co/|hf://)datasets/([\w.-]+/[\w.-]+)", name)
        advice = f"pass --dataset_name {on_hub[1]}" if on_hub else "download it first, and pass the file"
        raise BadInput(f"{name} is a web address, not a file; {advice}")
    if path.is_dir():
        raise BadInput(f"{name} is a folder, not a file; pass a folder with --dataset_name")
    if path.exists():
        if not path.is_file():
            raise BadInput(f"{name} is a pipe or a device, not a file; write the rows to a file first")
        return
    if re.search(r"[*?]|\[.+\]", name):
        found = sorted(glob.glob(str(path)))
        matches = f"; it matches {listed(found)}" if found else ""
        raise BadInput(f"{name} names no file: a pattern is not expanded, pass one file{matches}")


def _suggestion(path: Path) -> str:
    neighbours = [neighbour.name for neighbour in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, neighbours, n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def refuse_other_contents(name: str, suffix: str, data: bytes) -> None:
    """Raises `BadInput` where the bytes are plainly not what the ending `suffix` says."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    if not head:
        raise BadInput(f"{name} is empty" if not data else f"{name} holds only blanks, no rows")
    if what := failed_download(head, "the data"):
        raise BadInput(f"{name} is {what}")
    if data.startswith(b"\x1f\x8b"):
        raise BadInput(f"{name} is compressed with gzip; unpack it first, then pass the file inside")
    if data.startswith(b"PK\x03\x04"):
        if b"[Content_Types].xml" in data[:4096] or b"xl/" in data[:4096]:
            raise BadInput(f"{name} is an Excel workbook, not text; save the sheet as csv (UTF-8)")
        raise BadInput(f"{name} is a zip archive or a workbook; pass the table inside it, saved as csv")
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise BadInput(f"{name} is an old Excel workbook (.xls), not text; save the sheet as csv (UTF-8)")
    if suffix == ".parquet":
        if not (len(data) >= 12 and data.startswith(b"PAR1") and data.endswith(b"PAR1")):
            state = "is cut off: its end is missing" if data.startswith(b"PAR1") else "is not a parquet file"
            raise BadInput(f"{name} {state} ({len(data):,} bytes); write or download it again")
    elif data.startswith(b"PAR1"):
        raise BadInput(f"{name} is a parquet file; rename it so that it ends with .parquet")


def decode_text(name: str, data: bytes) -> tuple[str, tuple[str, ...]]:
    """Decodes UTF-8, or what a byte order mark says.

    Args:
        name: The file, for messages.
        data: Its bytes.

    Returns:
        The text without byte order marks at the beginnings of lines (files joined with `cat` have them in
        the middle), and a note where it was not UTF-8.

    Raises:
        BadInput: The bytes are of another encoding; the message names the first such byte and advises.
    """
    marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), None)
    if marked:
        try:
            text = data.decode(marked)
        except UnicodeDecodeError as error:
            raise BadInput(
                f"{name} is damaged {marked}: byte {error.start + 1:,} cannot be decoded"
            ) from None
    elif data[:200].count(0) > len(data[:200]) // 4:
        raise BadInput(
            f"{name} is UTF-16 without a byte order mark; save it as UTF-8, for example: "
            f"iconv -f UTF-16LE -t UTF-8 OLD > NEW"
        )
    else:
        zero = data.find(b"\0")
        if zero >= 0:
            line, byte = _line_and_byte(data, zero)
            raise BadInput(f"{name} line {line}, byte {byte} is a NUL byte; the file is damaged or binary")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(name, data, error.start) from None
    if "\ufeff" in text:
        text = re.sub("(^|[\r\n])\ufeff+", r"\1", text)
    return text, (f"read as {marked}",) if marked else ()


def _not_utf8(name: str, data: bytes, position: int) -> BadInput:
    line, byte = _line_and_byte(data, position)
    where = f"{name} line {line}, byte {byte} (0x{data[position]:02X}) is not UTF-8"
    lossy = data.decode("utf-8", errors="replace")
    bad = lossy.count("\ufffd")
    if sum(letter > "\x7f" for letter in lossy) > 3 * bad:
        return BadInput(
            f"{where}, but the rest of the file mostly is; write that text again ({bad:,} such places)"
        )
    likely, others = likely_encoding(data)
    return BadInput(
        f"{where}; convert the file, which looks like {likely} (else try {', '.join(others)}): "
        f"iconv -f {likely} -t UTF-8 OLD > NEW"
    )


def _line_and_byte(data: bytes, position: int) -> tuple[int, int]:
    """Returns the line and the byte within it (both 1-based) of an offset."""
    ends = re.findall(rb"\r\n|\r|\n", data[:position])
    start = max(data.rfind(b"\n", 0, position), data.rfind(b"\r", 0, position)) + 1
    return len(ends) + 1, position - start + 1
