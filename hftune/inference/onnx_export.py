"""Writes a saved model as ONNX that answers as PyTorch does: both are asked about the same rows.

Shapes: B rows, L tokens, E inputs and H states of an LSTM, S x S pixels, C labels.
"""

import copy
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hftune.data.dataset import Rows
from hftune.errors import BadInput, HftuneError, first_line
from hftune.inference.load import Saved
from hftune.inference.predict import collator
from hftune.models.standalone.bag import BagForSequenceClassification
from hftune.storage.files import read_json, write_json

LARGEST_DIFFERENCE = 1e-4  # between two probabilities: float32 kernels differ by about 1e-6
BATCHES = (1, 2, 3, 5, 8, 13, 32)  # rows of the batches that both are asked about
ROWS = sum(BATCHES)
ROUNDS = 3  # how often all rows are timed
LONGEST = 4096  # words of the longest text that is compared
PROTOBUF_LIMIT = 1 << 31  # bytes of one file; the weights of larger models are written beside it

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Comparison:
    """What PyTorch and ONNX Runtime made of the same rows; each pair is (PyTorch, ONNX Runtime).

    Args:
        rows: How many they were asked about.
        difference: The largest between two probabilities.
        agreement: Share of the rows that got the same label.
        bytes: Size of the weights, and of the ONNX files.
        rows_per_second: At the median of some rounds.
        threads: On how many, of the CPU.
    """

    rows: int
    difference: float
    agreement: float
    bytes: tuple[int, int]
    rows_per_second: tuple[float, float]
    threads: int


def write_onnx(saved: Saved, rows: Rows, folder: Path) -> Comparison:
    """Writes model.onnx and what belongs to it, and compares its answers with PyTorch's.

    The graph takes `input_ids` and `attention_mask`, int64 (B, L), or `pixel_values`, float32 (B, 3, S, S),
    with any B and L, and returns `logits`, float32 (B, C).

    Args:
        saved: The model.
        rows: Real rows, `ROWS` at least; each is compared, and those of `BATCHES` are timed. Rows beyond
            `ROWS` are asked about one by one.
        folder: An empty folder; the processor's files and config.json are written there too.

    Raises:
        BadInput: A package is missing, or the model has something that ONNX has not.
        HftuneError: The answers differ by more than `LARGEST_DIFFERENCE`.
    """
    _import_runtime(saved)
    model = copy.deepcopy(saved.model).cpu().eval()
    batches = _batches(saved, rows)
    path = folder / "model.onnx"
    _translate(saved, model, batches[1], path)
    _describe(saved, folder)
    return _compare(saved, model, path, batches)


def _import_runtime(saved: Saved) -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BadInput(
            f"{saved.name}: writing ONNX needs {error.name}: pip install 'hftune[export]'"
        ) from None


def _batches(saved: Saved, rows: Rows) -> list[Batch]:
    """Returns batches of the sizes of `BATCHES`, then the other rows one by one; without labels."""
    sizes = [*BATCHES, *[1] * (len(rows) - ROWS)]
    collate = collator(saved)
    batches, start = [], 0
    for size in sizes:
        batch = collate([rows[row] for row in range(start, start + size)])
        batches.append({name: values for name, values in batch.items() if name != "labels"})
        start += size
    return batches


class _OfTexts(nn.Module):
    """Takes what every text classifier takes; segment ids are left out, as those of one text are all 0."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


class _OfPictures(nn.Module):
    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values=pixel_values).logits


class _Lstm(nn.Module):
    """One layer and direction of an LSTM as ONNX's own operator, for any number of steps.

    PyTorch's exporter writes a loop instead, which copies all states at every step.

    Args:
        lstm: The layer; batch_first.
    """

    inward: torch.Tensor  # (1, 4H, E)
    onward: torch.Tensor  # (1, 4H, H)
    biases: torch.Tensor  # (1, 8H)

    def __init__(self, lstm: nn.LSTM):
        super().__init__()
        self.hidden_size = lstm.hidden_size

        def ordered(values: Any) -> torch.Tensor:
            """From torch's order of gates to ONNX's: input, output, forget, cell."""
            into, forget, cell, out = values.detach().chunk(4)
            return torch.cat([into, out, forget, cell])

        self.register_buffer("inward", ordered(lstm.weight_ih_l0)[None])
        self.register_buffer("onward", ordered(lstm.weight_hh_l0)[None])
        biases = torch.cat([ordered(lstm.bias_ih_l0), ordered(lstm.bias_hh_l0)])
        self.register_buffer("biases", biases[None])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Returns the states (B, L, E) -> (B, L, H), and nothing in place of the last ones."""
        steps = x.transpose(0, 1)
        states = torch.onnx.ops.symbolic(
            "LSTM",
            (steps, self.inward, self.onward, self.biases),
            {"hidden_size": self.hidden_size},
            dtype=x.dtype,
            shape=(steps.shape[0], 1, steps.shape[1], self.hidden_size),
        )
        return states.squeeze(1).transpose(0, 1), None


