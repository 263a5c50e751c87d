"""From settings to a model: a checkpoint with its own classifier, a pooled backbone, or a small net."""

import difflib
import logging

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel

from hftune.config import TextSettings, parse_overrides
from hftune.data.bundle import Data
from hftune.data.vectors import fill_embedding, read_vectors
from hftune.errors import BadInput, first_line

log = logging.getLogger(__name__)


def build_text_classifier(settings: TextSettings, data: Data) -> PreTrainedModel:
    """Builds the model that the settings name, with float32 weights and the data's label names.

    * `--model_type textcnn|bilstm|bag`: a small model from scratch.
    * `--model_name_or_path` alone: the checkpoint with its architecture's own classifier, so that
      the result needs no code of ours.
    * `--model_name_or_path --pooling mean`: the bare backbone under a pooling and a linear layer.

    Raises:
        BadInput: If the checkpoint cannot be loaded, has only pickled weights, cannot read
            `max_length` tokens, or a name in `--config_overrides` is unknown.
    """
    labels = {
        "num_labels": len(data.labels),
        "id2label": dict(enumerate(data.labels)),
        "label2id": {name: number for number, name in enumerate(data.labels)},
        "problem_type": "single_label_classification",
    }
    if settings.model_type:
        return _small_model(settings, data, labels)
    model = _pretrained(settings, data, labels)
    _check_length(model.config.get_text_config(), settings, int(data.train.lengths.max()))
    return model


def _small_model(settings: TextSettings, data: Data, labels: dict) -> PreTrainedModel:
    from hftune.models import bag, bilstm, textcnn

    classes = {
        "bag": (bag.BagConfig, bag.BagForSequenceClassification),
        "bilstm": (bilstm.BiLSTMConfig, bilstm.BiLSTMForSequenceClassification),
        "textcnn": (textcnn.TextCNNConfig, textcnn.TextCNNForSequenceClassification),
    }
    config_class, model_class = classes[settings.model_type]
    tokenizer = data.processor
    changes = checked_overrides(config_class(), settings)
    fixed = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **labels}
    try:
        config = config_class(**{**changes, **fixed})
    except (TypeError, ValueError) as error:
        raise BadInput(f"--config_overrides {settings.config_overrides}: {first_line(error)}") from None
    if not settings.embeddings:
        return model_class(config)
    vocabulary = tokenizer.get_vocab()
    vectors = read_vectors(settings.embeddings, vocabulary)
    config.embedding_dim = vectors.dim
    model = model_class(config)
    fill_embedding(model.get_input_embeddings(), vectors, vocabulary)
    counts = np.bincount(data.train.token_ids(), minlength=len(tokenizer))
    log.info("vectors: %s", vectors.coverage_line(vocabulary, counts))
    model.get_input_embeddings().weight.requires_grad_(not settings.freeze_embeddings)
    return model


def _pretrained(settings: TextSettings, data: Data, labels: dict) -> PreTrainedModel:
    name = settings.model_name_or_path
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        changes = checked_overrides(config, settings)
        changes["pad_token_id"] = data.processor.pad_token_id
        if settings.pooling != "native":
            return _pooled(name, settings.pooling, labels, changes)
        config.update({**labels, **changes})
        return AutoModelForSequenceClassification.from_pretrained(
            name,
            config=config,
            dtype=torch.float32,  # a checkpoint in half precision would train in half precision
            use_safetensors=True,  # a pickle is never opened
            ignore_mismatched_sizes=True,  # a head for other labels is replaced by a new one
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"--model_name_or_path {name}: {first_line(error)}") from None


def _pooled(name: str, pooling: str, labels: dict, changes: dict) -> PreTrainedModel:
    from hftune.models.pooled import PooledEncoderForSequenceClassification

    named = {key: labels[key] for key in ("num_labels", "id2label", "label2id")}
    model = PooledEncoderForSequenceClassification.from_encoder(name, pooling=pooling, **named, **changes)
    model.config.problem_type = labels["problem_type"]
    return model


def checked_overrides(config: PreTrainedConfig, settings: TextSettings) -> dict:
    """Reads `--config_overrides` for a config.

    Raises:
        BadInput: If the config has no such name.
    """
    changes = parse_overrides(settings.config_overrides or "")
    known = config.to_dict()
    for name in changes:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(known))}"
            raise BadInput(f"--config_overrides {name}: {config.model_type} has no such setting; {hint}")
    return changes


def _check_length(config: PreTrainedConfig, settings: TextSettings, longest: int) -> None:
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None:
        return
    if "roberta" in config.model_type:  # its positions start behind the padding's
        limit -= config.pad_token_id + 1
    if longest > limit:
        raise BadInput(
            f"--max_length {settings.max_length}: {settings.model_name_or_path} reads {limit} tokens at most; "
            f"pass --max_length {limit}"
        )
