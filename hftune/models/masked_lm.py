"""From settings to a model that predicts masked tokens: a checkpoint, or a small BERT from scratch."""

import logging

from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM, PreTrainedModel

from hftune.data.dataset import Data
from hftune.errors import BadInput, first_line
from hftune.models.config import checked_overrides
from hftune.models.cpu_attention import use_per_sequence_attention
from hftune.models.encoder import named_encoder, refuse_longer
from hftune.models.masked_logits import reads_one_state
from hftune.models.pooling import trained_pooling
from hftune.models.pretrained import LOAD_ERRORS, load_pretrained, refuse_random
from hftune.runtime.device import computes_on_cpu
from hftune.settings.masked_lm import MaskedLMSettings

log = logging.getLogger(__name__)

SMALL = {  # BERT-Mini (Turc et al. 2019, Well-Read Students Learn Better)
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
}
KIND = "ForMaskedLM"  # how transformers' names of such classes end


def build_masked_lm(settings: MaskedLMSettings, data: Data) -> PreTrainedModel:
    """Builds the model that the settings name, with float32 weights.

    * `--model_name_or_path`: the checkpoint with its masked-LM head. An encoder without one, such as a
      sentence encoder, keeps its word embeddings as decoder, and the layer below it is new.
    * `--model_type bert`: a small BERT from scratch, with `--config_overrides`.

    Raises:
        BadInput: The checkpoint cannot be loaded, has only pickled weights, is of another kind or cannot read
            `max_length` tokens, or a name in `--config_overrides` is unknown.
    """
    model = _from_scratch(settings, data) if settings.model_type else _pretrained(settings, data)
    model.config.update(data.task.model_config())
    said = settings.model_name_or_path or f"--model_type {settings.model_type}"
    refuse_longer(model, settings.max_length, settings.max_length, said)
    batch = data.collate([data.validation[int(data.validation.lengths.argmin())]])
    if not reads_one_state(model, batch):
        raise BadInput(
            f"{said}: the head of {type(model).__name__} does not predict each token by its own state; pass "
            "another model"
        )
    if computes_on_cpu():
        use_per_sequence_attention(model)
    return model


def _from_scratch(settings: MaskedLMSettings, data: Data) -> PreTrainedModel:
    positions = max(settings.max_length, BertConfig().max_position_embeddings)
    fixed = {"vocab_size": len(data.processor), "pad_token_id": data.processor.pad_token_id}
    chosen = checked_overrides(BertConfig(), settings)
    try:
        return BertForMaskedLM(
            BertConfig(**{**SMALL, "max_position_embeddings": positions, **chosen, **fixed})
        )
    except LOAD_ERRORS as error:
        raise BadInput(f"--config_overrides {settings.config_overrides}: {first_line(error)}") from None


def _pretrained(settings: MaskedLMSettings, data: Data) -> PreTrainedModel:
    name, flags, config, changes = named_encoder(settings, data.processor)
    config.update(changes)
    model, absent, _ = load_pretrained(AutoModelForMaskedLM, name, config, flags)
    if not type(model).__name__.endswith(KIND):
        raise BadInput(f"{flags}: {type(model).__name__} is no encoder with a masked-LM head; pass another")
    backbone = f"{model.base_model_prefix}."
    refuse_random({key for key in absent if key.startswith(backbone) and "pooler" not in key}, flags)
    if absent:
        tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
        decoder = "its decoder is the word embeddings" if tied else "so does its decoder"
        log.info("head: the checkpoint has none, so its transform starts from random numbers; %s", decoder)
    if pooling := trained_pooling(name):
        log.info(
            "%s is a sentence encoder, which the result is no longer: to fine-tune it on texts, pass "
            "--pooling %s there",
            *(name, pooling),
        )
    return model
