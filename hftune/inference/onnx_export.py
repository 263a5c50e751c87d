"""Writes a saved model as ONNX, and compares its predictions with PyTorch's on the same rows.

Shapes: B rows, L tokens, E inputs and H states of an LSTM, S x S pixels, C labels.
"""

import copy
import logging
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch._higher_order_ops.scan import scan

from hftune.data.dataset import Rows
from hftune.errors import BadInput, HftuneError, first_line
from hftune.inference.load import LoadedModel
from hftune.models.standalone.bag import BagForSequenceClassification
from hftune.models.standalone.bilstm_crf import BiLSTMCRFForTokenClassification
from hftune.storage.files import read_json, write_json
from hftune.tasks.metric import Predictions

LARGEST_DIFFERENCE = 1e-4  # of `Task.differences`: float32 kernels differ by about 1e-6
BATCHES = (1, 2, 3, 5, 8, 13, 32)  # rows of the batches that both are asked about
ROWS = sum(BATCHES)
ROUNDS = 3  # how often all rows are timed
PROTOBUF_LIMIT = 1 << 31  # bytes of one file; the weights of larger models are written beside it

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Comparison:
    """What PyTorch and ONNX Runtime made of the same rows; each pair is (PyTorch, ONNX Runtime).

    Args:
        rows: How many they were asked about.
        difference: The largest of `Task.differences`.
        unit: Of what that is.
        agreement: Share of the rows that got the same label; None where answers are no labels.
        bytes: Size of the weights, and of the ONNX files.
        rows_per_second: At the median of some rounds.
        threads: On how many, of the CPU.
    """

    rows: int
    difference: float
    unit: str
    agreement: float | None
    bytes: tuple[int, int]
    rows_per_second: tuple[float, float]
    threads: int


def write_onnx(loaded: LoadedModel, rows: Rows, folder: Path) -> Comparison:
    """Writes model.onnx and what belongs to it, and compares its answers with PyTorch's.

    The graph takes `input_ids` and `attention_mask`, int64 (B, L), or `pixel_values`, float32 (B, 3, S, S),
    with any B and L, and returns `logits`, float32 (B, C), or (B, L, C) of a model that tags words.

    Args:
        loaded: The model.
        rows: Real rows, `ROWS` at least; each is compared, and those of `BATCHES` are timed. Rows beyond
            `ROWS` are asked about one by one.
        folder: An empty folder; the processor's files and config.json are written there too.

    Raises:
        BadInput: A package is missing, or the model has something that ONNX has not.
        HftuneError: The answers differ by more than `LARGEST_DIFFERENCE`.
    """
    _import_runtime(loaded)
    model = copy.deepcopy(loaded.model).cpu().eval()
    batches = _batches(loaded, rows)
    path = folder / "model.onnx"
    _translate(loaded, model, batches[1].arguments, path)
    _describe(loaded, folder)
    return _compare(loaded, model, path, batches)


def _import_runtime(loaded: LoadedModel) -> None:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # else it reports to its maker that it is used
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BadInput(
            f"{loaded.name}: writing ONNX needs {error.name}: pip install 'hftune[export]'"
        ) from None


class _Asked(NamedTuple):
    """A batch of rows: the arguments of the model's forward, and the labels and targets of the rows."""

    arguments: Batch
    labels: torch.Tensor
    targets: np.ndarray


def _batches(loaded: LoadedModel, rows: Rows) -> list[_Asked]:
    """Returns batches of the sizes of `BATCHES`, then the other rows one by one."""
    sizes = [*BATCHES, *[1] * (len(rows) - ROWS)]
    collate = loaded.inputs.collate
    batches, start = [], 0
    for size in sizes:
        batch = collate([rows[row] for row in range(start, start + size)])
        labels = batch.pop("labels")
        batches.append(_Asked(batch, labels, rows.targets[start : start + size]))
        start += size
    return batches


