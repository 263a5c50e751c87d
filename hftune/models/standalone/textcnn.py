"""A convolutional text classifier: windows of words, the strongest match of each filter, classify.

Paper: Kim 2014 (convolutional neural networks for sentence classification). Different here: a window may
reach past the text's end into zeros, so that a text shorter than the widest window has windows too.
Shapes: B texts, L positions, E embedding_dim, N num_filters, C labels.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput

READOUTS = ("max", "max+mean")


class TextCNNConfig(PreTrainedConfig):
    """Settings of a TextCNN.

    Args:
        vocab_size: Number of words, padding and unknown included.
        pad_token_id: The padding's id; positions with it count as padding where no attention_mask is given.
        embedding_dim: Size of a word vector.
        kernel_sizes: Widths of the windows, in words.
        num_filters: Filters of each width.
        readout: "max" takes each filter's strongest match, as in the paper; "max+mean" also its mean match,
            which tells how often a pattern occurs in a long text.
        embedding_dropout: Chance that a value of a word vector is zeroed while training.
        dropout: Chance that a filter's match is zeroed while training.
        initializer_range: Standard deviation of the word vectors at the start.
    """

    model_type = "textcnn"

    vocab_size: int = 30_000
    pad_token_id: int | None = 0
    embedding_dim: int = 128
    kernel_sizes: list[int] | tuple[int, ...] = (3, 4, 5)
    num_filters: int = 100
    readout: str = "max"
    embedding_dropout: float = 0.0
    dropout: float = 0.5
    initializer_range: float = 0.1

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.readout not in READOUTS:
            raise ValueError(f"readout is {self.readout!r}: use one of {', '.join(READOUTS)}")


class TextCNNForSequenceClassification(PreTrainedModel):
    """Convolutions over word vectors, maximum over time, linear classifier.

    Args:
        config: Settings.
    """

    config_class = TextCNNConfig
    base_model_prefix = ""

    def __init__(self, config: TextCNNConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(
            config.vocab_size, config.embedding_dim, padding_idx=config.pad_token_id
        )
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(config.embedding_dim, config.num_filters, width) for width in config.kernel_sizes
        )
        self.dropout = nn.Dropout(config.dropout)
        features = config.num_filters * len(config.kernel_sizes) * (2 if config.readout == "max+mean" else 1)
        self.classifier = nn.Linear(features, config.num_labels)  # type: ignore[arg-type]
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
            if module.padding_idx is not None and not getattr(module.weight, "_is_hf_initialized", False):
                init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, nn.Conv1d):
            init.kaiming_uniform_(module.weight, nonlinearity="relu")
            init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)

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
        """Classifies texts; padding never changes a logit.

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
        is_word = attention_mask.bool().unsqueeze(1)  # (B, 1, L)
        x = self.embedding_dropout(self.embedding(input_ids)).transpose(1, 2)  # (B, E, L)
        x = x.masked_fill(~is_word, 0)
        widths = zip(self.convolutions, self.config.kernel_sizes, strict=True)
        features = [self._read(convolution, width, x, is_word) for convolution, width in widths]
        logits = self.classifier(self.dropout(torch.cat(features, dim=1)))
        loss = None
        if labels is not None:
            loss = self.loss_function(
                labels=labels, pooled_logits=logits.float(), config=self.config, **kwargs
            )
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _read(
        self, convolution: nn.Module, width: int, x: torch.Tensor, is_word: torch.Tensor
    ) -> torch.Tensor:
        """Pools each filter over the windows that start at a word, (B, E, L) -> (B, N) or (B, 2N)."""
        matches = convolution(F.pad(x, (0, width - 1)))  # (B, N, L): one window per start
        # The rectifier after the maximum gives the same as before it, for L times less work.
        strongest = F.relu(matches.masked_fill(~is_word, -torch.inf).amax(dim=2))
        if self.config.readout == "max":
            return strongest
        mean = F.relu(matches).masked_fill(~is_word, 0).sum(dim=2) / is_word.sum(dim=2).clamp(min=1)
        return torch.cat([strongest, mean], dim=1)


TextCNNConfig.register_for_auto_class()
TextCNNForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
AutoConfig.register("textcnn", TextCNNConfig, exist_ok=True)
AutoModelForSequenceClassification.register(TextCNNConfig, TextCNNForSequenceClassification, exist_ok=True)
