"""timm's training script, rebuilt from the library's parts in the order in which the script uses them.

Dataset, loader with its transforms and prefetcher, optimizer and schedule are timm's own functions with the
script's defaults; the loop is forward under autocast, backward, step, `step_update`. `options` are what
its user would change: `loader` for `create_loader`, with the job's `workers`, and `channels_last`.
https://huggingface.co/docs/timm/training_script
"""

from typing import Any

import stopwatch
from case import Job

# train.py's own defaults where `create_loader` has another one
SCRIPT = {"num_workers": 4, "interpolation": "random", "color_jitter": 0.4}


def main(job: Job) -> None:
    """Trains as the script does, and reports."""
    import torch
    from timm.data import create_dataset, create_loader
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2
    from timm.utils import random_seed

    watch = stopwatch.Stopwatch(job)
    options = job["options"]
    random_seed(job["seed"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = True  # matters on a GPU alone
    layout = torch.channels_last if options.get("channels_last") else torch.contiguous_format
    loader = {
        **SCRIPT,
        **({"num_workers": job.get("workers", 1), **options["loader"]} if "loader" in options else {}),
    }
    model = network(job).to(device, memory_format=layout)
    loaders = {
        split: create_loader(
            create_dataset(f"hfds/{job['folder']}", split=split),
            input_size=(3, job["image_size"], job["image_size"]),
            batch_size=job["batch"],
            is_training=split == "train",
            mean=job["mean"],
            std=job["std"],
            device=device,
            pin_memory=device.type == "cuda",
            **(loader if split == "train" else {"num_workers": 1}),
        )
        for split in ("train", "test")
    }
    optimizer = create_optimizer_v2(
        model, opt=job["optimizer"], lr=job["learning_rate"], weight_decay=job["weight_decay"]
    )
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched="cosine",
        num_epochs=job["epochs"],
        step_on_epochs=False,
        updates_per_epoch=watch.end // job["epochs"],
    )
    lossy = LabelSmoothingCrossEntropy(job["smoothing"]) if job["smoothing"] else torch.nn.CrossEntropyLoss()
    amp = torch.autocast(device.type, torch.bfloat16, enabled=job["precision"] == "bf16")
    updates = 0
    watch.mark()
    for _ in range(job["epochs"]):
        model.train()
        for images, labels in loaders["train"]:
            images = images.contiguous(memory_format=layout)
            with amp:
                loss = lossy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            updates += 1
            schedule.step_update(num_updates=updates)
            watch.mark()
    model.eval()
    hits = rows = 0
    with torch.inference_mode(), amp:
        for images, labels in loaders["test"]:
            hits += int((model(images.contiguous(memory_format=layout)).argmax(1) == labels).sum())
            rows += len(labels)
    watch.report(accuracy=hits / rows, scored=rows)


def network(job: Job) -> Any:
    """Builds the architecture that hftune trains: one of timm, or its ResNet-9 without its wrapping."""
    import timm
    from torch import nn

    if job["architecture"] != "resnet9":
        pretrained = job["architecture"].startswith("hf-hub:")
        return timm.create_model(job["architecture"], pretrained=pretrained, num_classes=job["classes"])
    from hftune.models.standalone.resnet9 import ResNet9Config, ResNet9ForImageClassification

    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            config = ResNet9Config(width=job["width"], num_labels=job["classes"])
            self.net = ResNet9ForImageClassification(config)

        def forward(self, images: Any) -> Any:
            return self.net(images).logits

    return Bare()


if __name__ == "__main__":
    stopwatch.main(main)
