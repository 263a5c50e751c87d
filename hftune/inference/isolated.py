"""Loads a saved model as somebody else would: in a process that has no hftune."""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from hftune.data.dataset import Data
from hftune.errors import BadInput
from hftune.report.model_use import task_of

TOLERANCE = 1e-5  # between the logits here and those of the saved model elsewhere, float32
ROWS_ELSEWHERE = 4

# Run by a Python that sees neither the working folder nor hftune, as on a machine of somebody else.
ELSEWHERE = """
import sys

sys.modules["hftune"] = None  # installed or not: importing it fails
import torch
import transformers
from safetensors.torch import load_file

folder, model_class, processor_class, own_code = sys.argv[1:]
trust = {"trust_remote_code": True} if own_code == "True" else {}
getattr(transformers, processor_class).from_pretrained(folder, **trust)
load = getattr(transformers, model_class).from_pretrained
model = load(folder, use_safetensors=True, dtype=torch.float32, **trust).eval()
batch = load_file(folder + "/rows.safetensors")
expected = batch.pop("logits")
with torch.inference_mode():
    print(float((model(**batch).logits - expected).abs().max()))
"""


def load_elsewhere(model: PreTrainedModel, data: Data, folder: Path) -> str:
    """Loads a saved model in a process without hftune, and compares its logits.

    Args:
        model: What was saved, float32 on the CPU.
        data: Has validation rows.
        folder: Holds the saved model; some rows are written beside it.

    Raises:
        BadInput: It does not load, or gives other logits.
    """
    rows = [data.validation[row] for row in range(min(ROWS_ELSEWHERE, len(data.validation)))]
    batch = data.collate(rows)
    batch.pop("labels")
    with torch.inference_mode():
        logits = model.forward(**batch).logits
    save_file(
        {name: value.contiguous() for name, value in (batch | {"logits": logits}).items()},
        folder / "rows.safetensors",
    )
    texts = task_of(folder) == "text-classification"
    classes = (
        ("AutoModelForSequenceClassification", "AutoTokenizer")
        if texts
        else ("AutoModelForImageClassification", "AutoImageProcessor")
    )
    own_code = "auto_map" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    done = subprocess.run(
        [sys.executable, "-I", "-c", ELSEWHERE, str(folder), *classes, str(own_code)],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(folder / "modules")},
        stdin=subprocess.DEVNULL,  # nobody is there to be asked
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise BadInput(f"the saved model does not load where hftune is not installed: {reason}")
    difference = float(done.stdout.splitlines()[-1])
    if not difference <= TOLERANCE * max(1.0, float(logits.abs().max())):
        raise BadInput(f"where hftune is not installed, the saved model's logits differ by {difference:.1e}")
    equal = f"to {difference:.0e}" if difference else "to the bit"
    return f"in a process without hftune, logits equal {equal}"
