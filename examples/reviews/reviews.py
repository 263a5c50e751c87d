"""Reviews of cafes, kind or unkind, with a small transformer from scratch.

    accelerate launch reviews.py
    accelerate launch reviews.py --num_train_epochs 40

Data    64 sentences in train.csv and test.csv, made up for this example
"""

from hftune import Data, TextSettings, launch
from hftune.recipes import imdb


def build_model(settings: TextSettings, data: Data):
    """Builds a BERT of two thin layers whose token states are averaged."""
    from transformers import BertConfig

    from hftune.models.standalone.pooled import PooledEncoderConfig, PooledEncoderForSequenceClassification

    encoder = BertConfig(
        vocab_size=len(data.processor),
        pad_token_id=data.processor.pad_token_id,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=settings.max_length,
    )
    labels = {"id2label": dict(enumerate(data.labels)), "label2id": {n: i for i, n in enumerate(data.labels)}}
    return PooledEncoderForSequenceClassification(
        PooledEncoderConfig(encoder_config=encoder, pooling="mean", **labels)
    )


recipe = imdb.recipe.replace(
    name="reviews",
    description=__doc__,
    build_model=build_model,
    model_type="bag",  # no checkpoint: the vocabulary is learned from the rows
    min_frequency=1,
    train_file="train.csv",
    test_file="test.csv",
    max_length=32,
    per_device_train_batch_size=8,
    learning_rate=3e-3,
    num_train_epochs=20,
)

if __name__ == "__main__":
    launch(recipe)
