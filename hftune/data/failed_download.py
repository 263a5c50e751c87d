"""What stands in a file where a download has brought something else than the data."""

import re

_KINDS = {
    rb"\s*<(!doctype html|html)": "an HTML page, not {noun}: probably an error page; download it again",
    rb"version https://git-lfs": "a Git LFS pointer, not {noun}; fetch it with: git lfs pull",
}


def failed_download(head: bytes, noun: str) -> str | None:
    """Returns what a file is by its first bytes, and what to do; None where it may hold the data.

    Args:
        head: The first bytes.
        noun: What the file should be: "an image".
    """
    kinds = (what for pattern, what in _KINDS.items() if re.match(pattern, head, re.IGNORECASE))
    return next((what.format(noun=noun) for what in kinds), None)
