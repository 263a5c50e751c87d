"""Where a loss or gradient that is not a number came from."""

from collections.abc import Callable

import torch

from hftune.errors import NonFiniteError


def first_non_finite_module(
    model: torch.nn.Module, loss: Callable, batch: dict[str, torch.Tensor]
) -> str | None:
    """Repeats a forward pass under hooks; returns the first module with a non-finite output."""
    found: list[str] = []

    def watch(name: str) -> Callable:
        def hook(_module: torch.nn.Module, _inputs: tuple, output: object) -> None:
            tensors = output if isinstance(output, tuple | list) else [output]
            for tensor in tensors:
                if found or not isinstance(tensor, torch.Tensor):
                    continue
                if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                    found.append(name)

        return hook

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            loss(model, batch)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def non_finite(
    model: torch.nn.Module,
    loss: Callable,
    batches: list[dict[str, torch.Tensor]],
    *,
    step: int,
    values: dict[str, float],
    rows: list[int],
) -> NonFiniteError:
    """Builds the error that explains a step whose loss or gradient is not finite.

    Args:
        model: The model with the weights before this step.
        loss: The loss function.
        batches: This process's micro-batches of the step.
        step: Number of the step, from 1.
        values: What is known of the step: loss, gradient norm, learning rate.
        rows: Ids of this process's training rows in the step; none if their loss is finite and it was
            another process's that is not.
    """
    state = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
    details = ["the loss of this process's rows is finite: another names the rows"]
    if rows:
        details = [f"training rows {', '.join(map(str, rows[:20]))}{' ...' if len(rows) > 20 else ''}"]
    bad_weights = [name for name, p in model.named_parameters() if not torch.isfinite(p).all()]
    bad_gradients = [
        name
        for name, p in model.named_parameters()
        if p.grad is not None and not torch.isfinite(p.grad).all()
    ]
    if bad_weights:
        details.append(f"weights that are not finite: {', '.join(bad_weights[:5])}")
    for batch in batches:
        if module := first_non_finite_module(model, loss, batch):
            details.append(f"first module with an output that is not finite: {module}")
            break
    else:
        if bad_gradients:
            details.append(f"every output is finite, but not the gradient of {', '.join(bad_gradients[:5])}")
    details.append("try a lower --learning_rate, a smaller --max_grad_norm, or --bf16 false --fp16 false")
    return NonFiniteError(
        f"training stopped at step {step}, before the weights were changed: {state}", details
    )
