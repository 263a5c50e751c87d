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
  --text_column_name NAME  its column of texts (else found by its usual names); also --text_pair_column_name
  --test_dir FOLDER        images to compare on, in folders of any depth
  --revision NAME          branch, tag or commit of a Hub id
  --trust_remote_code      run the model's own code if it brings some
"""

import os
import shutil
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hftune.cli.arguments import parse_args
from hftune.cli.models import MODEL_FLAGS, open_model
from hftune.errors import BadInput
from hftune.storage.files import can_write_in, nearest_existing

if TYPE_CHECKING:
    from hftune.data.dataset import Rows
    from hftune.inference.load import LoadedModel

FLAGS = {
    **MODEL_FLAGS,
    "output": str,
    "test_file": str,
    "text_column_name": str,
    "text_pair_column_name": str,
    "test_dir": str,
}
TEXT_COLUMNS = ("text_column_name", "text_pair_column_name")
TEST_FLAGS = {  # by what a model reads: where rows to compare on may be, and the flags of other models
    "text": ("test_file", "FILE", ("test_dir",)),
    "image": ("test_dir", "FOLDER", ("test_file", *TEXT_COLUMNS)),
}


def main(argv: list[str]) -> None:
    """Writes the folder and prints the comparison.

    Args:
        argv: The model, and the flags of `FLAGS`.

    Raises:
        BadInput: The model, the rows or the folder cannot be used, or a package is missing.
        HftuneError: ONNX Runtime answers otherwise than PyTorch.
    """
    positional, options = parse_args(argv, FLAGS)
    if len(positional) != 1:
        raise BadInput("hftune export needs one model: hftune export RUN")
    name = positional[0]
    for flag in TEXT_COLUMNS:
        if flag in options and "test_file" not in options:
            raise BadInput(f"--{flag} needs --test_file")
    target = _target(name, options.get("output"))
    loaded = open_model(name, options, own_rows=not {"test_file", "test_dir"} & options.keys())
    from hftune.inference.onnx_export import table, write_onnx

    rows = _rows(loaded, options)
    building = nearest_existing(target.absolute().parent) / f".tmp-{target.name}-{os.getpid()}"
    building.mkdir()
    try:
        comparison = write_onnx(loaded, rows, building)
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
    if not can_write_in(target.absolute().parent):
        place = nearest_existing(target.absolute().parent)
        raise BadInput(f"{target}: {place} cannot be written to; pass another with --output FOLDER")
    return target


def _rows(loaded: "LoadedModel", options: dict[str, Any]) -> "Rows":
    """Returns the rows to compare on, and those on which two forms of a model may well differ."""
    from hftune.inference.onnx_export import ROWS

    flag, form, others = TEST_FLAGS[loaded.inputs.modality]
    for other in others:
        if other in options:
            reads = f"{loaded.name} reads {loaded.inputs.plural}"
            raise BadInput(f"--{other} {options[other]}: {reads}; pass --{flag} {form}")
    values = _values(loaded, options, ROWS)
    return loaded.inputs.rows([*values, *loaded.inputs.edge_cases(values)])


def _values(loaded: "LoadedModel", options: dict[str, Any], count: int) -> list[Any]:
    """Returns texts or images, of the flag's place if it was given, else of the run's own data.

    Raises:
        BadInput: They cannot be found or read, or there is none.
    """
    from hftune.inference.rows import examples_of_run, spread

    flag, form, _ = TEST_FLAGS[loaded.inputs.modality]
    place = options.get(flag)
    if place is not None:
        contents = loaded.inputs.read(
            [place], {**options, "skip_bad_images": None}
        )  # None: no such flag here
        found, origin = spread(contents.values, count), f"--{flag} {place}"
    else:
        try:
            found, origin = examples_of_run(loaded, count), f"the data of {loaded.name}"
        except BadInput as error:
            reason = error.message.partition("; ")[0]  # what follows is advice for training
            message = f"{loaded.name}: no rows to compare on ({reason}); pass --{flag} {form}"
            raise BadInput(message) from None
    if not found:
        raise BadInput(f"{origin}: no rows to compare the models on")
    if len(found) < count:
        print(f"{origin}: {len(found)} rows, repeated up to {count} to compare the models on")
    return list(islice(cycle(found), count))
