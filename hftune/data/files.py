"""Lists the files of a user's folder, without hidden ones and what systems leave behind."""

import errno
import os
import stat

from hftune.errors import BadInput, printable

IMAGE_SUFFIXES = (  # of files that are taken for images, wherever a folder is looked through
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
    *(".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc", ".mpo", ".ico"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga"),
)

_OF_SYSTEMS = {  # what systems and programs leave behind, besides names that begin with a dot
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r", "__macosx", "__pycache__"),
    *("@eadir", "@tmp", "@__thumb", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "_gsdata_"),
    *("lost+found", "$recycle.bin", "recycler", "system volume information"),
}


def list_files(name: str, *, below: bool = True) -> list[str]:
    """Lists the files of a folder and of those below it, in the same order on every file system.

    Links are followed. Hidden files and those that systems leave behind (Thumbs.db, @eaDir) are not
    looked at, at any depth.

    Args:
        name: The folder as the user wrote it; `~` is the home folder.
        below: Look into the folders in it, too.

    Returns:
        Paths from the folder on, ordered name by name.

    Raises:
        BadInput: A folder cannot be read, or a link leads nowhere or in a circle.
    """
    root = os.path.expanduser(name)
    found: list[str] = []
    waiting: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", ())]  # folders, and what they lie in
    while waiting:
        folder, above = waiting.pop()
        path, shown = os.path.join(root, folder), os.path.join(name, folder) if folder else name
        status = os.stat(path)
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            raise BadInput(f"{printable(shown)} is a link to a folder that it lies in; remove it")
        for entry in _entries(path, shown):
            inside = os.path.join(folder, entry.name)
            if not _is_folder(entry, os.path.join(name, inside)):
                found.append(inside)
            elif below:
                waiting.append((inside, (*above, identity)))
    return sorted(found, key=lambda path: path.split(os.sep))


def list_folders(name: str) -> list[str]:
    """Lists the names of the folders that lie in a folder, in order, as `list_files` sees them."""
    entries = _entries(os.path.expanduser(name), name)
    return [entry.name for entry in entries if _is_folder(entry, os.path.join(name, entry.name))]


def is_hidden(name: str) -> bool:
    """Tells whether a file or folder of this name is the system's or hidden, and not looked at."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS


def _entries(folder: str, shown: str) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not is_hidden(e.name)), key=lambda e: e.name)
    except PermissionError:
        raise BadInput(f"{printable(shown)}: no permission to read this folder") from None


def _is_folder(entry: os.DirEntry, shown: str) -> bool:
    if not entry.is_symlink():
        return entry.is_dir()
    try:
        return stat.S_ISDIR(os.stat(entry.path).st_mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise BadInput(f"{printable(shown)} is a link that leads back to itself; remove it") from None
        if entry.name.lower().endswith(IMAGE_SUFFIXES):
            return False  # the check of the images says what is wrong with it
        raise BadInput(f"{printable(shown)} is a broken link ({error.strerror}); fix or remove it") from None
