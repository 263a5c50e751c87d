"""Any encoder, or a GPT-2-like decoder, with a choice of how its token states become one text vector.

The backbone is transformers' own; only the pooling and the classifier are here.
Papers: Devlin et al. 2019 ([CLS]); Reimers & Gurevych 2019 (mean, max); Yang et al. 2016 (attention);
Radford et al. 2018 (a decoder's last token).
Shapes: B texts, L positions, H the backbone's hidden_size, C labels.
"""

import inspect
from typing import Any, cast

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
from transformers.models.auto.modeling_auto import MODEL_MAPPING

POOLINGS = ("cls", "mean", "max", "attention", "last")


class PooledEncoderConfig(PreTrainedConfig):
    """Settings of a pooled encoder.

    Args:
        encoder_config: The backbone's config, or a dict of it with its `model_type`; by default a BERT base.
        pooling: "cls" and "last" take the state of the first and the last token that is not padding, "mean"
            and "max" go over all of them, "attention" is a mean with learned weights.
        classifier_dropout: Chance that a value of the text vector is zeroed while training.
    """

    model_type = "pooled_encoder"
    sub_configs = {"encoder_config": AutoConfig}  # noqa: RUF012 (how transformers wants it declared)

    encoder_config: dict | PreTrainedConfig | None = None
    pooling: str = "mean"
    classifier_dropout: float = 0.1

    def __post_init__(self, **kwargs: Any) -> None:
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is {self.pooling!r}: use one of {', '.join(POOLINGS)}")
        if not isinstance(self.encoder_config, PreTrainedConfig):
            self.encoder_config = AutoConfig.for_model(**(self.encoder_config or {"model_type": "bert"}))
        super().__post_init__(**kwargs)

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """Returns the backbone's config, where transformers looks up `vocab_size` and the like."""
        return cast(PreTrainedConfig, self.encoder_config)


