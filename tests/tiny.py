"""Tiny random checkpoints of the families that hftune fine-tunes, with their own kinds of tokenizers.

And saved classifiers of every kind, of texts and of images, as `load_model` has them.
"""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertTokenizer,
    BitImageProcessor,
    DistilBertTokenizer,
    GPT2Tokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from hftune.data.tokens.prefix_space import with_prefix_space
from hftune.data.tokens.vocabulary import train_pieces
from hftune.inference.load import LoadedModel, load_model
from hftune.models.standalone.bag import BagConfig, BagForSequenceClassification
from hftune.models.standalone.bilstm import BiLSTMConfig, BiLSTMForSequenceClassification
from hftune.models.standalone.bilstm_crf import BiLSTMCRFConfig, BiLSTMCRFForTokenClassification
from hftune.models.standalone.pooled import PooledEncoderConfig, PooledEncoderForSequenceClassification
from hftune.models.standalone.resnet9 import ResNet9Config, ResNet9ForImageClassification
from hftune.models.standalone.textcnn import TextCNNConfig, TextCNNForSequenceClassification

TEXT = (
    "the a an and of to is in it i this that was as with for but on not he his are you have be one film "
    "movie all at they by who an from so like there her or just about out if has what some good more "
    "very when she up can time no my even which would only story really see their had were me well than much "
    "we bad get do great been because people will other also into first made could make its way how too most "
    "him characters acting plot boring funny love best worst scene . , ! ? ' ##s ##ed ##ing ##ly"
)
WORDS = TEXT.split()
TAGS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
ENDOFTEXT = "<|endoftext|>"
POSITIONS = 64  # tokens that every family reads at most
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": POSITIONS,
}
CONFIGS = {
    "bert": SIZES,
    "electra": {**SIZES, "embedding_size": 8},
    "modernbert": SIZES,
    "roberta": {**SIZES, "max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1},
    "distilbert": {
        "dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 24,
        "max_position_embeddings": POSITIONS,
    },
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": POSITIONS},
}
FAMILIES = tuple(CONFIGS)
OURS = ("textcnn", "bag", "bilstm", "pooled", "windows")


def tiny_tokenizer(family: str) -> PreTrainedTokenizerBase:
    """Builds a tokenizer: word pieces of `WORDS`, or byte pairs, with the family's special tokens."""
    if family == "roberta":
        vocabulary, merges = _byte_pairs(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
        return RobertaTokenizer(vocab=vocabulary, merges=merges, model_max_length=POSITIONS)
    if family == "gpt2":
        vocabulary, merges = _byte_pairs([ENDOFTEXT])
        return GPT2Tokenizer(vocab=vocabulary, merges=merges, model_max_length=POSITIONS)
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if family == "modernbert":
        return _modernbert_tokenizer(names)
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*names, *WORDS]))}
    kind = DistilBertTokenizer if family == "distilbert" else BertTokenizer
    return kind(vocab=vocabulary, model_max_length=POSITIONS)


def tiny_model(family: str, num_labels: int | None = None, **changes) -> PreTrainedModel:
    """Builds a backbone, or with `num_labels` a classifier, whose random weights are always the same.

    Args:
        family: One of `FAMILIES`.
        num_labels: Classes of the classifier.
        **changes: Other values for the config.
    """
    tokenizer = tiny_tokenizer(family)
    special = {
        f"{name}_token_id": getattr(tokenizer, f"{name}_token_id")
        for name in ("pad", "bos", "eos", "cls", "sep")
    }
    values = {
        **CONFIGS[family],
        "vocab_size": len(tokenizer),
        "initializer_range": 0.2,  # small nets with the usual 0.02 answer the same to every text
        **{name: number for name, number in special.items() if number is not None},
        **({} if num_labels is None else {"num_labels": num_labels}),
        **changes,
    }
    config = AutoConfig.for_model(family, **values)
    kind = AutoModel if num_labels is None else AutoModelForSequenceClassification
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind.from_config(config).eval()


def tiny_checkpoint(
    family: str,
    folder: Path,
    num_labels: int | None = None,
    dtype: torch.dtype = torch.float32,
    **changes,
) -> Path:
    """Saves a tiny model and its tokenizer as an ordinary checkpoint; returns the folder."""
    tiny_model(family, num_labels, **changes).to(dtype).save_pretrained(folder)
    tiny_tokenizer(family).save_pretrained(folder)
    return folder


