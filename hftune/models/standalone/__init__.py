"""Models that transformers lacks: files that travel with the weights, of torch and transformers alone.

A model is a file here and a line below: the settings' choices, the builders and the loader of saved models
read these lines. A file registers its model with transformers when it is imported.
"""

from importlib import import_module
from typing import Any

# model_type: the file and its class of models.
TEXT = {  # what --model_type of a text recipe builds from scratch
    "textcnn": "textcnn.TextCNNForSequenceClassification",
    "bilstm": "bilstm.BiLSTMForSequenceClassification",
    "bag": "bag.BagForSequenceClassification",
}
POOLED = {"pooled_encoder": "pooled.PooledEncoderForSequenceClassification"}  # --pooling on a backbone
TOKENS = {  # likewise of a recipe for tagged words
    "bilstm_crf": "bilstm_crf.BiLSTMCRFForTokenClassification",
}
IMAGE = {"resnet9": "resnet9.ResNet9ForImageClassification"}
STANDALONE = TEXT | POOLED | TOKENS | IMAGE


def model_class(model_type: str) -> Any:
    """Returns the class of a model in `STANDALONE`; its config's class is `config_class`."""
    file, name = STANDALONE[model_type].split(".")
    return getattr(import_module(f"{__name__}.{file}"), name)


def register_all() -> None:
    """Makes transformers' Auto classes know the models: trained ones are checkpoints too."""
    for model_type in STANDALONE:
        model_class(model_type)
