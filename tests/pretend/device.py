"""A pretend accelerator: the device "pretend", which needs neither hardware nor a compiler.

Its tensors are wrappers: to PyTorch they lie on the process's one accelerator, their values in CPU tensors
that nobody else can reach. All that a program does with them passes `run_operation`, where

* an operation that mixes devices, or a fused optimizer that mixes layouts, is refused as CUDA does,
* each wait of the host for the device is counted, with the line that asks for it,
* random numbers come from a generator of the device, apart from the host's.

Autograd, DistributedDataParallel and the optimizers are PyTorch's own and take the ways that they take on
accelerators; autocast goes by CUDA's list of operations. What cannot be seen: speed, memory, streams,
rounding and determinism of kernels, cuDNN, NCCL.

A process that has the device cannot be rid of it, and has to leave by `os._exit`: the backward pass has a
thread for it that nobody can join. PyTorch calls the registration experimental; see `AVAILABLE`.
"""

import contextlib
import functools
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch.optim import optimizer
from torch.utils import _device, _foreach_utils, backend_registration

NAME = "pretend"
AVAILABLE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
CODE = str(Path(__file__).parents[2] / "hftune")

aten = torch.ops.aten
waits: Counter[str] = Counter()  # of the host for the device: by what, and from where
generator = torch.Generator()  # the device's
libraries: list[torch.library.Library] = []  # what they register lasts as long as they do


class PretendTensor(torch.Tensor):
    """A tensor on the device; `host` has its values, in the same layout."""

    host: torch.Tensor

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> "PretendTensor":
        layout: dict[str, Any] = {"strides": host.stride(), "storage_offset": host.storage_offset()}
        layout |= {"dtype": host.dtype, "layout": host.layout, "device": torch.device(NAME, 0)}
        tensor = torch.Tensor._make_wrapper_subclass(cls, host.shape, **layout)
        tensor.host = host
        return tensor

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None):
        return run_operation(op, *args, **kwargs or {})

    def __tensor_flatten__(self):  # without it `Module.to` makes new parameters, which nobody trains
        return ["host"], None

    @staticmethod
    def __tensor_unflatten__(inner, context, size, stride):
        return PretendTensor(inner["host"])

    def __deepcopy__(self, memo):
        copied = PretendTensor(self.host.detach().clone()).requires_grad_(self.requires_grad)
        return memo.setdefault(id(self), copied)

    # What reaches past the dispatcher.
    def data_ptr(self):
        return self.host.data_ptr()

    def untyped_storage(self):
        return self.host.untyped_storage()

    def is_pinned(self, device=None):
        return False

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self, *, force=False):
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(f"can't convert {NAME}:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __repr__(self, *, tensor_contents=None):
        return f"PretendTensor({list(self.shape)}, {self.dtype})"


# --- what an operation does ---------------------------------------------------------------------------

SIZED_BY_VALUES = {  # the host makes room for the result, so it has to know these
    *("aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::unique_consecutive"),
    *("aten::repeat_interleave", "aten::bincount", "aten::equal"),
}
READS = {"aten::_local_scalar_dense", "aten::is_nonzero", "aten::item"}
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


def run_operation(op, *args, **kwargs):
    """Runs an operation that takes or makes tensors of the device."""
    name, target = op._schema.name, kwargs.get("device")
    if name == "aten::copy_":
        return copy_into(*args, **kwargs)
    given = [value for value in pytree.tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)]
    if name == "aten::_to_copy":
        to_device = is_pretend(given[0]) if target is None else is_pretend(target)
        note_copy(given[0], to_device, kwargs.pop("non_blocking", False))
    else:
        to_device = target is None or is_pretend(target)
        refuse_other_devices(name, given)
        if name.startswith("aten::_fused_ad"):
            refuse_other_layouts(args)
        masked = name == "aten::index" and any(t.dtype == torch.bool for t in given[1:])
        if masked or name in SIZED_BY_VALUES | READS:
            waits[f"{name} {place()}"] += 1
    host_args, host_kwargs = pytree.tree_map(on_host, (args, kwargs))
    host_kwargs.pop("pin_memory", None)
    drawing = torch.Tag.nondeterministic_seeded in op.tags
    with drawing_on_the_device() if drawing else contextlib.nullcontext():
        result = ONLY_ON_ACCELERATORS.get(name, op)(*host_args, **host_kwargs)
    if not to_device:
        return result
    # What was written into stays the object that it was.
    known = {id(tensor.host): tensor for tensor in given if is_pretend(tensor)}
    return pytree.tree_map_only(
        torch.Tensor, lambda made: known[id(made)] if id(made) in known else PretendTensor(made), result
    )


def is_pretend(value: Any) -> bool:
    """Returns whether a tensor lies on the device, or a device's name is its."""
    return (
        isinstance(value, PretendTensor) if isinstance(value, torch.Tensor) else str(value).startswith(NAME)
    )


