"""The settings of a run on tagged words."""

from dataclasses import dataclass
from typing import Literal

from hftune.errors import BadInput
from hftune.models import standalone
from hftune.settings.base import Settings, refuse, refuse_both

ModelType = Literal[*standalone.TOKENS]  # type: ignore[valid-type]


@dataclass(frozen=True, kw_only=True)
class TokenSettings(Settings):
    """The further settings of a run on tagged words, such as named entities."""

    # --- task ---
    task: str = "tokens"

    # --- model ---
    model_type: ModelType | None = None  # small model to train from scratch

    # --- words ---
    text_column_name: str | None = None  # column of the words, or of texts with marked pieces
    max_length: int = 128  # tokens that the model reads at once; a longer text is read in windows
    window_stride: int = 32  # tokens that two windows share at least
    # order of the training rows; group_by_length: rows of similar length in a batch, so less padding
    train_sampling_strategy: Literal["random", "group_by_length"] = "group_by_length"
    tokens_per_batch: int | None = None  # padded tokens in one batch, instead of a fixed number of rows

    # --- vocabulary of models trained from scratch ---
    vocab_size: int = 30_000  # pieces of words that are kept, and words of the embeddings
    min_frequency: int = 2  # pieces that stand side by side less often are not made one
    embeddings: str | None = None  # file of word vectors to start from
    freeze_embeddings: bool = False  # leave the word vectors as they are in the file

    # --- evaluation and saving ---
    metric_for_best_model: str = "f1"

    def check(self) -> None:
        """Raises BadInput with the flag's name for an impossible value or a contradiction."""
        super().check()
        if self.window_stride < 0:
            refuse(self, "window_stride", "must be at least 0")
        if self.tokens_per_batch is not None and self.tokens_per_batch < self.max_length:
            refuse(self, "tokens_per_batch", f"one text may have --max_length {self.max_length} tokens")
        if self.embeddings and self.model_name_or_path:
            refuse_both("embeddings", "model_name_or_path", "a pretrained model brings its own embeddings")
        if self.freeze_embeddings and not self.embeddings:
            where = "for those of a pretrained model use --freeze embeddings"
            raise BadInput(f"--freeze_embeddings needs --embeddings FILE; {where}")
