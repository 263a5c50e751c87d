"""transformers' Trainer, as the library's text-classification guide sets it up.

Tokenized by `map`, padded to the longest of a batch by `DataCollatorWithPadding`, a checkpoint with a new
classifier, float32 weights; `options` are further `TrainingArguments`.
https://huggingface.co/docs/transformers/tasks/sequence_classification
"""

from functools import partial
from typing import Any

import stopwatch
from case import Job


def main(job: Job) -> None:
    """Trains with the Trainer, and reports."""
    import numpy as np
    import torch
    from datasets import DatasetDict, load_dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
        trainer_pt_utils,
    )

    # On few rows its sampler would sort fewer batches together than the 50 of a whole data set.
    sort = partial(trainer_pt_utils.get_length_grouped_indices, mega_batch_mult=50)
    trainer_pt_utils.get_length_grouped_indices = sort
    watch = stopwatch.Stopwatch(job)
    batches: list[tuple[int, int]] = []  # tokens and places of each

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            watch.mark()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.mark()

    set_seed(job["seed"])
    name = f"{job['folder']}/encoder" if job["model"] == "tiny" else job["model"]
    tokenizer = AutoTokenizer.from_pretrained(name)

    longest = job["max_length"]  # `map` caches by what the function holds: the job is never the same twice

    def tokenize(rows: dict) -> dict:
        return tokenizer(rows["text"], truncation=True, max_length=longest)

    parts = ("train", "test")
    if job.get("whole"):
        found = DatasetDict({part: load_dataset(job["data"], split=part) for part in parts})
    else:
        files = {part: f"{job['folder']}/{part}.parquet" for part in parts}
        found = load_dataset("parquet", data_files=files)
    rows = found.map(tokenize, batched=True)
    pad = DataCollatorWithPadding(tokenizer)

    def collate(features: list) -> Any:
        batch = pad(features)
        batches.append((int(batch["attention_mask"].sum()), batch["attention_mask"].numel()))
        return batch

    arguments = {
        "output_dir": f"{job['scratch']}/run",
        "per_device_train_batch_size": job["batch"],
        "per_device_eval_batch_size": 64,
        "num_train_epochs": job["epochs"],
        "learning_rate": job["learning_rate"],
        "warmup_steps": 0.1,
        "weight_decay": 0.01,
        "bf16": job["precision"] == "bf16",
        "use_cpu": not torch.accelerator.is_available(),  # without it bf16 is refused there
        "seed": job["seed"],
        "save_strategy": "no",
        "disable_tqdm": True,
        **({"max_steps": job["rows"] // job["batch"]} if job.get("whole") else {}),
        **job["options"],
    }
    trainer = Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(name, num_labels=2, dtype=torch.float32),
        args=TrainingArguments(**arguments),
        train_dataset=rows["train"],
        eval_dataset=rows["test"].select(range(job["scored"])),
        processing_class=tokenizer,
        data_collator=collate,
        callbacks=[Clock()],
        compute_metrics=lambda found: {
            "accuracy": float(np.mean(found.predictions.argmax(-1) == found.label_ids))
        },
    )
    trainer.train()
    tokens, places = (sum(part) for part in zip(*batches[watch.begin : watch.end], strict=True))
    scores = trainer.evaluate()
    watch.report(accuracy=scores["eval_accuracy"], scored=job["scored"], tokens=tokens, places=places)


if __name__ == "__main__":
    stopwatch.main(main)