class _Logits(nn.Module):
    """Takes forward arguments in an order, and returns the logits alone.

    Args:
        model: The classifier.
        names: The arguments.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]):
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        """Returns (B, C) logits."""
        return self.model(**dict(zip(self.names, values, strict=True))).logits


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


def _scanned_sums(
    scores: torch.Tensor, steps: torch.Tensor, transitions: torch.Tensor, first: torch.Tensor
) -> torch.Tensor:
    """Stands in for that of `BiLSTMCRFForTokenClassification`, whose loop would fit one length alone."""
    taken = steps.to(scores.dtype).unsqueeze(2)  # ONNX Runtime has no loop over what is true or false

    def go_on(state: tuple, at: tuple) -> tuple[tuple, torch.Tensor]:
        (current, begun), (score, step) = state, at
        onward = (current.unsqueeze(2) + transitions).logsumexp(1)
        entered = torch.where(begun > 0, onward, first) + score
        current = torch.where(step > 0, entered, current)
        return (current, torch.maximum(begun, step)), current.clone()

    rows, _, tags = scores.shape
    state = (scores.new_zeros(rows, tags), scores.new_zeros(rows, 1))
    _, sums = scan(go_on, state, (scores.transpose(0, 1), taken.transpose(0, 1)), dim=0)
    return sums.transpose(0, 1)


def _make_exportable(model: nn.Module) -> None:
    """Replaces what ONNX has an operator for, but PyTorch's exporter no good translation."""
    if isinstance(model, BiLSTMCRFForTokenClassification):
        model._sums = _scanned_sums  # type: ignore[method-assign]
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


def _translate(loaded: LoadedModel, model: nn.Module, batch: Batch, path: Path) -> None:
    """Writes model.onnx; `batch` has at least two rows, so that no size of it is 1 by chance."""
    model = copy.deepcopy(model)
    _make_exportable(model)
    axes = loaded.inputs.forward_axes
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
                _Logits(model, tuple(axes)),
                tuple(batch[name] for name in axes),
                input_names=list(axes),
                output_names=["logits"],
                dynamic_shapes=(tuple(dict(of) for of in axes.values()),),
                custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
                dynamo=True,
                verbose=False,
            )
            _forget_origin(program.model)
            program.save(path, external_data=parameters > PROTOBUF_LIMIT // 2)
    except torch.onnx.errors.OnnxExporterError as error:
        reason = first_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
        kind = type(loaded.model).__name__
        raise BadInput(f"{loaded.name}: {kind} cannot be written as ONNX: {reason}") from error
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


def _describe(loaded: LoadedModel, folder: Path) -> None:
    """Writes config.json and the processor's files."""
    loaded.model.config.save_pretrained(folder)
    names = {str(number): label for number, label in enumerate(loaded.labels)}
    config = read_json(folder / "config.json")  # of a timm model it has the names in another form alone
    config |= {"id2label": names, "label2id": {label: int(number) for number, label in names.items()}}
    write_json(folder / "config.json", config)
    loaded.inputs.save(folder)


def _compare(loaded: LoadedModel, model: nn.Module, path: Path, batches: list[_Asked]) -> Comparison:
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

    task = loaded.task

    def of_rows(ask: Callable[[Batch], np.ndarray]) -> Predictions:
        parts = [task.per_row({"logits": ask(batch.arguments)}, *batch[1:]) for batch in batches]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    ours, theirs = of_rows(of_pytorch), of_rows(of_runtime)
    first = next(iter(task.no_answer))  # the label, or the labels

    def given(predictions: Predictions, row: int) -> Any:
        return task.answer(predictions, row)[first]

    differences = task.differences(ours, theirs)
    worst = int(differences.argmax())  # the first NaN, if there is one
    if not differences[worst] <= LARGEST_DIFFERENCE:
        raise HftuneError(
            f"{loaded.name}: ONNX Runtime gives row {worst} of {len(differences)} another answer than "
            f"PyTorch: they differ by {differences[worst]:.2g} {task.difference_unit}, at most "
            f"{LARGEST_DIFFERENCE:g} is allowed; nothing was written"
        )
    timed = [batch.arguments for batch in batches[: len(BATCHES)]]
    return Comparison(
        rows=len(differences),
        difference=float(differences[worst]),
        unit=task.difference_unit,
        agreement=_share_alike(given, ours, theirs) if "scores" in task.no_answer else None,
        bytes=(
            sum(values.nbytes for values in model.state_dict().values()),
            sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*")),
        ),
        rows_per_second=_speeds(of_pytorch, of_runtime, timed),
        threads=torch.get_num_threads(),
    )


def _share_alike(given: Callable[[Predictions, int], Any], ours: Predictions, theirs: Predictions) -> float:
    """Returns the share of the rows that are given the same label."""
    return float(np.mean([given(ours, row) == given(theirs, row) for row in range(len(ours["logits"]))]))


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
    written = [f"{name:<24}{left:>12}{right:>16}" for name, left, right in lines]
    if comparison.agreement is not None:
        agreeing = f"{round(comparison.agreement * comparison.rows):,} of {comparison.rows:,} rows"
        written.append(f"{'same label':<24}{agreeing:>28}")
    difference = f"{comparison.difference:.1e} {comparison.unit}"
    return "\n".join([*written, f"{'largest difference':<24}{difference:>28}"])
