"""hftune's answers to texts, from raw text to class numbers."""

import stopwatch
from answering import Answering
from case import Job


def main(job: Job) -> None:
    """Answers, and reports."""
    from hftune.runtime.environment import prepare_environment

    prepare_environment()  # as every command of hftune begins
    import torch

    from hftune.inference.load import load_model
    from hftune.inference.predict import predict_rows

    texts = Answering(job)
    saved = load_model(texts.model)
    device = saved.model.device.type
    with torch.autocast(device, torch.bfloat16, enabled=job["precision"] == "bf16"):
        predict_rows(saved, saved.inputs.rows(texts.texts[:8]))
        texts.begin()
        logits = predict_rows(saved, saved.inputs.rows(texts.texts), rows_per_batch=job["batch"])["logits"]
    texts.report(logits.argmax(-1).tolist(), batch=job["batch"], by_length=True)


if __name__ == "__main__":
    stopwatch.main(main)
