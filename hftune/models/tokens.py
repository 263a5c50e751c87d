"""From settings to a model that tags words: a checkpoint with a linear layer, or a small net."""

from typing import Any

from transformers import AutoModelForTokenClassification, PreTrainedModel

from hftune.data.dataset import Data
from hftune.models.config import label_names
from hftune.models.cpu_attention import use_per_sequence_attention
from hftune.models.encoder import named_encoder, refuse_longer
from hftune.models.heads import align_labels, head_layers, parameter_names, reinit_head
from hftune.models.pretrained import load_pretrained, refuse_random
from hftune.models.text import small_model
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
    name, flags, config, changes = named_encoder(settings, data.processor)
    saved_labels = label_names(config)
    config.update(labels | changes)
    model, absent, _ = load_pretrained(AutoModelForTokenClassification, name, config, flags)
    backbone = f"{model.base_model_prefix}."
    refuse_random({key for key in absent if key.startswith(backbone) and "pooler" not in key}, flags)
    has_head = not absent & parameter_names(head_layers(model))
    if has_head and not align_labels(model, saved_labels, data.labels):
        reinit_head(model)
    refuse_longer(model, settings.max_length, settings.max_length, name)
    if computes_on_cpu():
        use_per_sequence_attention(model)
    return model