def _weighted_sum(embedding: nn.Embedding, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Stands in for that of `BagForSequenceClassification`, (B, L) ids and weights -> (B, E).

    PyTorch's exporter writes two loops for `embedding_bag`: a hundred times slower than this product.
    """
    if embedding.padding_idx is not None:
        weights = weights.masked_fill(ids == embedding.padding_idx, 0)
    return torch.bmm(weights.unsqueeze(1), embedding(ids)).squeeze(1)


def _make_exportable(model: nn.Module) -> None:
    """Replaces what ONNX has an operator for, but PyTorch's exporter no good translation."""
    if isinstance(model, BagForSequenceClassification):
        model._weighted_sum = _weighted_sum  # type: ignore[method-assign]
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, nn.LSTM) or child.num_layers > 1 or child.bidirectional:
                continue
            if child.batch_first and child.bias and not child.proj_size:
                setattr(parent, name, _Lstm(child))


def _stable_sort(values: Any, stable: bool = False, dim: int = -1, descending: bool = False) -> Any:
    """Translates `sort(stable=True)`, which PyTorch's exporter lacks: ONNX takes the earlier of equals first.

    Args:
        values: A tensor of the graph; small whole numbers, which ONNX Runtime does not sort, become int32.
        stable: Ignored.
        dim: Which axis is sorted.
        descending: The largest first.
    """
    from onnx_ir import DataType
    from onnxscript import opset18

    op: Any = opset18
    kind = values.dtype
    if kind in (DataType.UINT8, DataType.INT8, DataType.INT16, DataType.BOOL):
        values = op.Cast(values, to=DataType.INT32)
    size = op.Reshape(op.Gather(op.Shape(values), dim, axis=0), op.Constant(value_ints=[1]))
    ordered, places = op.TopK(values, size, axis=dim, largest=int(descending), sorted=1)
    return op.Cast(ordered, to=kind), places


def _translate(saved: Saved, model: nn.Module, batch: Batch, path: Path) -> None:
    """Writes model.onnx; `batch` has at least two rows, so that no size of it is 1 by chance."""
    model = copy.deepcopy(model)
    _make_exportable(model)
    texts = saved.task == "text-classification"
    names = ["input_ids", "attention_mask"] if texts else ["pixel_values"]
    axes = {0: "batch", 1: "length"} if texts else {0: "batch"}
    parameters = sum(values.nbytes for values in model.state_dict().values())
    # It warns of what it chose by itself, and logs a page for every operator that it cannot write.
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                (_OfTexts if texts else _OfPictures)(model),
                tuple(batch[name] for name in names),
                input_names=names,
                output_names=["logits"],
                dynamic_shapes=tuple(dict(axes) for _ in names),
                custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
                dynamo=True,
                verbose=False,
            )
            _forget_origin(program.model)
            program.save(path, external_data=parameters > PROTOBUF_LIMIT // 2)
    except torch.onnx.errors.OnnxExporterError as error:
        reason = first_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
        kind = type(saved.model).__name__
        raise BadInput(f"{saved.name}: {kind} cannot be written as ONNX: {reason}") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _forget_origin(model: Any) -> None:
    """Removes what the exporter noted of each operator: lines of source, under paths of this machine."""
    for graph in model.graphs():
        graph.metadata_props.clear()
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()


def _describe(saved: Saved, folder: Path) -> None:
    """Writes config.json and the processor's files; tokenizer.json cuts texts as the run did."""
    saved.model.config.save_pretrained(folder)
    names = {str(number): label for number, label in enumerate(saved.labels)}
    config = read_json(folder / "config.json")  # of a timm model it has the names in another form alone
    config |= {"id2label": names, "label2id": {label: int(number) for number, label in names.items()}}
    write_json(folder / "config.json", config)
    saved.processor.save_pretrained(folder)
    if config["model_type"] == "timm_wrapper" and not (folder / "preprocessor_config.json").exists():
        described = {
            "image_processor_type": "TimmWrapperImageProcessor",
            "architecture": config["architecture"],
            "pretrained_cfg": config["pretrained_cfg"],  # timm's own processor saves nothing
        }
        write_json(folder / "preprocessor_config.json", described)
    file = folder / "tokenizer.json"
    if file.is_file() and saved.max_length < 1_000_000:  # a tokenizer that knows no limit says 1e30
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(file))
        # It cannot leave out the middle: of a longer text it keeps the head there.
        direction = "left" if saved.truncation == "tail" else "right"
        tokenizer.enable_truncation(saved.max_length, direction=direction)
        tokenizer.save(str(file))