def tiny_ours(kind: str) -> PreTrainedModel:
    """Builds one of `OURS` with three classes, whose weights tell texts apart."""
    sizes: dict = {"vocab_size": len(tiny_tokenizer("bert")), "num_labels": 3, "embedding_dim": 8}
    makers = {
        "textcnn": lambda: TextCNNForSequenceClassification(
            TextCNNConfig(**sizes, num_filters=4, readout="max+mean", initializer_range=1.0)
        ),
        "bag": lambda: BagForSequenceClassification(
            BagConfig(**sizes, num_buckets=50, hidden_size=8, initializer_range=2.0)
        ),
        "bilstm": lambda: BiLSTMForSequenceClassification(
            BiLSTMConfig(**sizes, hidden_size=6, num_layers=2, readout="max", initializer_range=1.0)
        ),
        "pooled": lambda: PooledEncoderForSequenceClassification(
            PooledEncoderConfig(
                encoder_config=tiny_model("electra", num_hidden_layers=1).config,
                pooling="attention",
                num_labels=3,
            )
        ),
        "windows": lambda: PooledEncoderForSequenceClassification(
            PooledEncoderConfig(
                encoder_config=tiny_model("bert", num_hidden_layers=1).config,
                num_labels=3,
                window=10,
                window_stride=3,
                max_windows=6,
            )
        ),
    }
    torch.manual_seed(0)
    return makers[kind]()


def saved_texts(kind: str, folder: Path) -> LoadedModel:
    """Saves a text classifier, one of `OURS` or `FAMILIES`, with three classes, and loads it."""
    if kind not in OURS:
        return load_model(str(tiny_checkpoint(kind, folder, num_labels=3, num_hidden_layers=1)))
    tiny_ours(kind).save_pretrained(folder)
    tiny_tokenizer("bert").save_pretrained(folder)
    return load_model(str(folder))


def saved_tagger(kind: str, folder: Path) -> LoadedModel:
    """Saves a model that tags words, "bilstm_crf" or one of `FAMILIES`, and loads it."""
    names = {"id2label": dict(enumerate(TAGS)), "label2id": {name: n for n, name in enumerate(TAGS)}}
    if kind == "bilstm_crf":
        tokenizer = train_pieces([WORDS, WORDS], vocab_size=200, min_frequency=2, max_length=POSITIONS)
        sizes: dict = {"embedding_dim": 8, "char_filters": 6, "hidden_size": 6, "initializer_range": 2.0}
        torch.manual_seed(0)
        model: PreTrainedModel = BiLSTMCRFForTokenClassification(
            BiLSTMCRFConfig(vocab_size=len(tokenizer), **sizes, **names)
        )
        pieces = tokenizer.get_vocab()
        model.spell(sorted(pieces, key=lambda piece: pieces[piece]))
        model.transitions.data.normal_()
    else:
        backbone = tiny_model(kind)
        tokenizer = with_prefix_space(tiny_tokenizer(kind))
        backbone.config.update({**names, "num_labels": len(TAGS)})
        torch.manual_seed(0)
        model = AutoModelForTokenClassification.from_config(backbone.config)
    model.classifier.weight.data.normal_(std=2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_model(str(folder))


def saved_images(kind: str, folder: Path) -> LoadedModel:
    """Saves an image classifier, "resnet9", "vit" or one of timm, with three classes, and loads it."""
    torch.manual_seed(0)
    processor = BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    if kind == "resnet9":
        model = ResNet9ForImageClassification(ResNet9Config(width=4, num_labels=3))
    elif kind == "vit":
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
        model = ViTForImageClassification(ViTConfig(**sizes, image_size=32, patch_size=8, num_labels=3))
        processor = ViTImageProcessor(size={"height": 32, "width": 32})
    else:
        pytest.importorskip("timm")
        from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

        config = TimmWrapperConfig(architecture=kind, num_labels=3, do_pooling=True)
        model = TimmWrapperForImageClassification(config)
    with torch.no_grad():  # far from the uniform answer of a new head
        for parameter in list(model.parameters())[-2:]:
            parameter.normal_(std=2)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return load_model(str(folder))


def _byte_pairs(special: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Learns GPT-2's kind of vocabulary from `WORDS`: 256 bytes, and pairs that make the words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 2, trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    return learned["vocab"], [tuple(pair) for pair in learned["merges"]]


def _modernbert_tokenizer(names: list[str]) -> PreTrainedTokenizerBase:
    vocabulary, merges = _byte_pairs(names)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:0 [SEP]:0",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    roles = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), names, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "attention_mask"],
        bos_token="[CLS]",
        eos_token="[SEP]",
        **roles,
    )
