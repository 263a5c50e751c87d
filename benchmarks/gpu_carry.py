"""What `gpu.py` needs on a machine without network, packed into one folder of less than 60 MB, and unpacked.

    python benchmarks/gpu_carry.py                          # into runs/carry
    HF_ENDPOINT=http://mirror python benchmarks/gpu_carry.py FOLDER

It holds all of CIFAR-10, some reviews of IMDb, MiniLM, and wheels of what a machine with torch,
transformers, scikit-learn and timm may lack. Lossless, with one exception: vectors of word pieces that occur
in none of the reviews are zeros, so the model answers these reviews, and no others, as the whole one does.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 60_000_000  # bytes
REVIEWS = {"train": 4000, "test": 1000}  # of 25,000 each
COPIES = 5  # of each training review when it is unpacked, so that an epoch of the small models lasts
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64")
HERE = (  # in the version that is installed here
    *("datasets", "dill", "multiprocess", "evaluate", "albumentations", "albucore", "simsimd"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_inspection"),
)
OLDER = ("stringzilla==3.12.6",)  # the least that albucore takes is a tenth of the newest's size


def main() -> None:
    """Fetches all by its Hub id, packs it and prints how large it is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "runs/carry")
    parser.add_argument("--python", default="3.12", help="version on that machine (default: 3.12)")
    options = parser.parse_args()
    folder = options.folder
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"error: {folder} is not empty; name another folder, or remove it")
    from datasets import load_dataset
    from huggingface_hub import snapshot_download

    reviews = {
        split: load_dataset("stanfordnlp/imdb", split=split).shuffle(seed=0).select(range(rows))
        for split, rows in REVIEWS.items()
    }
    images = {split: load_dataset("uoft-cs/cifar10", split=split) for split in ("train", "test")}
    pack(reviews, images, Path(snapshot_download(MODEL)), folder)
    download_wheels(folder / "wheels", options.python)
    sizes = {part.name: size(part) for part in sorted(folder.iterdir())}
    for name, count in [*sizes.items(), ("together", sum(sizes.values()))]:
        print(f"{name:12} {count / 1e6:6.2f} MB")
    if sum(sizes.values()) > LIMIT:
        raise SystemExit(f"error: more than {LIMIT / 1e6:.0f} MB; lower REVIEWS")


def pack(reviews: dict[str, Any], images: dict[str, Any], model: Path, folder: Path) -> None:
    """Writes data sets by split, and a BERT whose weights are float16, into a folder."""
    import pyarrow.parquet as pq

    for name, splits in {"imdb": reviews, "cifar10": images}.items():
        (folder / name).mkdir(parents=True)
        for split, rows in splits.items():
            table = rows.with_format("arrow")[:].replace_schema_metadata(rows.features.arrow_schema.metadata)
            path = folder / name / f"{split}.parquet"
            pq.write_table(table, path, compression="zstd", compression_level=19)
    texts = [text for rows in reviews.values() for text in rows["text"]]
    pack_model(model, texts, folder / "minilm")
    cut = {split: len(rows) for split, rows in reviews.items()}
    (folder / "carry.json").write_text(json.dumps({"reviews": cut, "copies": COPIES}) + "\n")


def pack_model(source: Path, texts: Iterable[str], folder: Path) -> None:
    """Writes a model's files, its weights compressed.

    The bytes of float16 compress when those with the exponents lie together, and zeros vanish.
    """
    import numpy as np
    from safetensors.numpy import load_file
    from transformers import AutoTokenizer

    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.md", ".*"))
    weights = load_file(source / "model.safetensors")
    (vectors,) = (name for name in weights if name.endswith("word_embeddings.weight"))
    tokenizer = AutoTokenizer.from_pretrained(str(source))
    used = np.zeros(len(weights[vectors]), dtype=bool)
    used[tokenizer.all_special_ids] = True
    used[[number for ids in tokenizer(list(texts))["input_ids"] for number in ids]] = True
    weights[vectors] = np.where(used[:, None], weights[vectors], np.float16(0))
    planes = {name: in_planes(values) for name, values in weights.items() if values.dtype == np.float16}
    np.savez_compressed(folder / "float16.npz", **planes)


def unpack(carry: Path, folder: Path) -> None:
    """Writes data and model where `load_dataset` and `from_pretrained` find them, if they are not there."""
    if folder.exists():
        return
    import numpy as np
    from datasets import Dataset, concatenate_datasets
    from safetensors.numpy import save_file

    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(carry / "cifar10", new / "cifar10")
    shutil.copytree(carry / "minilm", new / "minilm", ignore=shutil.ignore_patterns("*.npz"))
    with np.load(carry / "minilm/float16.npz", allow_pickle=False) as planes:
        weights = {name: from_planes(planes[name]) for name in planes}
    save_file(weights, new / "minilm/model.safetensors", metadata={"format": "pt"})
    (new / "imdb").mkdir()
    for split, copies in {"train": COPIES, "test": 1}.items():
        rows = Dataset.from_parquet(str(carry / f"imdb/{split}.parquet"))
        concatenate_datasets([rows] * copies).to_parquet(new / f"imdb/{split}.parquet")
    new.rename(folder)


def in_planes(values: Any) -> Any:
    """Returns the low and the high bytes of float16 values (...), uint8 (2, ...)."""
    import numpy as np

    pairs = values.view(np.uint8).reshape(*values.shape, 2)
    return np.ascontiguousarray(np.moveaxis(pairs, -1, 0))


def from_planes(planes: Any) -> Any:
    """Undoes `in_planes`."""
    import numpy as np

    return np.ascontiguousarray(np.moveaxis(planes, 0, -1)).view(np.float16)[..., 0]


def download_wheels(folder: Path, python: str) -> None:
    """Downloads the wheels of a machine with x86-64, Linux and a version of Python."""
    words = ["--quiet", "--no-deps", "--only-binary=:all:", "--implementation=cp"]
    words += [f"--python-version={python}", *(f"--platform={name}" for name in PLATFORMS), f"--dest={folder}"]
    named = [f"{name}=={metadata.version(name)}" for name in HERE]
    subprocess.run([sys.executable, "-m", "pip", "download", *words, *named, *OLDER], check=True)


def size(path: Path) -> int:
    """Returns the bytes of a file, or of a folder's files."""
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


if __name__ == "__main__":
    main()
