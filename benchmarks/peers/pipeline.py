"""transformers' pipeline("text-classification"), from raw text to class numbers, with a batch size.

https://huggingface.co/docs/transformers/main_classes/pipelines
"""

import stopwatch
from answering import Answering
from case import Job


def main(job: Job) -> None:
    """Answers, and reports."""
    import torch
    from transformers import pipeline

    texts = Answering(job)
    dtype = torch.bfloat16 if job["precision"] == "bf16" else torch.float32
    classifier = pipeline("text-classification", model=texts.model, dtype=dtype)
    cut = {"truncation": True, "max_length": job["max_length"]}
    classifier(texts.texts[:8], **cut)
    texts.begin()
    size = job["options"]["batch_size"]
    found = classifier(texts.texts, batch_size=size, **cut)
    numbers = classifier.model.config.label2id
    texts.report([numbers[answer["label"]] for answer in found], batch=size, by_length=False)


if __name__ == "__main__":
    stopwatch.main(main)
