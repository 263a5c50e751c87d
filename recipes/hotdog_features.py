# /// script
# requires-python = ">=3.11"
# dependencies = ["hftune[image]"]
# ///
"""Hot dog or not, by a linear layer on what a frozen MobileNetV2 sees: seconds instead of minutes.

    accelerate launch recipes/hotdog_features.py
    accelerate launch recipes/hotdog_features.py --train_dir photos/train --test_dir photos/test

Result  accuracy 0.916 [0.888, 0.937] on 500 test photos, one seed, 0.3 min on one core of an AMD EPYC;
        logistic regression on thumbnails 0.606
"""

import hftune
from hftune.recipes import hotdog


def load_data(settings: hotdog.Settings) -> hftune.Data:
    """Photos -> the 1,280 features of each, computed once; validation and test stay photos."""
    if settings.model_type and not settings.checkpoint_path:
        raise hftune.BadInput(f"--model_type {settings.model_type}: features of random weights say nothing")
    data = hftune.load_images(settings)
    return hftune.cache_features(data, hftune.build_image_classifier(settings, data))


recipe = hotdog.recipe.replace(
    name="hotdog_features",
    description=__doc__,
    load_data=load_data,
    loss=hftune.head_loss,
    freeze="backbone",
    augmentation="none",
    optim="sgd",
    learning_rate=1e-2,
    head_lr_multiplier=1.0,
    label_smoothing_factor=0.0,
    model_ema=0.0,
    weight_decay=0.2,  # scikit-learn's C = 0.01, the middle of what ten-fold cross-validation found best
    per_device_train_batch_size=64,
    num_train_epochs=100,
    eval_strategy="steps",
    eval_steps=0.25,
)

if __name__ == "__main__":
    hftune.launch(recipe)
