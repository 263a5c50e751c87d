"""An optimizer's state as tensors and JSON, and back, bit for bit."""

from typing import Any

import torch

from hftune.errors import BadInput

Tensors = dict[str, torch.Tensor]


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: list[str]) -> tuple[Tensors, dict[str, Any]]:
    """Takes an optimizer's state apart into tensors and JSON.

    Args:
        optimizer: Any optimizer whose `state_dict` is made of tensors, numbers, strings, None,
            dtypes, and lists, tuples and dicts of these.
        names: The parameters' names, in the order of the optimizer's groups.

    Returns:
        The tensors, by "<index>.<key>" (the index counts parameters), and the rest.

    Raises:
        BadInput: The optimizer keeps something else.
    """
    tensors: Tensors = {}
    parts = {}
    for part, value in optimizer.state_dict().items():
        parts[part] = _take_apart(value, "" if part == "state" else part, tensors)
    parameters = _parameters(optimizer)
    if len(names) != len(parameters):
        raise ValueError(f"{len(names)} names for {len(parameters)} parameters")
    usual = {at: _usual_place(at, tensor, parameters) for at, tensor in tensors.items()}
    return tensors, {
        "optimizer": type(optimizer).__name__,
        "group_sizes": [len(group["params"]) for group in optimizer.param_groups],
        "names": names,
        "shapes": [list(parameter.shape) for parameter in parameters],
        "strides": {
            at: list(tensor.stride())
            for at, tensor in tensors.items()
            if tensor.stride() != usual[at].stride()
        },
        "parts": parts,
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors, state: dict[str, Any]) -> None:
    """Puts a state from `optimizer_tensors` back, bit for bit.

    Raises:
        BadInput: The state is another optimizer's, or its parameters' number, groups or shapes differ.
    """
    if lines := _differences(optimizer, state):
        raise BadInput("the checkpoint's optimizer state does not fit this run; repeat its settings", lines)
    parameters, strides = _parameters(optimizer), state.get("strides", {})  # none in older checkpoints
    laid_out = {}
    for at, tensor in tensors.items():
        place = _usual_place(at, tensor, parameters)
        if at in strides:
            place = torch.empty_strided(tensor.shape, strides[at], dtype=tensor.dtype)
        laid_out[at] = place.copy_(tensor)
    parts = {part: _put_together(value, laid_out) for part, value in state["parts"].items()}
    optimizer.load_state_dict(parts)
    # torch casts floating-point state to the parameter's dtype; undo that where it was another.
    for index, entry in optimizer.state_dict()["state"].items():
        for key, value in parts["state"][index].items():
            if isinstance(value, torch.Tensor) and entry[key].dtype != value.dtype:
                entry[key] = value.to(entry[key].device)


def _parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _usual_place(at: str, tensor: torch.Tensor, parameters: list[torch.Tensor]) -> torch.Tensor:
    """Returns an empty tensor on the CPU, with the memory layout that a tensor of the state usually has.

    That is its parameter's layout where it has the parameter's shape: fused kernels walk through parameter
    and moments in the order of memory, and sums over them are taken in that order. Else it is row-major.
    """
    index = at.partition(".")[0]
    if index.isdecimal() and parameters[int(index)].shape == tensor.shape:
        return torch.empty_like(parameters[int(index)], dtype=tensor.dtype, device="cpu")
    return torch.empty(tensor.shape, dtype=tensor.dtype)


def _differences(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> list[str]:
    """Lists in what a saved optimizer differs from this one."""
    shapes = [list(parameter.shape) for parameter in _parameters(optimizer)]
    pairs = [
        ("optimizer", state["optimizer"], type(optimizer).__name__),
        ("parameters", len(state["shapes"]), len(shapes)),
        (
            "parameters in each group",
            state["group_sizes"],
            [len(g["params"]) for g in optimizer.param_groups],
        ),
    ]
    if len(shapes) == len(state["shapes"]):
        pairs += [
            (f"shape of {name}", *pair)
            for name, *pair in zip(state["names"], state["shapes"], shapes, strict=True)
        ]
    return [f"{what}: {there} there, {here} here" for what, there, here in pairs if there != here]


def _take_apart(value: Any, at: str, tensors: Tensors) -> Any:
    """Returns a value as JSON, its tensors moved to `tensors` under their address."""
    if isinstance(value, torch.Tensor):
        tensors[at] = value
        return {"tensor": at}
    if isinstance(value, dict):
        items = [[key, _take_apart(item, f"{at}.{key}".lstrip("."), tensors)] for key, item in value.items()]
        return {"dict": items}  # pairs, since JSON would turn the keys into strings
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_take_apart(item, f"{at}.{index}", tensors) for index, item in enumerate(value)]}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise BadInput(
        f"the optimizer keeps a {type(value).__name__} in {at}, which cannot be saved; choose another"
    )


def _put_together(value: Any, tensors: Tensors) -> Any:
    """Undoes `_take_apart`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dtype":
        return getattr(torch, content)
    if kind == "dict":
        return {key: _put_together(item, tensors) for key, item in content}
    items = [_put_together(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)
