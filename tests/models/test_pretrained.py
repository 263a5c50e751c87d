"""What both kinds of models share when a checkpoint is loaded: tests of each kind are in their own files."""

import pytest
from transformers import BertConfig

from hftune.errors import BadInput
from hftune.models.pretrained import load_pretrained


@pytest.mark.parametrize(
    ("reason", "kind"), [("[enforce fail] can't allocate memory", RuntimeError), ("size mismatch", BadInput)]
)
def test_too_little_memory_is_not_the_checkpoints_fault(reason, kind):
    class Auto:
        @staticmethod
        def from_pretrained(name, **options):
            raise RuntimeError(reason)

    with pytest.raises(kind, match=reason.split()[-1]):
        load_pretrained(Auto, "acme/encoder", BertConfig(), "--model_name_or_path acme/encoder")
