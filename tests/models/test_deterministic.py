"""No small model computes what has no deterministic form on a GPU, so that `--full_determinism` runs.

torch itself says so on CUDA alone. Here each operation of a forward and a backward pass is looked up.
"""

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from hftune.models.standalone import STANDALONE
from tests.tiny import OURS, saved_images, saved_tagger, tiny_ours

# Those that raise by the documentation of torch.use_deterministic_algorithms, as autograd calls them.
WITHOUT = {
    "avg_pool3d_backward",
    "_adaptive_avg_pool2d_backward",
    "_adaptive_avg_pool3d_backward",
    "adaptive_max_pool2d_backward",
    "fractional_max_pool2d_backward",
    "fractional_max_pool3d_backward",
    "max_unpool2d",
    "max_unpool3d",
    "upsample_linear1d_backward",
    "upsample_bilinear2d_backward",
    "upsample_bicubic2d_backward",
    "upsample_trilinear3d_backward",
    "reflection_pad1d_backward",
    "reflection_pad2d_backward",
    "reflection_pad3d_backward",
    "nll_loss2d_forward",
    "nll_loss2d_backward",
    "_ctc_loss_backward",
    "put",
    "put_",
    "histc",
    "bincount",
    "median",
    "grid_sampler_2d_backward",
    "grid_sampler_3d_backward",
}


class Operations(TorchDispatchMode):
    """Notes the names of all operations."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def operations(function) -> set[str]:
    with Operations() as seen:
        function().backward()
    return seen.names


@pytest.mark.parametrize("kind", [*OURS, "bilstm_crf", "resnet9"])
def test_no_operation_lacks_a_deterministic_form(kind, tmp_path):
    ids = torch.arange(5, 45).view(2, 20)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.tensor([0, 2])}
    if kind == "resnet9":
        model = saved_images(kind, tmp_path).model
        batch = {"pixel_values": torch.randn(2, 3, 32, 32), "labels": batch["labels"]}
    elif kind == "bilstm_crf":
        model = saved_tagger(kind, tmp_path).model
        batch["labels"] = ids % 5
    else:
        model = tiny_ours(kind)
    names = operations(lambda: model.train()(**batch).loss)
    assert len(names) > 20  # it saw the backward pass
    assert not names & WITHOUT


def test_every_kind_of_small_model_is_looked_at():
    kinds = {place.split(".")[0] for place in STANDALONE.values()}
    assert kinds == {*OURS, "bilstm_crf", "resnet9"} - {"windows"}


def test_what_has_none_is_found():
    images = torch.randn(1, 1, 4, 4, requires_grad=True)
    assert operations(lambda: F.adaptive_max_pool2d(images, 1).sum()) & WITHOUT
    assert operations(lambda: F.interpolate(images, (8, 8), mode="bicubic").sum()) & WITHOUT
