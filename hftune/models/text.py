"""From settings to a model: a checkpoint with its own classifier, a pooled backbone, or a small net."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from hftune.data.base_model import why_not_loaded
from hftune.data.dataset import Data
from hftune.data.text.windows import Windows
from hftune.data.text.word_vectors import coverage, fill_embedding, read_vectors
from hftune.errors import BadInput, first_line
from hftune.models.config import checked_overrides, label_names
from hftune.models.cpu_attention import use_per_sequence_attention
from hftune.models.encoder import named_encoder, refuse_longer
from hftune.models.heads import align_labels, head_layers, parameter_names, reinit_head, tell_of_other_labels
from hftune.models.pooling import choose_pooling
from hftune.models.pretrained import LOAD_ERRORS, load_pretrained, refuse_random
from hftune.models.standalone import model_class
from hftune.models.standalone.pooled import PooledEncoderConfig, PooledEncoderForSequenceClassification
from hftune.runtime.device import computes_on_cpu
from hftune.settings.text import TextSettings

log = logging.getLogger(__name__)

BI_ENCODER_NEEDS = (
    "--pair_encoder bi needs pairs of texts, the mean as pooling, and a tokenizer with token_type_ids, which "
    "tell the two apart"
)


def build_text_classifier(settings: TextSettings, data: Data) -> PreTrainedModel:
    """Builds the model that the settings name, with float32 weights and the data's label names.

    * `--model_type textcnn`, or another of `hftune.models.standalone.TEXT`: a small model from scratch.
    * `--model_name_or_path` alone: the checkpoint with its architecture's own classifier, so that
      the result needs no code of ours. It stays if it knows the data's labels (see `align_labels`); else
      its last layer is new. A sentence encoder has none: see the next line.
    * `--model_name_or_path --pooling mean`: the backbone alone under a pooling and a linear layer. So is a
      sentence encoder read, with the pooling that it was trained with (see `choose_pooling`).
    * `--model_name_or_path --truncation window`: the same, on every window of a text.

    Raises:
        BadInput: If the checkpoint cannot be loaded, has only pickled weights, cannot read
            `max_length` tokens, or a name in `--config_overrides` is unknown.
    """
    labels = data.task.model_config()
    if settings.model_type:
        model = small_model(settings.model_type, settings, data, labels, partial(_tokens, data))
        model.config.update(dict(data.input_config))
        return model
    model = _pretrained(settings, data, labels)
    model.config.update(dict(data.input_config))
    splits = [split for split in (data.learned, data.validation, data.test) if split is not None]
    longest = max(int(split.lengths.max()) for split in splits)
    at_once = settings.max_length if settings.in_windows else longest  # by the backbone
    refuse_longer(model.base_model, at_once, settings.max_length, str(settings.model_name_or_path))
    if computes_on_cpu():
        use_per_sequence_attention(model)
    return model


def _tokens(data: Data) -> np.ndarray:
    return np.concatenate([data.learned[row]["input_ids"] for row in range(len(data.learned))])


def small_model(
    kind: str, settings: Any, data: Data, labels: dict, tokens: Callable[[], np.ndarray]
) -> PreTrainedModel:
    """Builds a model of `hftune.models.standalone` from scratch.

    Args:
        kind: Its `model_type`.
        settings: `config_overrides`, `embeddings` and `freeze_embeddings` are read.
        data: Has the tokenizer.
        labels: What its config says of the task.
        tokens: Returns the token ids of all training rows, int (T,), of which it is said how many have a
            vector.

    Raises:
        BadInput: A name in `--config_overrides` is unknown, or a value impossible.
    """
    architecture = model_class(kind)
    config_class = architecture.config_class
    tokenizer = data.processor
    changes = checked_overrides(config_class(), settings)
    fixed = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **labels}
    vocabulary = tokenizer.get_vocab()
    vectors = read_vectors(settings.embeddings, vocabulary) if settings.embeddings else None
    if vectors:
        fixed["embedding_dim"] = vectors.dim
    try:
        model = architecture(config_class(**{**changes, **fixed}))
    except LOAD_ERRORS as error:
        raise BadInput(f"--config_overrides {settings.config_overrides}: {first_line(error)}") from None
    if vectors:
        fill_embedding(model.get_input_embeddings(), vectors, vocabulary)
        counts = np.bincount(tokens(), minlength=len(tokenizer))
        log.info("vectors: %s", coverage(vectors, vocabulary, counts))
    model.get_input_embeddings().weight.requires_grad_(not settings.freeze_embeddings)
    return model


def _pretrained(settings: TextSettings, data: Data, labels: dict) -> PreTrainedModel:
    name, flags, config, changes = named_encoder(settings, data.processor)
    windows = Windows.of(settings, data.processor)
    pooled = isinstance(config, PooledEncoderConfig)  # a model of ours that goes on
    if pooled and config.window and not windows:
        raise BadInput(
            f"{flags} reads texts in windows; pass --truncation window --max_length {config.window}"
        )
    if pooled and settings.pooling not in ("auto", "native", config.pooling):
        raise BadInput(f"--pooling {settings.pooling}: {name} has the pooling {config.pooling}; leave it out")
    if not pooled and (pooling := choose_pooling(settings)):
        changes |= _reading_of_pairs(settings, data, pooling)
        return _pooled(name, pooling, windows, labels, changes, flags)
    if settings.pair_encoder == "bi" and getattr(config, "pair_encoder", "") != "bi":
        raise BadInput(BI_ENCODER_NEEDS)
    changes |= windows.config() if windows else {}
    saved_labels, saved_kind = label_names(config), config.problem_type
    config.update({**labels, **changes})
    model, absent, reshaped = load_pretrained(AutoModelForSequenceClassification, name, config, flags)
    backbone = f"{model.base_model_prefix}."
    # A classifier may have layers of its own below the logits, and few checkpoints have a pooler.
    frozen = "; LoRA would leave them random: pass --pooling cls" if settings.lora_r else ""
    left_random = {key for key in absent if key.startswith(backbone) and (frozen or "pooler" not in key)}
    refuse_random(left_random, flags, frozen)
    head = parameter_names(head_layers(model))
    has_head = not absent & head
    if reshaped & head:  # of more or fewer labels
        tell_of_other_labels(saved_labels, data.labels)
        log.info("the classifier is new: it starts from random numbers")
    if has_head and not align_labels(model, saved_labels, data.labels):
        reinit_head(model)
    elif has_head and saved_kind == data.task.problem_type:
        batch = data.collate([data.train[0]])
        batch.pop("labels")
        data.task.take_up(model, batch)
    return model


def _reading_of_pairs(settings: TextSettings, data: Data, pooling: str) -> dict[str, Any]:
    """Returns what the config of a pooled encoder says of pairs; {} where their two texts are read as one."""
    segments = "token_type_ids" in data.processor.model_input_names
    if segments and pooling == "mean" and data.input_config.get("text_pair"):
        return {"compares_texts": True, "pair_encoder": settings.pair_encoder}
    if settings.pair_encoder == "bi":
        raise BadInput(BI_ENCODER_NEEDS)
    return {}


def _pooled(
    name: str, pooling: str, windows: Windows | None, labels: dict, changes: dict, flags: str
) -> PreTrainedModel:
    named = {key: labels[key] for key in ("num_labels", "id2label", "label2id")}
    try:
        model = PooledEncoderForSequenceClassification.from_encoder(
            name, pooling=pooling, windows=windows.config() if windows else None, **named, **changes
        )
    except RuntimeError as error:  # what transformers raises for weights of another shape
        reason = f"the checkpoint's weights do not fit the config: {first_line(error)}"
        raise BadInput(f"{flags}: {reason}") from None
    except (OSError, SafetensorError, *LOAD_ERRORS) as error:
        raise BadInput(f"{flags}: {why_not_loaded(error)}") from None
    model.config.problem_type = labels["problem_type"]
    return model
