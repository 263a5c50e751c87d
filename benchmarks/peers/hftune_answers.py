"""hftune's answers to texts, from raw text to class numbers."""

import stopwatch
from answering import Answering
from case import Job


def main(job: Job) -> None:
    """Answers, and reports."""
    from hftune.runtime.environment import prepare_environment

    prepare_environment()  # as every command of hftune begins
    import torch

    from hftune.inference.load import load_saved
    from hftune.inference.predict import answer, text_rows

    texts = Answering(job)
    saved = load_saved(texts.model)
    device = saved.model.device.type
    with torch.autocast(device, torch.bfloat16, enabled=job["precision"] == "bf16"):
        answer(saved, text_rows(saved, texts.texts[:8]))
        texts.begin()
        logits = answer(saved, text_rows(saved, texts.texts), rows_per_batch=job["batch"])
    texts.report(logits.argmax(-1).tolist(), batch=job["batch"], by_length=True)


if __name__ == "__main__":
    stopwatch.main(main)
