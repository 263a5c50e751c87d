"""Writes a trained model as ONNX, and compares it with PyTorch on real rows.

    hftune export runs/imdb
    hftune export runs/hotdog --output hotdog-onnx
    hftune export OWNER/NAME --test_file reviews.csv

RUN is a run directory, a folder or a Hub id. model.onnx takes any number of rows and, of texts, any length;
the tokenizer or image processor and config.json (class names: id2label) are written beside it. With
onnxruntime and tokenizers alone, without PyTorch:

    import onnxruntime, tokenizers
    ids = tokenizers.Tokenizer.from_file("runs/imdb/onnx/tokenizer.json").encode("What a film!").ids
    inputs = {"input_ids": [ids], "attention_mask": [[1] * len(ids)]}
    print(onnxruntime.InferenceSession("runs/imdb/onnx/model.onnx").run(None, inputs))

Both are asked about 64 rows, in batches of 1 to 32: test rows of the run's own data, else rows of
--test_file or --test_dir; fewer are repeated. If two probabilities differ by more than 0.0001, it is an error
and nothing is written. Then sizes and speeds are shown. Needs: pip install 'hftune[export]'

  --output FOLDER          where to write (RUN/onnx; for a Hub id NAME-onnx); must not hold anything yet
  --test_file FILE         texts to compare on: csv, tsv, jsonl or parquet
  --text_column_name NAME  its column of texts (else found by its usual names)
  --test_dir FOLDER        pictures to compare on, in folders of any depth
  --revision NAME          branch, tag or commit of a Hub id
  --trust_remote_code      run the model's own code if it brings some
"""

import os
import shutil
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hftune.cli.arguments import read_words
from hftune.cli.models import FLAGS, open_model
from hftune.errors import BadInput
from hftune.storage.files import nearest_existing

if TYPE_CHECKING:
    from hftune.data.dataset import Rows
    from hftune.inference.load import Saved

KINDS = {
    **FLAGS,
    "output": str,
    "test_file": str,
    "text_column_name": str,
    "test_dir": str,
}


def run(words: list[str]) -> None:
    """Writes the folder and prints the comparison.

    Args:
        words: The model, and the flags of `KINDS`.

    Raises:
        BadInput: The model, the rows or the folder cannot be used, or a package is missing.
        HftuneError: ONNX Runtime answers otherwise than PyTorch.
    """
    positional, options = read_words(words, KINDS)
    if len(positional) != 1:
        raise BadInput("hftune export needs one model: hftune export RUN")
    name = positional[0]
    if "text_column_name" in options and "test_file" not in options:
        raise BadInput("--text_column_name needs --test_file")
    target = _target(name, options.get("output"))
    saved = open_model(name, options, own_rows=not {"test_file", "test_dir"} & options.keys())
    from hftune.inference.onnx_export import table, write_onnx

    rows = _rows(saved, options)
    building = nearest_existing(target.absolute().parent) / f".tmp-{target.name}-{os.getpid()}"
    building.mkdir()
    try:
        comparison = write_onnx(saved, rows, building)
        target.parent.mkdir(parents=True, exist_ok=True)
        building.replace(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    print(table(comparison))
    print(f"wrote {target}")


def _target(name: str, output: str | None) -> Path:
    """Returns the folder to write, which is empty or not there yet."""
    given = Path(name)
    target = Path(os.path.expanduser(output)) if output else given / "onnx"
    if not output and not given.is_dir():
        target = Path(f"{name.rstrip('/').split('/')[-1]}-onnx")
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        flag = f"--output {output}" if output else str(target)
        raise BadInput(f"{flag}: is there already; remove it or pass another with --output FOLDER")
    place = nearest_existing(target.absolute().parent)
    if not os.access(place, os.W_OK | os.X_OK) or not place.is_dir():
        raise BadInput(f"{target}: {place} cannot be written to; pass another with --output FOLDER")
    return target


def _rows(saved: "Saved", options: dict[str, Any]) -> "Rows":
    """Returns the rows to compare on; for texts also an empty one, and one that has to be cut."""
    from hftune.inference.onnx_export import LONGEST, ROWS
    from hftune.inference.predict import picture_rows, text_rows

    texts = saved.task == "text-classification"
    for flag in ("test_dir",) if texts else ("test_file", "text_column_name"):
        if flag in options:
            kind, other = ("texts", "--test_file FILE") if texts else ("pictures", "--test_dir FOLDER")
            raise BadInput(f"--{flag} {options[flag]}: {saved.name} reads {kind}; pass {other}")
    if not texts:
        return picture_rows(saved, _contents(saved, options, "test_dir", ROWS))
    found = _contents(saved, options, "test_file", ROWS)
    words = cycle(" ".join(found).split() or [""])
    return text_rows(saved, [*found, "", " ".join(islice(words, min(saved.max_length, LONGEST)))])


def _contents(saved: "Saved", options: dict[str, Any], flag: str, count: int) -> list[Any]:
    """Returns texts or pictures, of the flag's place if it was given, else of the run's own data.

    Raises:
        BadInput: They cannot be had, or there is none.
    """
    from hftune.inference.inputs import read_pictures, read_texts
    from hftune.inference.run_rows import contents_of_run, spread

    place = options.get(flag)
    if place is not None:
        if flag == "test_file":
            texts = read_texts([place], options.get("text_column_name")).texts
            found = spread([text for text in texts if text is not None], count)
        else:
            found = spread(read_pictures([place], skip_bad=None, background=saved.background).pictures, count)
        origin = f"--{flag} {place}"
    else:
        other = f"pass --{flag} {'FILE' if flag == 'test_file' else 'FOLDER'}"
        try:
            found = contents_of_run(saved, count)
        except BadInput as error:
            reason = error.message.partition("; ")[0]  # what follows is advice for training
            raise BadInput(f"{saved.name}: no rows to compare on ({reason}); {other}") from None
        origin = f"the data of {saved.name}"
    if not found:
        raise BadInput(f"{origin}: no rows to compare the models on")
    if len(found) < count:
        print(f"{origin}: {len(found)} rows, repeated up to {count} to compare the models on")
    return list(islice(cycle(found), count))
