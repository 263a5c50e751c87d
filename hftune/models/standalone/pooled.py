"""Any encoder, or a GPT-2-like decoder, with a choice of how its token states become one text vector.

The backbone is transformers' own; only the pooling and the classifier are here, and the windows in which a
text is read that is longer than the backbone's positions: each is read by itself, and the mean of their
vectors, each weighted by its tokens, is the text's.
Papers: Devlin et al. 2019 ([CLS]); Reimers & Gurevych 2019 (mean, max); Yang et al. 2016 (attention);
Radford et al. 2018 (a decoder's last token); Conneau et al. 2017 (how two texts are compared).
Shapes: B texts, L positions, H the backbone's hidden_size, C labels; W windows of a text, T positions of one.
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
PAIR_ENCODERS = ("cross", "bi")
TOKENS_AT_ONCE = 16_384  # of the windows that pass together where nothing is learned: bounds the memory


class PooledEncoderConfig(PreTrainedConfig):
    """Settings of a pooled encoder.

    Args:
        encoder_config: The backbone's config, or a dict of it with its `model_type`; by default a BERT base.
        pooling: "cls" and "last" take the state of the first and the last token that is not padding, "mean"
            and "max" go over all of them, "attention" is a mean with learned weights.
        classifier_dropout: Chance that a value of the text vector is zeroed while training.
        compares_texts: Of pairs, whose tokens have segments 0 and 1: whether the text vector is made of four,
            the mean of each text's states u and v, without what stands before the first one, |u - v| and
            u * v, instead of one mean.
        pair_encoder: How those two are read, "cross": together, so that the tokens of one see those of the
            other; "bi": each by itself, as a sentence encoder was trained.
        window: Tokens of a window, special ones included; None: a text is read as one.
        window_stride: Tokens that a window shares with the one before.
        max_windows: The windows of a text that are read, its first ones.
        special_tokens_before: Special tokens that the tokenizer puts before a text. Every window gets them.
        special_tokens_after: Likewise after it.
    """

    model_type = "pooled_encoder"
    sub_configs = {"encoder_config": AutoConfig}  # noqa: RUF012 (how transformers wants it declared)

    encoder_config: dict | PreTrainedConfig | None = None
    pooling: str = "mean"
    classifier_dropout: float = 0.1
    compares_texts: bool = False
    pair_encoder: str = "cross"
    window: int | None = None
    window_stride: int = 64
    max_windows: int = 64
    special_tokens_before: int = 1
    special_tokens_after: int = 1

    def __post_init__(self, **kwargs: Any) -> None:
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is {self.pooling!r}: use one of {', '.join(POOLINGS)}")
        if self.compares_texts and self.pooling != "mean":
            raise ValueError(f"pooling is {self.pooling!r}: compares_texts needs the mean")
        if self.pair_encoder not in PAIR_ENCODERS:
            raise ValueError(f"pair_encoder is {self.pair_encoder!r}: use one of {', '.join(PAIR_ENCODERS)}")
        if self.window is not None and self.window_step < 1:
            raise ValueError(
                f"window is {self.window}: too short for a window_stride of {self.window_stride}"
            )
        if not isinstance(self.encoder_config, PreTrainedConfig):
            self.encoder_config = AutoConfig.for_model(**(self.encoder_config or {"model_type": "bert"}))
        super().__post_init__(**kwargs)

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> PreTrainedConfig:
        """Returns the backbone's config, where transformers looks up `vocab_size` and the like."""
        return cast(PreTrainedConfig, self.encoder_config)

    @property
    def window_room(self) -> int:
        """Tokens of a text that a window holds."""
        return cast(int, self.window) - self.special_tokens_before - self.special_tokens_after

    @property
    def window_step(self) -> int:
        """Tokens from the beginning of a window to that of the next."""
        return self.window_room - self.window_stride

    @property
    def longest_text(self) -> int | None:
        """Tokens of the longest text of which all is read, special ones included; None without windows."""
        return None if self.window is None else self.window + (self.max_windows - 1) * self.window_step


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
        self.classifier = nn.Linear(4 * H if config.compares_texts else H, config.num_labels)  # type: ignore[arg-type]
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
        windows: dict[str, Any] | None = None,
        compares_texts: bool = False,
        pair_encoder: str = "cross",
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
            windows: What `PooledEncoderConfig` says of windows; None: a text is read as one.
            compares_texts: See `PooledEncoderConfig`.
            pair_encoder: See `PooledEncoderConfig`.
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
            compares_texts=compares_texts,
            pair_encoder=pair_encoder,
            **(windows or {}),
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
        values = {"input_ids": input_ids}
        if token_type_ids is not None:
            values["token_type_ids"] = token_type_ids
        read = self._vectors if self.config.window is None else self._vectors_of_windows
        logits = self.classifier(self.dropout(read(values, attention_mask.bool())))
        loss = None
        if labels is not None:
            loss = self.loss_function(
                labels=labels, pooled_logits=logits.float(), config=self.config, **kwargs
            )
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _vectors(self, values: dict[str, torch.Tensor], is_token: torch.Tensor) -> torch.Tensor:
        """Reads each row as one, values (B, L) and bool (B, L) -> (B, H), of compared texts (B, 4 H)."""
        if not self.config.compares_texts:
            return self._pool(self._states(values, is_token), is_token)
        segments = values.get("token_type_ids")
        of_second = torch.zeros_like(is_token) if segments is None else is_token & (segments == 1)
        if self.config.pair_encoder == "bi":
            u, v = self._vectors_of_each(values, is_token, of_second)
        else:
            states = self._states(values, is_token)
            before = is_token.cumsum(1) <= self.config.special_tokens_before  # [CLS] belongs to neither
            u, v = self._pool(states, is_token & ~of_second & ~before), self._pool(states, of_second)
        return torch.cat([u, v, (u - v).abs(), u * v], dim=1)

    def _states(self, values: dict[str, torch.Tensor], is_token: torch.Tensor) -> torch.Tensor:
        """Returns the backbone's last states, (B, L, H), of values (B, L) and bool (B, L)."""
        return self.encoder(**values, attention_mask=is_token.long()).last_hidden_state

    def _vectors_of_each(
        self, values: dict[str, torch.Tensor], is_token: torch.Tensor, of_second: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Reads the texts of each pair by themselves, values and bools (B, L) -> two of (B, H).

        The second one gets the special tokens that stand before the first.
        """
        before, length = self.config.special_tokens_before, is_token.shape[1]
        first = (is_token & ~of_second).sum(1, keepdim=True)
        second = before + of_second.sum(1, keepdim=True)
        start = is_token.long().argmax(1, keepdim=True)
        size = length if torch.compiler.is_exporting() else int(torch.maximum(first, second).max())
        place = torch.arange(size, device=is_token.device).expand(len(is_token), -1)
        places = torch.cat([place, torch.where(place < before, place, place + first - before)])  # (2 B, T)
        positions = (places + start.repeat(2, 1)).clamp(max=length - 1)
        is_own = place.repeat(2, 1) < torch.cat([first, second])
        alone = {name: value.repeat(2, 1).gather(1, positions) for name, value in values.items()}
        alone["input_ids"] = alone["input_ids"].masked_fill(
            ~is_own, self.config.get_text_config().pad_token_id or 0
        )
        alone["token_type_ids"] = torch.zeros_like(alone["input_ids"])
        return self._pool(self._states(alone, is_own), is_own).chunk(2)

    def _vectors_of_windows(self, values: dict[str, torch.Tensor], is_token: torch.Tensor) -> torch.Tensor:
        """Reads each row in windows, values (B, L) and bool (B, L) -> (B, H)."""
        config = cast(PooledEncoderConfig, self.config)
        positions, in_window = cut_windows(is_token, config)  # (B, W, T)
        tokens = in_window.sum(2)  # (B, W)
        shares = (tokens / tokens.sum(1, keepdim=True).clamp(min=1)).unsqueeze(2)
        values = {
            name: row.gather(1, positions.flatten(1)).view_as(positions) for name, row in values.items()
        }
        pad_token_id = config.get_text_config().pad_token_id or 0
        values["input_ids"] = values["input_ids"].masked_fill(~in_window, pad_token_id)
        if torch.compiler.is_exporting():  # a graph has no place for a choice of windows: it reads all
            in_window = in_window | (torch.arange(positions.shape[2], device=positions.device) == 0)
            flat = {name: window.flatten(0, 1) for name, window in values.items()}
            vectors = self._vectors(flat, in_window.flatten(0, 1)).unflatten(0, tokens.shape)
            return (vectors * shares).sum(1)
        rows, places = tokens.nonzero(as_tuple=True)  # of the windows that are more than padding
        order = tokens[rows, places].argsort(descending=True, stable=True)
        rows, places = rows[order], places[order]
        at_once = len(order) if self.training else max(1, TOKENS_AT_ONCE // positions.shape[2])
        parts = []
        for row, place in zip(rows.split(at_once), places.split(at_once), strict=True):
            longest = int(tokens[row[0], place[0]])
            part = {name: window[row, place, :longest] for name, window in values.items()}
            parts.append(self._vectors(part, in_window[row, place, :longest]))
        found = torch.cat(parts)
        vectors = found.new_zeros(*tokens.shape, found.shape[1])
        vectors[rows, places] = found
        return (vectors * shares).sum(1).to(found.dtype)

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


def cut_windows(is_token: torch.Tensor, config: PooledEncoderConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Says where the tokens of each window stand in its text.

    Each window has the text's special tokens around it. The last one ends with the text.

    Args:
        is_token: Which positions are no padding, bool (B, L); padding stands at one end.
        config: Has windows.

    Returns:
        Positions in the text, int64 (B, W, T), and which of a window's positions are no padding, bool; a
        window that a shorter text does not have is padding alone.
    """
    device, length = is_token.device, is_token.shape[1]
    before, room, step = config.special_tokens_before, config.window_room, config.window_step
    around = before + config.special_tokens_after
    size = room + around
    # Sizes are symbols where a graph of the model is made.
    count = torch.sym_min(1 + torch.sym_max(length - size + step - 1, 0) // step, config.max_windows)
    place = torch.arange(torch.sym_min(length, size), device=device)  # (T,) in a window
    first = torch.arange(count, device=device)[:, None] * step  # (W, 1) of the text's words in a window
    tokens = is_token.sum(1)[:, None, None]  # (B, 1, 1)
    words = (tokens - around).clamp(min=0)
    held = (words - first).clamp(min=0, max=room)  # (B, W, 1)
    exists = (first == 0) | (first < words - room + step)  # else the one before it has reached the end
    in_window = exists & (place < (held + around).minimum(tokens))
    inside = torch.where(place < before, place, place + first)
    positions = torch.where(place < before + held, inside, place - held + words)
    start = is_token.long().argmax(1)[:, None, None]
    return (positions + start).clamp(max=length - 1), in_window


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