class PooledEncoderForSequenceClassification(PreTrainedModel):
    """A backbone, a pooling over its last states, a linear classifier.

    Args:
        config: Settings.
    """

    config_class = PooledEncoderConfig
    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    _supports_sdpa = True

    def __init__(self, config: PooledEncoderConfig):
        super().__init__(config)
        backbone = config.get_text_config()
        # Inside `from_pretrained` the default dtype is the one asked for, whatever the backbone's config has.
        self.encoder = AutoModel.from_config(
            backbone, dtype=torch.get_default_dtype(), **without_pooler(backbone)
        )
        H = backbone.hidden_size
        self.attention: nn.Module | None = None
        if config.pooling == "attention":  # Yang et al. 2016, equations 5 and 6
            self.attention = nn.Sequential(nn.Linear(H, H), nn.Tanh(), nn.Linear(H, 1, bias=False))
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(H, config.num_labels)  # type: ignore[arg-type]
        self.post_init()

    @classmethod
    def from_encoder(
        cls,
        name_or_path: str,
        *,
        pooling: str = "mean",
        classifier_dropout: float = 0.1,
        num_labels: int | None = None,
        id2label: dict[int, str] | None = None,
        label2id: dict[str, int] | None = None,
        revision: str = "main",
        **config_overrides: Any,
    ) -> "PooledEncoderForSequenceClassification":
        """Puts a new pooling and classifier on a pretrained backbone.

        Args:
            name_or_path: Hub id or folder of the backbone; a classifier's own head is left behind.
            pooling: See `PooledEncoderConfig`.
            classifier_dropout: See `PooledEncoderConfig`.
            num_labels: Number of labels, where no names are given.
            id2label: Name of each label id.
            label2id: Id of each label name.
            revision: Branch, tag or commit of the Hub repository.
            **config_overrides: Values that replace those of the backbone's config.

        Returns:
            The model, float32 whatever the checkpoint's dtype, in eval mode as from `from_pretrained`.

        Raises:
            ValueError: The checkpoint lacks weights of the backbone, which would then be random.
        """
        backbone = AutoConfig.from_pretrained(name_or_path, revision=revision, **config_overrides)
        encoder, found = AutoModel.from_pretrained(
            name_or_path,
            revision=revision,
            config=backbone,
            output_loading_info=True,
            dtype=torch.float32,
            use_safetensors=True,  # a pickle is never opened
            **without_pooler(backbone),
        )
        if absent := sorted(found["missing_keys"]):
            raise ValueError(
                f"the checkpoint lacks {len(absent)} of the backbone's weights, such as {absent[0]}"
            )
        labels: dict[str, Any] = {"num_labels": num_labels, "id2label": id2label, "label2id": label2id}
        config = cls.config_class(
            encoder_config=encoder.config,
            pooling=pooling,
            classifier_dropout=classifier_dropout,
            **{name: value for name, value in labels.items() if value is not None},
        )
        model = cls(config)
        model.encoder.load_state_dict(encoder.state_dict())
        return model.eval()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):  # the backbone has initialised its own
            init.normal_(module.weight, std=getattr(self.config.get_text_config(), "initializer_range", 0.02))
            if module.bias is not None:
                init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        """Returns the backbone's token embeddings."""
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the backbone's token embeddings."""
        self.encoder.set_input_embeddings(value)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Classifies texts.

        Args:
            input_ids: Token ids, (B, L), int64.
            attention_mask: 1 for tokens, 0 for padding, (B, L); by default what is not its `pad_token_id`.
            token_type_ids: Segment of each token, (B, L), for backbones that take it.
            labels: Label ids, (B,), int64; without them there is no loss.
            **kwargs: Passed to the loss, for example `num_items_in_batch`.

        Returns:
            `logits` (B, C), float32 `loss` if labels are given.
        """
        if attention_mask is None:
            pad_token_id = self.config.get_text_config().pad_token_id
            attention_mask = (
                torch.ones_like(input_ids) if pad_token_id is None else input_ids.ne(pad_token_id).long()
            )
        segments = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        states = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, **segments
        ).last_hidden_state
        logits = self.classifier(self.dropout(self._pool(states, attention_mask.bool())))
        loss = None
        if labels is not None:
            loss = self.loss_function(
                labels=labels, pooled_logits=logits.float(), config=self.config, **kwargs
            )
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _pool(self, states: torch.Tensor, is_token: torch.Tensor) -> torch.Tensor:
        """Makes one vector of each text, states (B, L, H) and bool (B, L) -> (B, H)."""
        is_padding = ~is_token.unsqueeze(2)  # (B, L, 1)
        pooling = self.config.pooling
        if pooling == "mean":
            return states.masked_fill(is_padding, 0).sum(1) / is_token.sum(1, keepdim=True).clamp(min=1)
        if pooling == "max":
            return states.masked_fill(is_padding, torch.finfo(states.dtype).min).amax(1)
        if self.attention is not None:
            scores = self.attention(states)  # (B, L, 1)
            weights = scores.masked_fill(is_padding, torch.finfo(scores.dtype).min).softmax(1)
            return (weights * states.masked_fill(is_padding, 0)).sum(1)
        tokens = is_token.long()
        first = tokens.argmax(1)
        last = is_token.shape[1] - 1 - tokens.flip(1).argmax(1)
        position = first if pooling == "cls" else last
        return states[torch.arange(len(states), device=states.device), position]


def without_pooler(config: PreTrainedConfig) -> dict[str, bool]:
    """Returns the argument that leaves out a backbone's own pooler, for the classes that have one.

    Its parameters would get no gradient, which distributed training takes for an error.
    """
    takes = inspect.signature(cast(type, MODEL_MAPPING[type(config)])).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in takes else {}


PooledEncoderConfig.register_for_auto_class()
PooledEncoderForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
AutoConfig.register("pooled_encoder", PooledEncoderConfig, exist_ok=True)
AutoModelForSequenceClassification.register(
    PooledEncoderConfig, PooledEncoderForSequenceClassification, exist_ok=True
)