def _compare(saved: Saved, model: nn.Module, path: Path, batches: list[Batch]) -> Comparison:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = [value.name for value in session.get_inputs()]

    def of_pytorch(batch: Batch) -> np.ndarray:
        with torch.inference_mode():
            return model(**batch).logits.numpy()

    def of_runtime(batch: Batch) -> np.ndarray:
        return session.run(None, {name: batch[name].numpy() for name in inputs})[0]

    ours, theirs = (_probabilities(ask, batches) for ask in (of_pytorch, of_runtime))
    differences = np.abs(ours - theirs).max(axis=1)
    worst = int(differences.argmax())  # the first NaN, if there is one
    if not differences[worst] <= LARGEST_DIFFERENCE:
        raise HftuneError(
            f"{saved.name}: ONNX Runtime gives row {worst} of {len(ours)} other probabilities than PyTorch: "
            f"they differ by {differences[worst]:.2g}, at most {LARGEST_DIFFERENCE:g} is allowed; nothing "
            "was written"
        )
    timed = batches[: len(BATCHES)]
    return Comparison(
        rows=len(ours),
        difference=float(differences[worst]),
        agreement=float((ours.argmax(1) == theirs.argmax(1)).mean()),
        bytes=(
            sum(values.nbytes for values in model.state_dict().values()),
            sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")),
        ),
        rows_per_second=_speeds(of_pytorch, of_runtime, timed),
        threads=torch.get_num_threads(),
    )


def _probabilities(ask: Callable[[Batch], np.ndarray], batches: list[Batch]) -> np.ndarray:
    logits = np.concatenate([ask(batch) for batch in batches]).astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _speeds(
    first: Callable[[Batch], np.ndarray], second: Callable[[Batch], np.ndarray], batches: list[Batch]
) -> tuple[float, float]:
    """Times two models in turns, so that a machine that is busy for a while slows both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for ask, taken in zip((first, second), seconds, strict=True):
            start = time.perf_counter()
            for batch in batches:
                ask(batch)
            taken.append(time.perf_counter() - start)
    ours, theirs = (ROWS / statistics.median(taken) for taken in seconds)
    return ours, theirs


def table(comparison: Comparison) -> str:
    """Returns a comparison as lines for a terminal."""
    ours, theirs = comparison.rows_per_second
    sizes = [f"{size / 1e6:,.1f}" for size in comparison.bytes]
    threads = f"{comparison.threads} thread{'s' if comparison.threads > 1 else ''}"
    lines = [
        ("", "PyTorch", "ONNX Runtime"),
        ("size, MB", *sizes),
        (f"rows/s, CPU, {threads}", *(f"{speed:,.1f}" for speed in (ours, theirs))),
    ]
    agreeing = f"{round(comparison.agreement * comparison.rows):,} of {comparison.rows:,} rows"
    return "\n".join(
        [
            *(f"{name:<24}{left:>12}{right:>16}" for name, left, right in lines),
            f"{'same label':<24}{agreeing:>28}",
            f"{'largest difference':<24}{f'{comparison.difference:.1e} in a probability':>28}",
        ]
    )
