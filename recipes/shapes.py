# /// script
# requires-python = ">=3.11"
# dependencies = ["hftune[image]"]
# ///
"""Shapes that hftune draws itself, with a small residual network: runs anywhere, in minutes.

    accelerate launch recipes/shapes.py
    accelerate launch recipes/shapes.py --train_dir images/train --test_dir images/test --image_size 64
    hftune augment shapes

Result  accuracy 0.854 [0.820, 0.883] on 480 test images, 3 min on one busy core of an AMD EPYC;
        logistic regression on thumbnails 0.152
Data    six shapes in any colour, size and place, on textured ground: 1,200 images to train, 480 to test
"""

from hftune import launch
from hftune.recipes import cifar10

recipe = cifar10.recipe.replace(
    name="shapes",
    description=__doc__,
    dataset_name="sample",
    config_overrides="width=16",
    image_size=48,
    image_mean="0.5",
    image_std="0.25",
    per_device_train_batch_size=64,
    dataloader_num_workers=0,
    learning_rate=0.1,
    num_train_epochs=15,
)

if __name__ == "__main__":
    launch(recipe)
