"""From settings to a model that tags words: a checkpoint with a linear layer, or a small net."""

from typing import Any

from transformers import AutoModelForTokenClassification, PreTrainedModel

from hftune.data.base_model import checkpoint_config
from hftune.data.dataset import Data
from hftune.data.text.tokenizer import longest_text
from hftune.errors import BadInput
from hftune.models.config import checked_overrides, label_names
from hftune.models.cpu_attention import use_per_sequence_attention
from hftune.models.heads import align_labels, head_layers, parameter_names, reinit_head
from hftune.models.pretrained import load_pretrained, refuse_random
from hftune.models.text import small_model, without_attention_dropout
from hftune.runtime.device import computes_on_cpu
from hftune.settings.tokens import TokenSettings


def build_token_classifier(settings: TokenSettings, data: Data) -> PreTrainedModel:
    """Builds the model that the settings name, with float32 weights and the names of the data's tags.

    * `--model_name_or_path`: the checkpoint with its architecture's own classifier of tokens. That stays if
      it knows the data's tags (see `align_labels`); else it is new.
    * `--model_type bilstm_crf`, or another of `hftune.models.standalone.TOKENS`: a small model from scratch.

    Raises:
        BadInput: The checkpoint cannot be loaded, has only pickled weights, cannot read `max_length` tokens,
            or a name in `--config_overrides` is unknown.
    """
    labels = data.task.model_config()
    if settings.model_type:
        rows: Any = data.train
        model = small_model(settings.model_type, settings, data, labels, lambda: rows.ids)
        pieces = data.processor.get_vocab()
        model.spell(sorted(pieces, key=lambda piece: pieces[piece]))  # type: ignore[operator]
        return model
    name = str(settings.model_name_or_path)
    flags = f"--model_name_or_path {name}"
    config = checkpoint_config(name, "texts")
    chosen = checked_overrides(config, settings)
    if chosen:
        flags += f" --config_overrides {settings.config_overrides}"
    saved_labels = label_names(config)
    changes = without_attention_dropout(config, chosen) | chosen
    config.update({**labels, **changes, "pad_token_id": data.processor.pad_token_id})
    model, absent, _ = load_pretrained(AutoModelForTokenClassification, name, config, flags)
    backbone = f"{model.base_model_prefix}."
    refuse_random({key for key in absent if key.startswith(backbone) and "pooler" not in key}, flags)
    has_head = not absent & parameter_names(head_layers(model))
    if has_head and not align_labels(model, saved_labels, data.labels):
        reinit_head(model)
    limit = longest_text(model)
    if limit is not None and settings.max_length > limit:
        raise BadInput(
            f"--max_length {settings.max_length}: {name} reads {limit} tokens at most; "
            f"pass --max_length {limit}"
        )
    if computes_on_cpu():
        use_per_sequence_attention(model)
    return model
