"""A bidirectional LSTM of any depth: read the text both ways, pool the states, classify.

Padding changes nothing: each direction is an LSTM of its own that reads the words first, the backward one
from each text's last word, and states at padding are left out. Packed sequences would do the same, but where
lengths differ their backward pass takes about ten times as long on a CPU.
Papers: Hochreiter & Schmidhuber 1997 (LSTM); Schuster & Paliwal 1997 (bidirectional); Jozefowicz et al. 2015
(forget gate bias of 1); Yang et al. 2016 (attention readout).
Shapes: B texts, L positions, E embedding_dim, H hidden_size of one direction, C labels.
"""

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput

READOUTS = ("final", "mean", "max", "attention")


class BiLSTMConfig(PreTrainedConfig):
    """Settings of a bidirectional LSTM classifier.

    Args:
        vocab_size: Number of words, padding and unknown included.
        pad_token_id: The padding's id; positions with it count as padding where no attention_mask is given.
        embedding_dim: Size of a word vector.
        hidden_size: Size of the state of one direction.
        num_layers: Depth.
        readout: "final" takes what each direction of the last layer has read last, "mean" and "max" go over
            its states of all words, "attention" is a mean with learned weights.
        embedding_dropout: Chance that a value of a word vector is zeroed while training.
        dropout: Chance that a value is zeroed between layers and before the classifier while training.
        initializer_range: Standard deviation of the word vectors at the start.
    """

    model_type = "bilstm"

    vocab_size: int = 30_000
    pad_token_id: int | None = 0
    embedding_dim: int = 128
    hidden_size: int = 128
    num_layers: int = 1
    readout: str = "mean"
    embedding_dropout: float = 0.3
    dropout: float = 0.5
    initializer_range: float = 0.1

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.readout not in READOUTS:
            raise ValueError(f"readout is {self.readout!r}: use one of {', '.join(READOUTS)}")


class BiLSTMForSequenceClassification(PreTrainedModel):
    """Word vectors, bidirectional LSTM, readout, linear classifier.

    Args:
        config: Settings.
    """

    config_class = BiLSTMConfig
    base_model_prefix = ""

    def __init__(self, config: BiLSTMConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(
            config.vocab_size, config.embedding_dim, padding_idx=config.pad_token_id
        )
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        H = config.hidden_size
        widths = [config.embedding_dim] + [2 * H] * (config.num_layers - 1)
        self.forward_lstms = nn.ModuleList(nn.LSTM(width, H, batch_first=True) for width in widths)
        self.backward_lstms = nn.ModuleList(nn.LSTM(width, H, batch_first=True) for width in widths)
        self.attention: nn.Module | None = None
        if config.readout == "attention":  # Yang et al. 2016, equations 5 to 7
            self.attention = nn.Sequential(
                nn.Linear(2 * H, 2 * H), nn.Tanh(), nn.Linear(2 * H, 1, bias=False)
            )
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(2 * H, config.num_labels)  # type: ignore[arg-type]
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
            if module.padding_idx is not None and not getattr(module.weight, "_is_hf_initialized", False):
                init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, nn.LSTM):
            self._init_lstm(module)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)

    def _init_lstm(self, lstm: nn.LSTM) -> None:
        """Starts with orthogonal recurrent weights and an open forget gate, which keeps early words."""
        for name, parameter in lstm.named_parameters():
            if name.startswith("weight_ih"):
                init.xavier_uniform_(parameter)
            elif name.startswith("weight_hh"):
                init.orthogonal_(parameter)
            elif not getattr(parameter, "_is_hf_initialized", False):  # a slice does not carry the flag
                init.zeros_(parameter)
                if name.startswith("bias_ih"):  # torch's order of gates: input, forget, cell, output
                    init.ones_(parameter[lstm.hidden_size : 2 * lstm.hidden_size])

    def get_input_embeddings(self) -> nn.Embedding:
        """Returns the word vectors, (vocab_size, E)."""
        return self.embedding

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Classifies texts; padding, on either side, never changes a logit.

        Args:
            input_ids: Word ids, (B, L), int64.
            attention_mask: 1 for words, 0 for padding, (B, L); by default what is not `pad_token_id`.
            labels: Label ids, (B,), int64; without them there is no loss.
            **kwargs: Passed to the loss, for example `num_items_in_batch`.

        Returns:
            `logits` (B, C), float32 `loss` if labels are given.
        """
        if attention_mask is None:
            attention_mask = input_ids != self.config.pad_token_id
        is_word = attention_mask.bool()
        # Words first: left padding moves right; the stable sort keeps the words' order.
        input_ids = input_ids.gather(1, (~is_word).to(torch.uint8).argsort(dim=1, stable=True))
        x = self.embedding_dropout(self.embedding(input_ids))  # (B, L, E)
        logits = self.classifier(self.dropout(self._read(x, is_word.sum(1, keepdim=True))))
        loss = None
        if labels is not None:
            loss = self.loss_function(
                labels=labels, pooled_logits=logits.float(), config=self.config, **kwargs
            )
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _read(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Runs all layers over the words and pools the last one's states, (B, L, E) and (B, 1) -> (B, 2H)."""
        position = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])  # (B, L)
        is_padding = position >= lengths
        mirrored = torch.where(is_padding, position, lengths - 1 - position)
        for depth, (forward, backward) in enumerate(
            zip(self.forward_lstms, self.backward_lstms, strict=True)
        ):
            x = self.dropout(x) if depth > 0 else x
            onward, _ = forward(x)  # (B, L, H)
            back, _ = backward(reorder(x, mirrored))
            x = torch.cat([onward, reorder(back, mirrored)], dim=2)  # (B, L, 2H)
        if self.config.readout == "final":
            last = (lengths - 1).clamp(min=0)  # where the forward direction ends; the backward one ends at 0
            return torch.cat([reorder(onward, last)[:, 0], x[:, 0, onward.shape[2] :]], dim=1)
        if self.config.readout == "max":
            return x.masked_fill(is_padding.unsqueeze(2), -1).amax(dim=1)  # states lie in (-1, 1)
        x = x.masked_fill(is_padding.unsqueeze(2), 0)
        if self.attention is not None:
            scores = self.attention(x)  # (B, L, 1)
            weights = scores.masked_fill(is_padding.unsqueeze(2), torch.finfo(scores.dtype).min).softmax(1)
            return (weights * x).sum(dim=1)
        return x.sum(dim=1) / lengths.clamp(min=1)


def reorder(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Takes each text's vectors in another order, (B, L, E) and (B, M) positions -> (B, M, E)."""
    return x.gather(1, positions.unsqueeze(2).expand(-1, -1, x.shape[2]))


BiLSTMConfig.register_for_auto_class()
BiLSTMForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
AutoConfig.register("bilstm", BiLSTMConfig, exist_ok=True)
AutoModelForSequenceClassification.register(BiLSTMConfig, BiLSTMForSequenceClassification, exist_ok=True)
