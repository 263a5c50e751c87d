"""Fine-tuning a MobileNetV2 on photos, beside timm's training script."""

from beside_timm import PAIRS, sides
from case import Case
from rows import images

PLAIN = {
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0,
    "weight_decay": 0.01,
    "freeze_batch_norm": "false",
    "model_ema": 0,
    "label_smoothing_factor": 0.1,
}

CASE = Case(
    name="hotdog",
    title="Hot dog, MobileNetV2 at 224 pixels",
    job={
        "data": "hftune/hot-dog",
        "model": "timm/mobilenetv2_100.ra_in1k",
        "recipe": "hotdog",
        "architecture": "hf-hub:timm/mobilenetv2_100.ra_in1k",
        "classes": 2,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "flags": PLAIN,
        "optimizer": "adamw",
        "weight_decay": 0.01,
        "smoothing": 0.1,
        "rows": 192,
        "scored": 100,
        "batch": 32,
        "epochs": 1,
        "image_size": 224,
        "learning_rate": 1e-3,
        "precision": "bf16",
    },
    gpu={"rows": 352, "epochs": 5},  # of 473
    sample={
        "data": "sample",
        "model": None,
        "flags": {**PLAIN, "model_type": "mobilenetv2_035"},
        "architecture": "mobilenetv2_035",
        "rows": 64,
        "scored": 32,
        "batch": 16,
        "classes": 6,
        "image_size": 32,
    },
    prepare=images,
    sides=sides(color_jitter=0.2, color_jitter_prob=0.8, scale=[0.35, 1.0]),
    pairs=PAIRS,
)
