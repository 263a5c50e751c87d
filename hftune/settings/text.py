"""The settings of a run on texts."""

from dataclasses import dataclass, fields
from typing import Literal

from hftune.errors import BadInput
from hftune.models import standalone
from hftune.settings.base import Settings, refuse, refuse_both

Pooling = Literal["auto", "native", "cls", "mean", "max", "attention", "last"]
ModelType = Literal[*standalone.TEXT]  # type: ignore[valid-type]


@dataclass(frozen=True, kw_only=True)
class TextSettings(Settings):
    """The further settings of a run on texts."""

    # --- model ---
    model_type: ModelType | None = None  # small model to train from scratch

    # --- text ---
    text_column_name: str | None = None  # column of the texts (else found by its usual names)
    # column of the second texts of pairs (else found by the usual names of pairs: sentence1, sentence2)
    text_pair_column_name: str | None = None
    max_length: int = 512  # tokens of a text, or of both of a pair, that the model reads; the rest is cut
    # the part of a longer text that is kept; of pairs, the text that is cut (head: longest_first); window:
    # all of it, in windows of max_length tokens each
    truncation: Literal[
        "head", "tail", "head+tail", "longest_first", "only_first", "only_second", "window"
    ] = "head"
    window_stride: int = 64  # tokens that a window shares with the one before
    max_windows: int = 8  # windows of a text in training, others in each epoch; scoring reads up to 64
    # one vector of all tokens, before the head; native: the model's own classifier, in windows the mean;
    # auto: as a sentence encoder was trained, else native
    pooling: Pooling = "auto"
    # pairs, under the mean: cross reads both together, bi each by itself, as a sentence encoder was trained
    pair_encoder: Literal["cross", "bi"] = "cross"
    # order of the training rows; group_by_length: rows of similar length in a batch, so less padding
    train_sampling_strategy: Literal["random", "group_by_length"] = "group_by_length"
    tokens_per_batch: int | None = None  # padded tokens in one batch, instead of a fixed number of rows
    # leave training texts, which must be parquet, on the disk, and read a few row groups at a time
    streaming: bool = False

    # --- vocabulary of models trained from scratch ---
    tokenizer_type: Literal["word", "character"] = "word"  # what a token is
    vocab_size: int = 30_000  # most frequent tokens that are kept
    min_frequency: int = 2  # rarer tokens are unknown to the model
    embeddings: str | None = None  # file of word vectors to start from
    freeze_embeddings: bool = False  # leave the word vectors as they are in the file

    # --- distillation ---
    # saved classifier of the same labels, whose answers are learned too: run directory, folder or Hub id
    teacher: str | None = None
    distillation_temperature: float = 2.0  # softens both answers before they are compared; 1: as they are
    distillation_alpha: float = 0.9  # weight of the teacher's answers; the labels have the rest
    unlabeled_split: str | None = None  # split of texts without labels, which the teacher alone answers
    unlabeled_file: str | None = None  # file of such texts: csv, tsv, json, parquet, or txt with one a line

    @property
    def in_windows(self) -> bool:
        """Whether a text is read in windows."""
        return self.truncation == "window"

    @property
    def own_pooling(self) -> str | None:
        """The pooling of ours that was asked for; None: the model's own classifier reads the states."""
        if self.pooling not in ("auto", "native"):
            return self.pooling
        return "mean" if self.in_windows else None

    def check(self) -> None:
        """Raises BadInput with the flag's name for an impossible value or a contradiction."""
        super().check()
        self._check_windows()
        self._check_distillation()
        self._check_streaming()
        longest = self.max_length * (self.max_windows if self.in_windows else 1)
        if self.tokens_per_batch is not None and self.tokens_per_batch < longest:
            windows = f"--max_windows {self.max_windows} of " if self.in_windows else ""
            problem = f"one text may have {windows}--max_length {self.max_length} tokens"
            refuse(self, "tokens_per_batch", problem)
        if self.text_pair_column_name and self.text_pair_column_name == self.text_column_name:
            refuse(self, "text_pair_column_name", "it is --text_column_name as well")
        if self.embeddings and self.model_name_or_path:
            refuse_both("embeddings", "model_name_or_path", "a pretrained model brings its own embeddings")
        if self.pooling not in ("auto", "native") and self.model_type:
            advice = "a small model reads out in its own way, see readout in --config_overrides"
            refuse_both("pooling", "model_type", advice)
        if self.pair_encoder == "bi" and self.model_type:
            refuse_both("pair_encoder", "model_type", "a small model reads both texts together")
        if self.freeze_embeddings and not self.embeddings:
            where = "for those of a pretrained model use --freeze embeddings"
            raise BadInput(f"--freeze_embeddings needs --embeddings FILE; {where}")

    def _check_windows(self) -> None:
        if not self.in_windows:
            self._refuse_without("--truncation window", "window_stride", "max_windows")
        elif self.model_type:
            advice = "a small model reads a text of any length as one; raise --max_length instead"
            refuse_both("truncation window", "model_type", advice)
        elif self.window_stride >= self.max_length:
            refuse(self, "window_stride", f"must be below the window, --max_length {self.max_length}")

    def _check_distillation(self) -> None:
        texts = "unlabeled_split", "unlabeled_file"
        if not self.teacher:
            self._refuse_without("--teacher", "distillation_temperature", "distillation_alpha", *texts)
        if self.distillation_temperature <= 0:
            refuse(self, "distillation_temperature", "must be above 0")
        if not 0 <= self.distillation_alpha <= 1:
            refuse(self, "distillation_alpha", "must be a share between 0 and 1")
        given = [name for name in texts if getattr(self, name)]
        if given and not self.distillation_alpha:
            advice = "texts without labels teach nothing where the teacher's answers weigh nothing"
            refuse_both("distillation_alpha 0", given[0], advice)

    def _check_streaming(self) -> None:
        if not self.streaming:
            return
        unknown = "lengths are not known before a batch is made; drop one of them"
        if self.train_sampling_strategy == "group_by_length":
            refuse_both("streaming", "train_sampling_strategy group_by_length", unknown)
        if self.tokens_per_batch:
            refuse_both("streaming", "tokens_per_batch", unknown)
        if self.in_windows:
            refuse_both("streaming", "truncation window", unknown)
        for name in ("baselines", "teacher", "embeddings"):
            if getattr(self, name):
                refuse_both("streaming", name, "it reads all training rows before the first step; drop one")

    def _refuse_without(self, needed: str, *names: str) -> None:
        for field in fields(TextSettings):
            if field.name in names and getattr(self, field.name) != field.default:
                raise BadInput(f"--{field.name} needs {needed}")