def on_host(value: Any) -> Any:
    if isinstance(value, PretendTensor):
        return value.host
    return torch.device("cpu") if isinstance(value, torch.device) and value.type == NAME else value


def place() -> str:
    """Returns the innermost line of hftune on the stack, and that of the library which it has called."""
    frame: Any = sys._getframe(2)
    seen = []
    while frame:
        seen.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    names = [f"{'/'.join(file.split('/')[-2:])}:{line}" for file, line in seen]
    ours = next((k for k, (file, _) in enumerate(seen) if file.startswith(CODE)), None)
    inner = next((k for k, (file, _) in enumerate(seen) if file != __file__ and "_pytree" not in file), 0)
    return names[inner] if ours in (None, inner) else f"{names[ours]} -> {names[inner]}"


def copy_into(target, source, non_blocking=False):
    note_copy(source, is_pretend(target), non_blocking)
    on_host(target).copy_(on_host(source))
    return target


def note_copy(source: torch.Tensor, to_device: bool, non_blocking: bool) -> None:
    """Counts a copy as a wait, unless it stays on the device or goes there without blocking."""
    if is_pretend(source) and not to_device:
        waits[f"copy to the host {place()}"] += 1
    elif to_device and not is_pretend(source) and not non_blocking:
        waits[f"blocking copy to the device {place()}"] += 1


def refuse_other_devices(name: str, given: list[torch.Tensor]) -> None:
    """Raises what CUDA raises; it takes numbers (tensors of no dimension) and indices from the host."""
    here = [tensor for tensor in given if is_pretend(tensor)]
    others = [tensor for tensor in given if not is_pretend(tensor) and tensor.device.type != "meta"]
    if here and name not in INDEXING and any(tensor.dim() for tensor in others):
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{NAME}:0 and cpu! (in {name}, {[*map(repr, here)]}, {[list(t.shape) for t in others]} on cpu)"
        )


def refuse_other_layouts(lists: tuple) -> None:
    """Raises what CUDA's fused kernels raise; the CPU's would mix up elements without a word."""
    for same in zip(*(value for value in lists if isinstance(value, list) and value), strict=False):
        strides = {
            tuple(step for step, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1)
            for tensor in same
            if tensor.dim()
        }
        if len(strides) > 1:
            raise RuntimeError(
                "params, grads, exp_avgs, and exp_avg_sqs must have same dtype, device, and layout"
            )


@contextlib.contextmanager
def drawing_on_the_device():
    """Lets an operation of the host draw from the device's generator; the host's stays where it is."""
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(before)


def lstm_cell(inputs, states, cx, input_bias=None, state_bias=None):
    """One step of an LSTM from its two products, (B, 4H) each, and the cell, (B, H)."""
    gates = sum((bias for bias in (input_bias, state_bias) if bias is not None), inputs + states)
    i, f, g, o = gates.chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    cy = f * cx + i * g
    return o * cy.tanh(), cy, torch.cat([i, f, g, o], 1)


def lstm_cell_backward(of_hy, of_cy, cx, cy, gates, has_bias):
    i, f, g, o = gates.chunk(4, 1)
    tanh = cy.tanh()
    of_hy = torch.zeros_like(cy) if of_hy is None else of_hy
    of_cy = of_hy * o * (1 - tanh**2) + (0 if of_cy is None else of_cy)
    parts = (
        of_cy * g * i * (1 - i),
        of_cy * cx * f * (1 - f),
        of_cy * i * (1 - g**2),
        of_hy * tanh * o * (1 - o),
    )
    of_gates = torch.cat(parts, 1)
    return of_gates, of_cy * f, of_gates.sum(0) if has_bias else None


ONLY_ON_ACCELERATORS = {
    "aten::_thnn_fused_lstm_cell": lstm_cell,
    "aten::_thnn_fused_lstm_cell_backward_impl": lstm_cell_backward,
}

# PyTorch would make them empty and let them grow, which a wrapper cannot.
SIZED_BY_NUMBERS = "arange arange.start arange.start_step linspace eye eye.m randperm tril_indices"

# --- autocast, by the lists in PyTorch's documentation of CUDA: docs/source/amp.md ----------------------

LOWER = """conv1d conv2d conv3d conv_transpose1d conv_transpose2d.input convolution prelu addmm addmv addr
matmul einsum mm mv linear addbmm baddbmm bmm chain_matmul linalg_multi_dot _thnn_fused_lstm_cell lstm_cell
scaled_dot_product_attention"""
FLOAT32 = """acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow.Tensor_Scalar
pow.Tensor_Tensor pow.Scalar softplus layer_norm native_layer_norm group_norm cosine_similarity
cosine_embedding_loss nll_loss nll_loss2d kl_div l1_loss smooth_l1_loss huber_loss mse_loss
binary_cross_entropy_with_logits dist cdist renorm logsumexp upsample_bilinear2d upsample_bicubic2d"""
FLOAT32_UNLESS_SAID = """prod prod.dim_int softmax.int log_softmax.int cumprod cumsum linalg_vector_norm sum
sum.dim_IntList"""
WIDEST = "addcdiv addcmul atan2 bilinear cross dot grid_sampler index_put tensordot scatter_add cat stack"


