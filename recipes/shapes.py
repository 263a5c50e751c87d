"""Shapes that hftune draws itself, with a small residual network: runs anywhere, in a minute.

    accelerate launch recipes/shapes.py
    accelerate launch recipes/shapes.py --train_dir pictures/train --test_dir pictures/test --image_size 64
    hftune augment shapes

Result  to be measured
Data    six shapes in any colour, size and place, on textured ground: 1,200 pictures to train, 480 to test
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
    num_train_epochs=12,
)

if __name__ == "__main__":
    launch(recipe)
