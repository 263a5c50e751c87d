"""Named entities from scratch: word pieces and their letters, a bidirectional LSTM, a CRF over the words.

The CRF scores whole sequences of tags. `forward` returns the logarithm of its marginals as logits: their
softmax is the probability of each tag given the whole text, and their argmax the tags that are most often
right (Merialdo 1994), so `pipeline` needs no knowledge of the CRF. `decode` has the single best sequence
(Viterbi). A piece that goes on with a word (##ing) is no step of the CRF: it shares the answer of the word's
first piece.
Papers: Huang, Xu & Yu 2015 (LSTM-CRF); Ma & Hovy 2016 (letters by convolution); Lafferty et al. 2001 (CRF).
Shapes: B texts, L positions, E embedding_dim, F char_filters, M letters of a piece, H hidden_size of one
direction, K tags, V pieces.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForTokenClassification, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import TokenClassifierOutput

GOES_ON = "##"  # how a vocabulary writes a piece that goes on with a word
NOT_A_LETTER, CONTINUED = 0, 1  # letters of padding, and of what comes before a piece that goes on
LETTERS = 512  # ids of letters: those below 256 by their number in Unicode, all others share the rest
FORBIDDEN = -1e4  # score of a tag that a label rules out


class BiLSTMCRFConfig(PreTrainedConfig):
    """Settings.

    Args:
        vocab_size: Number of word pieces, padding and unknown included.
        pad_token_id: The padding's id; positions with it count as padding where no attention_mask is given.
        embedding_dim: Size of a piece's vector.
        char_embedding_dim: Size of a letter's vector.
        char_filters: What is looked for in the letters.
        char_width: Letters that a filter sees at once.
        max_letters: Letters of a piece that are read.
        hidden_size: Size of the state of one direction.
        num_layers: Depth.
        embedding_dropout: Chance that a value of the pieces' vectors is zeroed while training.
        dropout: Chance that a value is zeroed between layers and before the classifier while training.
        initializer_range: Standard deviation of the vectors at the start.
    """

    model_type = "bilstm_crf"

    vocab_size: int = 30_000
    pad_token_id: int | None = 0
    embedding_dim: int = 100
    char_embedding_dim: int = 30
    char_filters: int = 60
    char_width: int = 3
    max_letters: int = 16
    hidden_size: int = 128
    num_layers: int = 1
    embedding_dropout: float = 0.5
    dropout: float = 0.5
    initializer_range: float = 0.1


class BiLSTMCRFForTokenClassification(PreTrainedModel):
    """Vectors of pieces and of their letters, bidirectional LSTM, linear classifier, CRF.

    Args:
        config: Settings.
    """

    config_class = BiLSTMCRFConfig
    base_model_prefix = ""

    spelling: torch.Tensor  # letters of each piece, int64 (V, M)
    goes_on: torch.Tensor  # whether a piece goes on with a word, bool (V,)

    def __init__(self, config: BiLSTMCRFConfig):
        super().__init__(config)
        H, K = config.hidden_size, len(config.id2label or {})
        self.register_buffer("spelling", torch.zeros(config.vocab_size, config.max_letters, dtype=torch.long))
        self.register_buffer("goes_on", torch.zeros(config.vocab_size, dtype=torch.bool))
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_dim, config.pad_token_id)
        self.letters = nn.Embedding(LETTERS, config.char_embedding_dim, padding_idx=NOT_A_LETTER)
        self.filters = nn.Conv1d(
            config.char_embedding_dim, config.char_filters, config.char_width, padding=config.char_width // 2
        )
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        widths = [config.embedding_dim + config.char_filters] + [2 * H] * (config.num_layers - 1)
        self.forward_lstms = nn.ModuleList(nn.LSTM(width, H, batch_first=True) for width in widths)
        self.backward_lstms = nn.ModuleList(nn.LSTM(width, H, batch_first=True) for width in widths)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(2 * H, K)
        self.transitions = nn.Parameter(torch.empty(K, K))  # from one tag to the next
        self.first = nn.Parameter(torch.empty(K))
        self.last = nn.Parameter(torch.empty(K))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
            if module.padding_idx is not None and not getattr(module.weight, "_is_hf_initialized", False):
                init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, nn.LSTM):
            self._init_lstm(module)
        elif isinstance(module, nn.Linear | nn.Conv1d):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif module is self:
            for parameter in (self.transitions, self.first, self.last):
                init.zeros_(parameter)

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

    def spell(self, pieces: Sequence[str]) -> None:
        """Notes the letters of each piece, in the order of their ids; they are saved with the weights."""
        spelling = torch.full_like(self.spelling, NOT_A_LETTER)
        for number, piece in enumerate(pieces):
            continued = piece.startswith(GOES_ON) and piece != GOES_ON
            self.goes_on[number] = continued
            letters = [letter_id(letter) for letter in piece.removeprefix(GOES_ON if continued else "")]
            letters = ([CONTINUED] if continued else []) + letters
            kept = torch.tensor(letters[: self.config.max_letters])
            spelling[number, : len(kept)] = kept
        self.spelling.copy_(spelling)

    def get_input_embeddings(self) -> nn.Embedding:
        """Returns the vectors of the pieces, (V, E)."""
        return self.embedding

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        """Tags words; padding, on either side, never changes a marginal.

        Args:
            input_ids: Ids of pieces, (B, L), int64.
            attention_mask: 1 for pieces, 0 for padding, (B, L); by default what is not `pad_token_id`.
            labels: Tags, (B, L), int64, -100 where none is known: such words may have any.
            **kwargs: Not read.

        Returns:
            `logits`, the logarithms of the marginals, float32 (B, L, K); with labels the `loss`: the negative
            log-likelihood of all labels together, divided by their number.
        """
        scores, steps = self.scores(input_ids, attention_mask)
        loss = None if labels is None else self._loss(scores, steps, labels.masked_fill(~steps, -100))
        return TokenClassifierOutput(loss=loss, logits=self._log_marginals(scores, steps))

    def scores(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the score of each tag, float32 (B, L, K), and which positions are steps, bool (B, L)."""
        if attention_mask is None:
            attention_mask = input_ids != self.config.pad_token_id
        is_piece = attention_mask.bool()
        # Pieces first: left padding moves right; the stable sort keeps the pieces' order.
        order = (~is_piece).to(torch.uint8).argsort(dim=1, stable=True)
        ids = input_ids.gather(1, order)
        x = torch.cat([self.embedding(ids), self._read_letters(ids)], dim=2)
        x = self.dropout(self._read(self.embedding_dropout(x), is_piece.sum(1, keepdim=True)))
        scores = reorder(self.classifier(x), order.argsort(dim=1))
        return scores.float(), is_piece & ~self.goes_on[input_ids]

    def _read_letters(self, ids: torch.Tensor) -> torch.Tensor:
        """Returns the strongest answer of each filter to the letters of each piece, (B, L) -> (B, L, F)."""
        letters = self.spelling[ids].flatten(0, 1)  # (B * L, M)
        found = self.filters(self.letters(letters).transpose(1, 2))  # (B * L, F, M)
        found = found.masked_fill((letters == NOT_A_LETTER).unsqueeze(1), -1e4).amax(dim=2)
        return torch.tanh(found).unflatten(0, ids.shape)

    def _read(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Runs all layers over the pieces, (B, L, E + F) and (B, 1) -> (B, L, 2H)."""
        position = torch.arange(x.shape[1], device=x.device).expand(x.shape[:2])  # (B, L)
        mirrored = torch.where(position >= lengths, position, lengths - 1 - position)
        for depth, (forward, backward) in enumerate(
            zip(self.forward_lstms, self.backward_lstms, strict=True)
        ):
            x = self.dropout(x) if depth > 0 else x
            onward, _ = forward(x)  # (B, L, H)
            back, _ = backward(reorder(x, mirrored))
            x = torch.cat([onward, reorder(back, mirrored)], dim=2)
        return x

    def _loss(self, scores: torch.Tensor, steps: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Returns log Z of all sequences less that of those which have the labels, per label; float32 ()."""
        known = labels >= 0
        tags = torch.arange(scores.shape[2], device=scores.device)
        ruled_out = known.unsqueeze(2) & (tags != labels.unsqueeze(2))
        both = torch.cat([scores, scores.masked_fill(ruled_out, FORBIDDEN)])
        sums = self._sums(both, steps.repeat(2, 1), self.transitions.float(), self.first.float())
        all_sequences, right_ones = (sums[:, -1] + self.last.float()).logsumexp(1).chunk(2)
        return (all_sequences - right_ones).sum() / known.sum().clamp(min=1)

    def _sums(
        self, scores: torch.Tensor, steps: torch.Tensor, transitions: torch.Tensor, first: torch.Tensor
    ) -> torch.Tensor:
        """Returns at each position the log-sum of all sequences of the steps up to it, by their last tag.

        Args:
            scores: Of each tag, (B, L, K).
            steps: Which positions are steps, bool (B, L); at any other the sum stays as it is.
            transitions: Scores of two tags in a row, (K, K).
            first: Scores of a first tag, (K,).

        Returns:
            float32 (B, L, K).
        """
        sums: list[torch.Tensor] = []
        begun, current = torch.zeros_like(steps[:, :1]), torch.zeros_like(scores[:, 0])
        for place in range(scores.shape[1]):
            step = steps[:, place : place + 1]
            onward = (current.unsqueeze(2) + transitions).logsumexp(1)  # (B, K)
            current = torch.where(step, torch.where(begun, onward, first) + scores[:, place], current)
            begun = begun | step
            sums.append(current)
        return torch.stack(sums, dim=1)

    def _log_marginals(self, scores: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Returns the log-probability of each tag at each position given the whole text, (B, L, K).

        A position that is no step has the answer of the step before it.
        """
        transitions = self.transitions.float()
        onward = self._sums(scores, steps, transitions, self.first.float())
        mirrored = self._sums(scores.flip(1), steps.flip(1), transitions.T, self.last.float()).flip(1)
        places = torch.arange(steps.shape[1], device=steps.device)
        earlier = steps.unsqueeze(1) & (places <= places.unsqueeze(1))  # (B, L, L)
        held = torch.where(earlier, places, 0).amax(2)  # the step at or before each position
        return reorder(onward + mirrored - scores, held).log_softmax(2)

    @torch.no_grad()
    def decode(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the best sequence of tags, int64 (B, L); -100 where there is no step of the CRF."""
        scores, steps = self.scores(input_ids, attention_mask)
        transitions, pointers = self.transitions.float(), []
        begun, current = torch.zeros_like(steps[:, :1]), torch.zeros_like(scores[:, 0])
        stay = torch.arange(scores.shape[2], device=scores.device).expand_as(current)
        for place in range(scores.shape[1]):
            step = steps[:, place : place + 1]
            best, pointer = (current.unsqueeze(2) + transitions).max(1)
            entered = torch.where(begun, best, self.first.float()) + scores[:, place]
            pointers.append(torch.where(step & begun, pointer, stay))
            current = torch.where(step, entered, current)
            begun = begun | step
        tag = (current + self.last.float()).argmax(1, keepdim=True)
        tags = []
        for pointer in reversed(pointers):
            tags.append(tag)
            tag = pointer.gather(1, tag)
        return torch.cat(tags[::-1], dim=1).masked_fill(~steps, -100)


def letter_id(letter: str) -> int:
    """Returns the id of a letter, 2 to `LETTERS` - 1."""
    number = ord(letter)
    return number if 2 <= number < LETTERS // 2 else LETTERS // 2 + number % (LETTERS // 2)


def reorder(x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Takes each text's vectors in another order, (B, L, E) and (B, M) positions -> (B, M, E)."""
    return x.gather(1, positions.unsqueeze(2).expand(-1, -1, x.shape[2]))


BiLSTMCRFConfig.register_for_auto_class()
BiLSTMCRFForTokenClassification.register_for_auto_class("AutoModelForTokenClassification")
AutoConfig.register("bilstm_crf", BiLSTMCRFConfig, exist_ok=True)
AutoModelForTokenClassification.register(BiLSTMCRFConfig, BiLSTMCRFForTokenClassification, exist_ok=True)