def overload(name: str) -> Any:
    packet, _, kind = name.partition(".")
    return getattr(getattr(aten, packet), kind or "default")


def cast_before(op: Any, rule: str) -> Callable:
    """Returns what autocast does in place of an operation."""
    autocasts = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
    names = [argument.name for argument in op._schema.arguments]

    def run(*args, **kwargs):
        with torch._C._ExcludeDispatchKeyGuard(autocasts):
            floats = [v.dtype for v in pytree.tree_leaves((args, kwargs)) if is_float(v)]
            dtype = torch.get_autocast_dtype(NAME) if rule == "lower" else torch.float32
            if rule == "unless said":
                asked = kwargs.get("dtype") or dict(zip(names, args, strict=False)).get("dtype")
                return op(*args, **(kwargs if asked or not floats else kwargs | {"dtype": dtype}))
            if rule == "widest" and dtype not in floats:
                return op(*args, **kwargs)
            args, kwargs = pytree.tree_map(lambda v: v.to(dtype) if is_float(v) else v, (args, kwargs))
            return op(*args, **kwargs)

    return run


def is_float(value: Any) -> bool:
    return isinstance(value, PretendTensor) and value.dtype in (torch.float32, torch.bfloat16, torch.float16)


# --- making it this process's -------------------------------------------------------------------------


class Generator(torch.Generator):
    """PyTorch makes none for a device of Python: it is one of the host."""

    def __new__(cls, device="cpu"):
        return super().__new__(cls, "cpu" if is_pretend(device) else device)


def no_grad(mode: Any = True) -> Any:
    """Stands in for `torch.inference_mode`, in which PyTorch cannot take views of wrappers."""
    return torch.no_grad()(mode) if callable(mode) else torch.no_grad() if mode else contextlib.nullcontext()


def made_on_the_host(make: Callable) -> Callable:
    """Lets `torch.tensor(..., device=...)` copy from the host, as it does for CUDA."""

    def made(data, *args, device=None, **kwargs):
        if not is_pretend(device):
            return make(data, *args, device=device, **kwargs)
        return make(data, *args, **kwargs).to(device)

    return made


def install() -> None:
    """Makes the device this process's accelerator, and accelerate choose it."""
    backend = SimpleNamespace(
        is_initialized=lambda: True,
        is_available=lambda: True,
        current_device=lambda: 0,
        device_count=lambda: 1,
        set_device=lambda device: None,
        synchronize=lambda device=None: waits.update([f"synchronize {place()}"]),
        _is_in_bad_fork=lambda: False,
        manual_seed=generator.manual_seed,
        manual_seed_all=generator.manual_seed,
        get_rng_state=lambda device=None: generator.get_state(),
        set_rng_state=lambda state, device=None: generator.set_state(state),
        get_amp_supported_dtype=lambda: [torch.float16, torch.bfloat16],
    )
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=backend)
    everything, own = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    libraries.extend([everything, own])
    everything.fallback(run_operation, "PrivateUse1")  # what takes no tensor, such as `torch.zeros`
    everything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    for name in SIZED_BY_NUMBERS.split():
        own.impl(name, functools.partial(run_operation, overload(name)), "PrivateUse1")
    rules = {"lower": LOWER, "float32": FLOAT32, "unless said": FLOAT32_UNLESS_SAID, "widest": WIDEST}
    for rule, names in rules.items():
        for name in names.split():
            own.impl(name, cast_before(overload(name), rule), "AutocastPrivateUse1")
    _device._device_constructors()  # remembers functions that are exchanged now
    torch.inference_mode = no_grad
    torch.tensor, torch.as_tensor = made_on_the_host(torch.tensor), made_on_the_host(torch.as_tensor)
    torch.Generator = Generator  # type: ignore[misc]
    optimizer._foreach_supported_types.append(PretendTensor)
    _foreach_utils._foreach_supported_types.append(PretendTensor)
    torch.accelerator.get_memory_info = lambda *device: (2**34, 2**34)
    torch.accelerator.max_memory_reserved = lambda *device: 0
    choose_device()


def choose_device() -> None:
    """Tells accelerate of the device: one for each process, which meet by gloo."""
    import accelerate.accelerator
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    PartialState.default_device = property(lambda self: torch.device(NAME, 0))  # type: ignore[assignment]
    PartialState.set_device = lambda self: setattr(self, "device", torch.device(NAME, 0))
    accelerate.accelerator.is_bf16_available = lambda *args: True
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        PartialState._prepare_backend = lambda *args: ("gloo", DistributedType.MULTI_GPU)
        os.environ["ACCELERATE_BYPASS_DEVICE_MAP"] = (
            "true"  # DistributedDataParallel gets no index of a device
        )
        torch.distributed.Backend.default_device_backend_map[NAME] = "gloo"
        torch.distributed.Backend.backend_capability["gloo"].append(NAME)
