"""From a pair of texts to token ids, exactly as the tokenizer itself makes and cuts them."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from hftune.errors import BadInput


class OtherTooLong(BadInput):
    """Nothing is left of the text that alone may be cut.

    Args:
        row: Of the pair, among those that were given.
        message: Which text is how long.
    """

    def __init__(self, row: int, message: str):
        super().__init__(message)
        self.row = row


class PairEncoder:
    """Turns pairs of texts into token ids, cut to a length; see `hftune.data.text.tokenize.Encoder`.

    Unlike a single text's, the cut is the tokenizer's own, so that `pipeline` makes the same one.

    Args:
        tokenizer: Any tokenizer of transformers.
        max_length: Tokens kept of each pair, special tokens included.
        truncation: `longest_first`, `only_first` or `only_second`.
        length_name: What the user calls `max_length`, for the error.

    Returns (when called with N pairs):
        `input_ids`, N lists of token ids; `tokens`, their N lengths before the cut; and `token_type_ids`,
        where the tokenizer makes them.

    Raises:
        BadInput: `max_length` leaves no room for two texts.
        OtherTooLong: The text that is not to be cut leaves no room for the other.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int,
        truncation: str,
        length_name: str = "--max_length",
    ):
        self.tokenizer = tokenizer
        self.truncation = truncation
        self.max_length = max_length
        self.special = tokenizer.num_special_tokens_to_add(pair=True)
        if max_length < self.special + 2:
            raise BadInput(
                f"{length_name} {max_length}: the special tokens of a pair alone are {self.special}, and "
                "either text needs one"
            )
        self.types = "token_type_ids" in tokenizer.model_input_names
        ids_of_nothing = (tokenizer.unk_token_id, tokenizer.pad_token_id, 0)
        self.unknown = next(number for number in ids_of_nothing if number is not None)

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> dict[str, list]:
        """Returns token ids and lengths; pairs that are given together are tokenized on all cores."""
        encoded = self._encode(pairs)
        encoded["tokens"] = [len(ids) for ids in encoded["input_ids"]]
        long = [row for row, length in enumerate(encoded["tokens"]) if length > self.max_length]
        if long:
            self._refuse_unfit([pairs[row] for row in long], long)
            shortened = self._encode([pairs[row] for row in long], self.truncation)
            for name, values in shortened.items():
                for row, value in zip(long, values, strict=True):
                    encoded[name][row] = value
        # Where a tokenizer adds nothing of its own, two texts without a known sign would be an empty row.
        for row, ids in enumerate(encoded["input_ids"]):
            if not ids:
                encoded["input_ids"][row], encoded["tokens"][row] = [self.unknown], 1
                if self.types:
                    encoded["token_type_ids"][row] = [0]
        return encoded

    def _encode(self, pairs: Sequence[tuple[str, str]], truncation: str | bool = False) -> dict[str, list]:
        first, second = (list(texts) for texts in zip(*pairs, strict=True))
        found = self.tokenizer(
            first,
            second,
            truncation=truncation,
            max_length=self.max_length if truncation else None,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=self.types,
            verbose=False,
        )
        return {name: found[name] for name in ("input_ids", *["token_type_ids"] * self.types)}

    def _refuse_unfit(self, pairs: Sequence[tuple[str, str]], rows: Sequence[int]) -> None:
        """Raises `OtherTooLong` for the first of some long pairs whose one text cannot be cut enough."""
        if self.truncation == "longest_first":
            return
        whole, name = (0, "first") if self.truncation == "only_second" else (1, "second")
        room = self.max_length - self.special
        texts = [pair[whole] for pair in pairs]
        options = {"add_special_tokens": False, "truncation": False, "padding": False, "verbose": False}
        for row, ids in zip(rows, self.tokenizer(texts, **options)["input_ids"], strict=True):
            if len(ids) >= room:
                raise OtherTooLong(
                    row,
                    f"--truncation {self.truncation}: the {name} text alone has {len(ids):,} tokens, and a "
                    f"max_length of {self.max_length:,} has room for {room:,} of both; raise it, or pass "
                    "--truncation longest_first",
                )
