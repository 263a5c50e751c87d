"""A bag of words and word pairs: embed, average, optionally one hidden layer, classify.

Fast: thousands of texts per second on one core. Word order beyond neighbouring pairs is lost, which costs
little on long texts about one thing.

Papers: Iyyer et al. 2015 (deep averaging networks); Joulin et al. 2016 (fastText: hashed word pairs).
Shapes: B texts, L positions, E embedding_dim, H features before the classifier, C labels.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput


class BagConfig(PreTrainedConfig):
    """Settings of a bag model.

    Args:
        vocab_size: Number of words, padding and unknown included.
        pad_token_id: The padding's id; positions with it count as padding where no attention_mask is given.
        embedding_dim: Size of a word vector.
        ngrams: 1 for words alone, 2 to add pairs of neighbouring words.
        num_buckets: Size of the table of pairs; pairs that hash to the same row share a vector.
        hidden_size: Size of the ReLU layer between average and classifier; 0 for none.
        word_dropout: Chance that a word or pair is left out of the average while training.
        dropout: Chance that a feature is zeroed before each linear layer while training.
        initializer_range: Standard deviation of the embeddings at the start.
    """

    model_type = "bag"

    vocab_size: int = 30_000
    pad_token_id: int | None = 0
    embedding_dim: int = 64
    ngrams: int = 2
    num_buckets: int = 500_000
    hidden_size: int = 0
    word_dropout: float = 0.0
    dropout: float = 0.2
    initializer_range: float = 0.02

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.ngrams not in (1, 2):
            raise ValueError(f"ngrams is {self.ngrams}: use 1 (words) or 2 (words and pairs)")


def hash_pairs(input_ids: torch.Tensor, num_buckets: int) -> torch.Tensor:
    """Hashes each pair of neighbouring ids to a bucket, the same on every device.

    Every product stays below 2**63, so nothing depends on how a device overflows.

    Args:
        input_ids: Word ids, (B, L), int64.
        num_buckets: Number of buckets.

    Returns:
        Bucket of positions t and t + 1, (B, L), int64 in [0, num_buckets); the last pairs with id 0.
    """
    mask = 0x7FFFFFFF  # 31 bits
    following = F.pad(input_ids[:, 1:], (0, 1))
    hashed = (input_ids * 0x01000193 + following) & mask
    hashed = ((hashed ^ (hashed >> 15)) * 0x2C1B3C6D) & mask
    hashed = ((hashed ^ (hashed >> 12)) * 0x297A2D39) & mask
    return (hashed ^ (hashed >> 15)) % num_buckets


class BagForSequenceClassification(PreTrainedModel):
    """Averaged word and pair vectors with a linear classifier.

    Args:
        config: Settings.
    """

    config_class = BagConfig
    base_model_prefix = ""

    def __init__(self, config: BagConfig):
        super().__init__(config)
        E = config.embedding_dim
        self.embedding = nn.Embedding(config.vocab_size, E, padding_idx=config.pad_token_id)
        self.pair_embedding = nn.Embedding(config.num_buckets, E) if config.ngrams == 2 else None
        self.hidden = nn.Linear(E, config.hidden_size) if config.hidden_size else None
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size or E, config.num_labels)  # type: ignore[arg-type]
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
            if module.padding_idx is not None and not getattr(module.weight, "_is_hf_initialized", False):
                init.zeros_(module.weight[module.padding_idx])
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
        words = attention_mask.to(self.embedding.weight.dtype)
        count = words.sum(1, keepdim=True)
        pairs = words * F.pad(words[:, 1:], (0, 1))
        if self.pair_embedding is not None:
            count = count + pairs.sum(1, keepdim=True)
        count = count.clamp(min=1)
        x = self._weighted_sum(self.embedding, input_ids, words / count)  # (B, E)
        if self.pair_embedding is not None:
            buckets = hash_pairs(input_ids, self.config.num_buckets)
            x = x + self._weighted_sum(self.pair_embedding, buckets, pairs / count)
        if self.hidden is not None:
            x = F.relu(self.hidden(self.dropout(x)))  # (B, H)
        logits = self.classifier(self.dropout(x))
        loss = None
        if labels is not None:
            loss = self.loss_function(
                labels=labels, pooled_logits=logits.float(), config=self.config, **kwargs
            )
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _weighted_sum(
        self, embedding: nn.Embedding, ids: torch.Tensor, weights: torch.Tensor
    ) -> torch.Tensor:
        """Sums rows of a table, (B, L) ids and weights -> (B, E), without making a (B, L, E) tensor."""
        weights = F.dropout(weights, self.config.word_dropout, self.training)
        return F.embedding_bag(
            ids, embedding.weight, mode="sum", per_sample_weights=weights, padding_idx=embedding.padding_idx
        )


BagConfig.register_for_auto_class()
BagForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
AutoConfig.register("bag", BagConfig, exist_ok=True)
AutoModelForSequenceClassification.register(BagConfig, BagForSequenceClassification, exist_ok=True)
