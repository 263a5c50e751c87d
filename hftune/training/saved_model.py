"""Saves the trained model as Hugging Face does, and reads it back: what is scored is what is saved."""

import os
import shutil
from pathlib import Path

import torch
from transformers import PreTrainedModel

from hftune.data.dataset import Data
from hftune.models.lora import Adapter
from hftune.storage.files import explain_write_errors, sync_folder
from hftune.training.context import Run


def save_model(model: PreTrainedModel, data: Data, run_dir: Path, adapter: Adapter | None = None) -> None:
    """Puts the model at the root of the run as Hugging Face saves it, each file whole or not at all.

    Args:
        model: The trained model, with its adapter merged where it had one.
        data: Has the tokenizer or the image processor.
        run_dir: The run's folder.
        adapter: Is saved beside it, in `adapter/`.

    Raises:
        ResourceError: The disk has no room or fails; the checkpoints are as they were.
    """
    temporary = run_dir / f".tmp-model-{os.getpid()}"
    needed = sum(tensor.nbytes for tensor in model.state_dict().values())
    with explain_write_errors(run_dir / "model.safetensors", needed):
        try:
            temporary.mkdir(exist_ok=True)
            probe = temporary / ".mode"
            probe.touch()
            usual = probe.stat().st_mode  # what the umask leaves
            probe.unlink()
            model.save_pretrained(temporary)
            data.processor.save_pretrained(temporary)
            for path in sorted(temporary.iterdir()):
                if path.is_file():
                    path.chmod(usual)  # safetensors gives its files to their owner alone
                    with path.open("rb") as file:
                        os.fsync(file.fileno())
                os.replace(path, run_dir / path.name)
            sync_folder(run_dir)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    if adapter:
        adapter.save(model, run_dir / "adapter")


def read_back(run: Run, model: PreTrainedModel) -> torch.nn.Module:
    """Reads the saved model back, so that what is scored is what others will load.

    Args:
        run: Its folder holds the saved files; the model gets its device and its precision.
        model: The one that was saved; its class is read.
    """
    saved = type(model).from_pretrained(run.run_dir, use_safetensors=True, dtype=torch.float32)
    if run.settings.channels_last:
        torch.nn.Module.to(saved, memory_format=torch.channels_last)
    return run.accelerator.prepare_model(saved, evaluation_mode=True)
