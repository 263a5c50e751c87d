"""What both sides of the prediction case share: the texts, and the report on the answers."""

import time

import stopwatch
from case import Job


class Answering:
    """Times the answers to a job's texts.

    Args:
        job: Its `rows` texts are those of train.parquet; `folder`/model is the classifier.
    """

    def __init__(self, job: Job):
        from datasets import Dataset

        table = Dataset.from_parquet(f"{job['folder']}/train.parquet")
        self.job = job
        self.texts: list[str] = list(table["text"])
        self.labels: list[int] = list(table["label"])
        self.model = f"{job['folder']}/model"

    def begin(self) -> None:
        """Starts the clock; the model is loaded and has answered something before."""
        stopwatch.wait_for_device()
        self.ready = time.time() - self.job["began"]
        self.began = time.monotonic()

    def report(self, answers: list[int], *, batch: int, by_length: bool) -> None:
        """Stops the clock and writes the measurement.

        Args:
            answers: A class number for each text, in order.
            batch: Texts in a batch, and
            by_length: whether they were sorted before: what the share of padding follows from.
        """
        import numpy as np
        from transformers import AutoTokenizer

        stopwatch.wait_for_device()
        seconds = time.monotonic() - self.began
        tokenizer = AutoTokenizer.from_pretrained(self.model)
        ids = tokenizer(self.texts, truncation=True, max_length=self.job["max_length"])["input_ids"]
        lengths = np.array([len(row) for row in ids])
        ordered = -np.sort(-lengths) if by_length else lengths
        cut = np.split(ordered, range(batch, len(ordered), batch))
        places = sum(int(part.max()) * len(part) for part in cut)
        stopwatch.write(
            self.job,
            {
                **stopwatch.rates(len(self.texts), seconds, int(lengths.sum()), places),
                "start_seconds": self.ready,
                "accuracy": float(np.mean(np.array(answers) == np.array(self.labels))),
                "scored_rows": len(self.texts),
                "answers": "".join(map(str, answers)),
            },
        )
