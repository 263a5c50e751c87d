"""A small residual network on small images from scratch, beside timm's training script."""

from beside_timm import PAIRS, sides
from case import Case
from rows import images

CASE = Case(
    name="cifar10",
    title="CIFAR-10, ResNet-9 of width 24",
    job={
        "data": "uoft-cs/cifar10",
        "recipe": "cifar10",
        "architecture": "resnet9",
        "width": 24,
        "classes": 10,
        "mean": [0.491, 0.482, 0.447],
        "std": [0.247, 0.243, 0.262],
        "flags": {"lr_scheduler_type": "cosine", "warmup_steps": 0, "weight_decay": 5e-4},
        "optimizer": "sgd",
        "weight_decay": 5e-4,
        "smoothing": 0.0,
        "rows": 3840,
        "scored": 500,
        "batch": 128,
        "workers": 1,  # loader processes of hftune and of the tuned script
        "epochs": 2,
        "image_size": 32,
        "learning_rate": 0.1,
        "precision": "bf16",
    },
    gpu={"rows": 38_400, "workers": 8},
    sample={
        "data": "sample",
        "rows": 128,
        "scored": 32,
        "batch": 32,
        "classes": 6,
        "width": 4,
        "flags": {"lr_scheduler_type": "cosine", "warmup_steps": 0, "config_overrides": "width=4"},
    },
    prepare=images,
    sides=sides(color_jitter=None),
    pairs=PAIRS,
)
