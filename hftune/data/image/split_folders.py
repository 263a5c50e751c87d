"""Finds the splits of a local folder of images: which folders or lists in it are train, validation and test.

`datasets` is not asked: it lets words in any path, those of file names too, choose the split.
"""

import os
from pathlib import Path

from hftune.data.files import list_files, list_folders
from hftune.data.image.folders import check_folder, sort_files
from hftune.data.split_names import (
    UNCLEAR,
    find_splits,
    is_split_elsewhere,
    mentions_split,
    without_common_words,
)
from hftune.data.tables.folders import is_configured
from hftune.data.tables.read import SUFFIXES as TABLE_SUFFIXES
from hftune.errors import BadInput, listed, printable

_LISTS = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # beside images, as `datasets` has them
_SHARDS = (".parquet", ".arrow", ".tar")
_DATA = (*TABLE_SUFFIXES, *_SHARDS, ".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".lz4", ".txt", ".py")


def image_splits(name: str) -> tuple[dict[str, str], list[str]]:
    """Finds what holds each split of a local data set of images.

    A folder in it is a split by its own name (see `hftune.data.split_names`) if class folders or a
    metadata.csv lie in it. Without such folders it is a list beside its images, or class folders.

    Args:
        name: The data set's folder as the user wrote it.

    Returns:
        By split a folder of class folders, or a list of images; nothing where the set is of another
        kind, which `datasets` reads. And warnings about folders and lists that are not used.

    Raises:
        BadInput: A name means a split that its folder cannot be, or two are one split.
    """
    files = list_files(name)
    found = sort_files(files)
    images = [*found.images, *found.not_read]
    shards = [path for path in files if path.lower().endswith(_SHARDS)]
    if not images and not any(path.lower().endswith(_DATA) for path in files):
        raise BadInput(
            f"{name} holds no images and no other data; pass a folder with one folder of images per class"
        )
    if len(images) <= 10 * len(shards) or is_configured(Path(name).expanduser()):
        return {}, []  # the images are a preview at most, or it says itself how it is to be read
    _refuse_other_languages(name, list_folders(name))
    splits = _splits_among(list_folders(name))
    if any(_is_divided(os.path.join(name, folder)) for folder in _all(splits)):
        return _from_folders(name, splits, images)
    lists = [path for path in files if os.sep not in path and path.lower().endswith(TABLE_SUFFIXES)]
    if own := _list_in(name):
        if len(splits) > 1:
            raise BadInput(
                f"{own} is one list for the folders {listed(_all(splits))}; write one list into each, or add "
                "a column that names the split and pass it with --train_file"
            )
        return {"train": own}, []
    classes = {path.split(os.sep)[0] for path in images if os.sep in path}
    if lists and (splits or len(classes) < 2):
        return _from_lists(name, lists)
    return {"train": name}, []


def check_class_folders(name: str) -> list[str]:
    """Looks whether the folders in a folder to train on are classes: not splits, nor one around the classes.

    Args:
        name: The folder of which the user says that it holds class folders.

    Returns:
        Warnings about folders that may be meant otherwise.

    Raises:
        BadInput: They are no classes; names what to pass.
    """
    check_folder(name)
    folders = list_folders(name)
    inside = [list_folders(os.path.join(name, folder)) for folder in folders]
    if any(_has_images(os.path.join(name, folder), below=False) for folder in folders):
        inside = []  # images of a class lie in its folder itself
    if len(inside) == 1 and inside[0]:
        inner = os.path.join(name, folders[0])
        raise BadInput(
            f"{name} holds one folder, {printable(folders[0])}, around the others ({listed(inside[0])}); "
            f"pass {printable(inner)}"
        )
    _refuse_other_languages(name, folders)
    splits = _splits_among(folders)
    _refuse_splits(name, folders, splits)
    warnings = [
        f"{printable(os.path.join(name, folder))} is taken as a class, although its name can mean a split"
        for folder in [*_all(splits), *_divided_mentions(name, folders)]
    ]
    if len(inside) > 1 and len(inside[0]) > 1 and all(others == inside[0] for others in inside):
        if all(map(mentions_split, without_common_words(folders))):
            raise BadInput(
                f"{name} holds splits by the names of its folders ({listed(folders)}), but not which; pass "
                "each with --train_dir, --validation_dir and --test_dir"
            )
        warnings.append(
            f"{name}: {listed(folders)} are taken as classes, but the same folders ({listed(inside[0])}) lie "
            "in each; if they are splits, pass them with --train_dir, --validation_dir and --test_dir"
        )
    return warnings


def _splits_among(folders: list[str]) -> dict[str, list[str]]:
    """Returns the folders by split; words that all names share do not count where the rest are splits."""
    splits = find_splits(folders)
    if splits:
        return splits
    whole = dict(zip(without_common_words(folders), folders, strict=True))
    splits = {split: [whole[name] for name in names] for split, names in find_splits(whole).items()}
    return splits if len(splits) > 1 and "train" in splits else {}


def _divided_mentions(name: str, folders: list[str]) -> list[str]:
    """Returns folders of class folders whose names hold words of splits beside others, if several do."""
    mentions = [folder for folder in folders if mentions_split(folder) and not find_splits([folder])]
    found = [folder for folder in mentions if _is_divided(os.path.join(name, folder))]
    return found if len(found) > 1 else []


def _refuse_other_languages(name: str, folders: list[str]) -> None:
    """Raises `BadInput` for folders of class folders whose names mean a split in another language."""
    named = [folder for folder in folders if is_split_elsewhere(folder)]
    paths = {folder: os.path.join(name, folder) for folder in named}
    splits = [
        folder for folder, path in paths.items() if _is_divided(path) and not _has_images(path, below=False)
    ]
    if splits:
        raise BadInput(
            f"{name} holds splits by the names of its folders ({listed(splits)}), which are not in "
            "English; say which is which with --train_dir, --validation_dir and --test_dir"
        )


def _refuse_splits(name: str, folders: list[str], splits: dict[str, list[str]]) -> None:
    divided = [folder for folder in _all(splits) if _is_divided(os.path.join(name, folder))]
    if divided:
        first = next((folder for folder in splits.get("train", []) if folder in divided), divided[0])
        raise BadInput(
            f"{name} holds splits ({listed(divided)}), not classes; pass it with --dataset_name, or one of "
            f"them, such as {printable(os.path.join(name, first))}"
        )
    if splits and (len(splits) > 1 or len(_all(splits)) == len(folders)):
        first = printable(os.path.join(name, splits.get("train", _all(splits))[0]))
        raise BadInput(
            f"{name} holds splits ({listed(_all(splits))}), not classes, and the images in {first} lie in no "
            "class folders; put them into one folder per class, or pass a list of them with --train_file"
        )
    for split, named in splits.items():
        for folder in named:  # among classes "train" can be a vehicle, and "valid" the opposite of "invalid"
            others = [other.casefold() for other in folders if other != folder]
            if split != "train" and not any(folder.casefold() in other for other in others):
                raise BadInput(
                    f"{printable(os.path.join(name, folder))} is a split by its name, but lies among classes "
                    f"({listed(other for other in folders if other != folder)}); move it out, or rename it "
                    "if it is a class"
                )


def _from_folders(
    name: str, splits: dict[str, list[str]], images: list[str]
) -> tuple[dict[str, str], list[str]]:
    """Returns what holds each split where folders are the splits, and warnings about all others."""
    taken: dict[str, str] = {}
    warnings = []
    for split, folders in splits.items():
        for folder in folders:
            path = os.path.join(name, folder)
            count = sum(image.startswith(folder + os.sep) for image in images)
            if not count:
                warnings.append(f"{printable(path)} holds no images and is not used")
                continue
            if split == UNCLEAR:
                raise BadInput(
                    f"{printable(path)}: its name means several splits; rename it to train, validation or "
                    "test, or move it out"
                )
            if not _is_divided(path):
                without = f"{printable(path)} holds {_count(count)} but no class folders"
                if split != "test":
                    raise BadInput(f"{without}, so they have no classes; put them into one folder per class")
                warnings.append(f"{without}, so it is not scored (hftune predict answers them)")
                continue
            if split in taken:
                raise BadInput(f"{taken[split]} and {path} are both the {split} split; remove one")
            taken[split] = _list_in(path) or path
    unused = [folder for folder in list_folders(name) if folder not in _all(splits)]
    if unused:
        warnings.append(f"{name}: folders not used, as their names mean no split: {listed(unused)}")
    loose = [image for image in images if os.sep not in image]
    if loose:
        warnings.append(
            f"{name}: {_count(len(loose))} not used, in no folder (the first: {listed(loose[:1])})"
        )
    return taken, warnings


def _from_lists(name: str, lists: list[str]) -> tuple[dict[str, str], list[str]]:
    """Returns the list of each split where lists stand beside the images, and a warning about others."""
    if len(lists) == 1:
        return {"train": os.path.join(name, lists[0])}, []
    stems = {os.path.splitext(path)[0]: path for path in lists}
    splits = find_splits(stems)
    several = next((named for named in splits.values() if len(named) > 1), None)
    if several or UNCLEAR in splits or "train" not in splits:
        raise BadInput(
            f"{name} holds the lists {listed(lists)}; say which is which with --train_file, "
            "--validation_file and --test_file"
        )
    taken = {split: os.path.join(name, stems[named[0]]) for split, named in splits.items()}
    unused = [path for path in lists if os.path.join(name, path) not in taken.values()]
    return taken, [f"{name}: lists not used: {listed(unused)}"] if unused else []


def _is_divided(folder: str) -> bool:
    """Tells whether a folder can be a split: class folders with images, or a list of images lie in it."""
    if _list_in(folder):
        return True
    return any(_has_images(os.path.join(folder, below)) for below in list_folders(folder))


def _has_images(folder: str, below: bool = True) -> bool:
    found = sort_files(list_files(folder, below=below))
    return bool(found.images or found.not_read)


def _list_in(folder: str) -> str | None:
    paths = (os.path.join(folder, name) for name in _LISTS)
    return next((path for path in paths if os.path.isfile(os.path.expanduser(path))), None)


def _all(splits: dict[str, list[str]]) -> list[str]:
    return [folder for named in splits.values() for folder in named]


def _count(images: int) -> str:
    return f"{images:,} image{'s' if images > 1 else ''}"
