"""Any encoder, or a GPT-2-like decoder, with a choice of how its word states become one text vector.

The backbone is transformers' own, with its own weights' names under `encoder.`; only the pooling and the classifier
are here. Poolings that read positions know where the padding is, on either side.
Papers: Devlin et al. 2019 ([CLS]); Reimers & Gurevych 2019 (mean, max); Yang et al. 2016 (attention);
Radford et al. 2018 (last word of a decoder).
Shapes: B texts, L positions, H the backbone's hidden_size, C labels.
"""

import inspect

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput

POOLINGS = ("cls", "mean", "max", "attention", "last")


class PooledEncoderConfig(PreTrainedConfig):
    """Settings of a pooled encoder.

    Args:
        encoder_config: The backbone's config, or the same as a dict with its `model_type`.
        pooling: "cls" and "last" take the state of the first and the last word, "mean" and "max" go over all words,
            "attention" is a mean with learned weights.
        classifier_dropout: Chance that a value of the text vector is zeroed while training.
    """

    model_type = "pooled_encoder"
    sub_configs = {"encoder_config": AutoConfig}  # noqa: RUF012 (transformers' own way to declare it)

    encoder_config: dict | PreTrainedConfig | None = None
    pooling: str = "mean"
    classifier_dropout: float = 0.1

    def __post_init__(self, **kwargs):
        if self.encoder_config is None:  # transformers makes a config without arguments to see what its defaults are
            self.encoder_config = AutoConfig.for_model("bert")
        elif isinstance(self.encoder_config, dict):
            self.encoder_config = AutoConfig.for_model(**self.encoder_config)
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is {self.pooling!r}: use one of {', '.join(POOLINGS)}")
        super().__post_init__(**kwargs)

    @property
    def hidden_size(self) -> int:
        """Size of the backbone's states."""
        return self.encoder_config.hidden_size

    @property
    def vocab_size(self) -> int:
        """Number of the backbone's tokens."""
        return self.encoder_config.vocab_size

    @property
    def pad_token_id(self) -> int | None:
        """The backbone's padding id."""
        return self.encoder_config.pad_token_id
