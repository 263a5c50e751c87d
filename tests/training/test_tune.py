"""What a task chooses on validation rows: it is asked once, and the config of the model keeps the answer."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np

import hftune.training.tune
from hftune.data.dataset import Data
from hftune.tasks.single_label import SingleLabel
from hftune.training.tune import tune
from tests.tiny import tiny_model


@dataclass(frozen=True)
class Counted(SingleLabel):
    """Notes how many validation rows it was tuned on."""

    counted: int = 0

    def tune(self, predictions, targets):
        return replace(self, counted=len(predictions["logits"]) + int(targets.sum()))

    def model_config(self):
        return super().model_config() | ({"counted": self.counted} if self.counted else {})


def data_of(task) -> Data:
    rows = SimpleNamespace(targets=np.array([0, 1, 1]))
    return Data(rows, rows, None, list, task, None, "")


def test_a_task_that_chooses_nothing_is_not_asked(monkeypatch):
    monkeypatch.delattr(hftune.training.tune, "predict_split")
    data = data_of(SingleLabel(("a", "b")))
    assert tune(None, data, tiny_model("bert", num_labels=2)) is data


def test_what_a_task_chooses_stands_in_the_config_and_what_others_wrote_there_stays(monkeypatch):
    predictions = {"logits": np.zeros((3, 2), np.float32)}
    monkeypatch.setattr(hftune.training.tune, "predict_split", lambda *_: predictions)
    model = tiny_model("bert", num_labels=2)
    model.config.id2label = {0: "left alone", 1: "b"}
    data = tune(None, data_of(Counted(("a", "b"))), model)
    assert data.task == Counted(("a", "b"), counted=5)
    assert model.config.to_dict()["counted"] == 5
    assert model.config.id2label[0] == "left alone"
