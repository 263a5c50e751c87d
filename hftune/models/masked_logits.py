"""The logits of masked tokens alone: of what a step takes, the decoder over all words is a large part.

Shapes: B texts, L tokens, H the width of a state, V ids, M masked tokens of the batch.
"""

from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from transformers import PreTrainedModel

from hftune.models.pretrained import LOAD_ERRORS

Places = tuple[torch.Tensor, ...]
CLOSE = 1e-4  # of float32 logits that are computed in two ways


def logits_at(model: torch.nn.Module, batch: dict[str, torch.Tensor], masked: Places) -> torch.Tensor:
    """Returns the logits of the masked tokens, float32 (M, V).

    The head gets their states and no others. It reads each state by itself: see `reads_one_state`.

    Args:
        model: With a masked-LM head, also one that accelerate has wrapped.
        batch: The arguments of its forward, without labels.
        masked: Row and column of each masked token, int64 (M,).
    """

    def choose(_: torch.nn.Module, __: Any, output: Any) -> Any:
        output["last_hidden_state"] = output["last_hidden_state"][masked][None]  # (B, L, H) -> (1, M, H)
        return output

    hook = extract_model_from_parallel(model).base_model.register_forward_hook(choose)
    try:
        return model(**batch).logits[0].float()
    finally:
        hook.remove()


def reads_one_state(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> bool:
    """Returns whether `logits_at` has the logits of the whole model; which is in eval mode then.

    Args:
        model: With a masked-LM head, float32.
        batch: A few rows, with labels.
    """
    masked = (batch["labels"] >= 0).nonzero(as_tuple=True)
    inputs = {name: values for name, values in batch.items() if name != "labels"}
    model.eval()
    try:
        with torch.no_grad():
            found, whole = logits_at(model, inputs, masked), model(**inputs).logits[masked]
        return torch.allclose(found, whole, atol=CLOSE, rtol=CLOSE)
    except (AttributeError, *LOAD_ERRORS):  # what states or logits of another shape come to
        return False
