"""The settings of a run that goes on with the pretraining of a masked language model."""

from dataclasses import dataclass
from typing import Literal

from hftune.settings.base import Settings, refuse

MODELS = ("bert",)  # what --model_type builds from scratch


@dataclass(frozen=True, kw_only=True)
class MaskedLMSettings(Settings):
    """The further settings of a run on texts without labels, some of whose tokens are masked."""

    # --- task ---
    task: str = "masked_lm"

    # --- data ---
    train_split: str = "train"  # split to train on; several are joined by +, such as train+unsupervised

    # --- model ---
    model_type: Literal[*MODELS] | None = None  # type: ignore[valid-type]  # a small model to train from scratch

    # --- text ---
    text_column_name: str | None = None  # column of the texts (else found by its usual names)
    max_length: int = 512  # tokens that are read at once; of a longer text another stretch in each epoch
    mlm_probability: float = 0.15  # share of a text's tokens that are masked and have to be predicted
    # order of the training rows; group_by_length: rows of similar length in a batch, so less padding
    train_sampling_strategy: Literal["random", "group_by_length"] = "group_by_length"
    tokens_per_batch: int | None = None  # padded tokens in one batch, instead of a fixed number of rows

    # --- vocabulary of models trained from scratch ---
    vocab_size: int = 30_000  # pieces of words that are kept
    min_frequency: int = 2  # pieces that stand side by side less often are not made one

    # --- evaluation and saving ---
    metric_for_best_model: str = "loss"

    def check(self) -> None:
        """Raises BadInput with the flag's name for an impossible value or a contradiction."""
        super().check()
        if not 0 < self.mlm_probability < 1:
            refuse(self, "mlm_probability", "must be above 0 and below 1")
        if self.task != "masked_lm":
            refuse(self, "task", "texts are read without labels here; leave it out")
        if self.lora_r:
            refuse(self, "lora_r", "pretraining goes on with all weights; leave it out")
        for name in ("label_column_name", "pos_label", "samples_per_label"):
            if getattr(self, name):
                refuse(self, name, "texts are read without labels here; leave it out")
        if self.tokens_per_batch is not None and self.tokens_per_batch < self.max_length:
            refuse(self, "tokens_per_batch", f"one text may have --max_length {self.max_length} tokens")
