"""Static word vectors of an encoder: what it makes of each word alone, without any other word around it.

Paper: Tulkens & van Dongen 2024 (Model2Vec). Different here: words are not weighted by their frequency, since
the vectors are a start for training; and they are words of the small models' vocabularies, not word pieces.
"""

from collections.abc import Sequence

import numpy as np
import torch
import transformers
from sklearn.decomposition import PCA
from tqdm import tqdm
from transformers import AutoModel, PreTrainedTokenizerBase

from hftune.data.base_model import checkpoint_config
from hftune.data.text.load import pretrained_tokenizer
from hftune.data.text.vocabulary import word_splitter
from hftune.errors import BadInput
from hftune.inference.load import one_accelerator
from hftune.models.pretrained import load_pretrained, refuse_random
from hftune.settings.text import TextSettings

AT_ONCE = 256  # words in a batch
USUAL = 100  # numbers in a vector where the user does not say


def static_vectors(
    name: str, words: Sequence[str] | None = None, vector_size: int | None = None
) -> tuple[list[str], np.ndarray]:
    """Lets an encoder read words one by one, and takes the mean of each one's last states.

    Args:
        name: Hub id or folder of the encoder, `--model_name_or_path`.
        words: The words; None: those of its own vocabulary that small models take for one word.
        vector_size: D, to which the states are brought by their main components; None: 100, or all of them
            where there are fewer.

    Returns:
        N words and their vectors, float32 (N, D).

    Raises:
        BadInput: The encoder cannot be loaded, or D is more than its states or the words give.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    flags = f"--model_name_or_path {name}"
    tokenizer = pretrained_tokenizer(TextSettings(model_name_or_path=name))
    model, absent, _ = load_pretrained(AutoModel, name, checkpoint_config(name, "texts"), flags)
    refuse_random({key for key in absent if "pooler" not in key}, flags)  # no state goes through a pooler
    found = own_words(tokenizer) if words is None else list(words)
    device = one_accelerator().device
    model.to(device).eval()
    vectors = []
    for start in tqdm(range(0, len(found), AT_ONCE), desc="encoding words", disable=None, leave=False):
        texts = found[start : start + AT_ONCE]
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(device)
        mask = batch["attention_mask"].unsqueeze(2)  # (B, L, 1)
        with torch.inference_mode():
            states = model(**batch).last_hidden_state * mask  # (B, L, H)
        vectors.append((states.sum(1) / mask.sum(1)).float().cpu().numpy())
    whole = np.concatenate(vectors)  # (N, H)
    size = vector_size or min(USUAL, whole.shape[1])
    if size == whole.shape[1]:
        return found, whole
    if size > min(whole.shape):
        has = f"{len(whole):,} words with states of {whole.shape[1]:,} numbers"
        raise BadInput(f"--vector_size {size}: {name} gives {has}; it can be no larger than either")
    return found, PCA(size, svd_solver="covariance_eigh").fit_transform(whole)


def own_words(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Returns the entries of a vocabulary that the small models take for one word, in their order."""
    split = word_splitter()
    entries = (str(tokenizer.decode([number])).strip() for number in sorted(tokenizer.get_vocab().values()))
    return [word for word in dict.fromkeys(entries) if split(word) == [word]]
