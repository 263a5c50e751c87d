"""Checks that a saved model loads in a process without hftune."""

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

TOLERANCE = 1e-5  # between the logits here and those of the saved model there, float32
ROWS = 4

# Run by a Python that sees neither the working folder nor hftune, as on another machine.
PROGRAM = """
import sys

sys.modules["hftune"] = None  # installed or not: importing it fails
import torch
import transformers
from safetensors.torch import load_file

folder, model_class, own_code = sys.argv[1:]
trust = {"trust_remote_code": True} if own_code == "True" else {}
transformers.AutoProcessor.from_pretrained(folder, **trust)
load = getattr(transformers, model_class).from_pretrained
model = load(folder, use_safetensors=True, dtype=torch.float32, **trust).eval()
batch = load_file(folder + "/rows.safetensors")
expected = batch.pop("logits")
with torch.inference_mode():
    print(float((model(**batch).logits - expected).abs().max()))
"""


def check_loads_without_hftune(model: PreTrainedModel, data: Data, folder: Path) -> str:
    """Loads a saved model in a process without hftune, and compares its logits.

    Args:
        model: What was saved, float32 on the CPU.
        data: Has validation rows.
        folder: Holds the saved model; some rows are written beside it.

    Raises:
        BadInput: It does not load, or gives other logits.
    """
    rows = [data.validation[row] for row in range(min(ROWS, len(data.validation)))]
    batch = data.collate(rows)
    batch.pop("labels")
    with torch.inference_mode():
        logits = model.forward(**batch).logits
    save_file(
        {name: value.contiguous() for name, value in (batch | {"logits": logits}).items()},
        folder / "rows.safetensors",
    )
    own_code = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("auto_map", {})
    by_name = f"AutoModelFor{type(model).__name__.rpartition('For')[2]}"  # as transformers names its classes
    auto_model = next((name for name in own_code if name.startswith("AutoModelFor")), by_name)
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, str(folder), auto_model, str(bool(own_code))],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(folder / "modules")},
        stdin=subprocess.DEVNULL,  # transformers would ask whether code may run
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
