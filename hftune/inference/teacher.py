"""A teacher: a saved classifier that answers the rows which another model learns from.

Its tokenizer is its own, so it is asked for rows, not for tokens. N rows, C labels.
"""

import dataclasses
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from hftune.data.dataset import Data
from hftune.errors import BadInput, NonFiniteError
from hftune.inference.load import LoadedModel, load_model
from hftune.models.heads import few_of, has_no_names, label_order
from hftune.training.context import Run
from hftune.training.evaluate import predict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Teacher:
    """A loaded teacher.

    Args:
        run: The run that it takes part in.
        loaded: The model, float32 and in eval mode.
        order: The place of each of the run's labels among its logits.
    """

    run: Run
    loaded: LoadedModel
    order: list[int]

    @classmethod
    def of(cls, run: Run, data: Data) -> Self:
        """Loads the model of `--teacher`; the main process first, which fills the cache for the others.

        Raises:
            BadInput: It cannot be loaded, or it is asked something else than the run's model.
        """
        said, pairs = f"--teacher {run.settings.teacher}", bool(data.input_config.get("text_pair"))
        try:
            with run.accelerator.main_process_first():
                loaded = load_model(os.path.expanduser(str(run.settings.teacher)))
            if pairs:
                loaded = dataclasses.replace(loaded, inputs=loaded.inputs.of_pairs())
        except BadInput as problem:
            raise BadInput(f"--teacher {problem.message}", problem.details) from None
        inputs, task, labels = loaded.inputs, loaded.task, data.labels
        if inputs.modality != "text" or task.problem_type != data.task.problem_type:
            raise BadInput(
                f"{said}: it {task.describe(inputs.plural)}; pass one that {data.task.describe('texts')}"
            )
        if len(inputs.keys) > 1 and not pairs:
            raise BadInput(f"{said}: it reads pairs of texts, and these are single ones")
        order = label_order(task.labels, labels)
        if order is None:
            raise BadInput(f"{said}: it answers {few_of(task.labels)}; the labels here are {few_of(labels)}")
        if has_no_names(task.labels):
            log.warning("teacher: its labels have no names, and are taken for %s", few_of(labels))
        return cls(run, loaded, order)

    def answer(self, contents: Sequence[Any]) -> np.ndarray:
        """Returns its logits in the run's order of labels, float32 (N, C); processes share the rows.

        Args:
            contents: N texts, or pairs of them.

        Raises:
            NonFiniteError: A row is answered with NaN or infinity.
        """
        run, loaded = self.run, self.loaded
        hidden = None if run.is_main else True  # None: where the output is no terminal
        with tqdm(desc="teacher", total=len(contents), disable=hidden, leave=False) as bar:
            found = predict(
                loaded.task,
                loaded.model,
                loaded.inputs.rows(contents),
                loaded.inputs.collate,
                run.accelerator,
                rows_per_batch=run.settings.per_device_eval_batch_size,
                tick=bar.update,
            )
        finite = loaded.task.finite(found)
        if not finite.all():
            text = contents[int(finite.argmin())]
            raise NonFiniteError(
                f"--teacher {run.settings.teacher} answers {text!r:.80} with NaN or infinity"
            )
        return np.ascontiguousarray(found["logits"][:, self.order], np.float32)
