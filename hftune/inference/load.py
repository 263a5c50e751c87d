"""Loads saved classifiers from a run directory, a folder or the Hub.

Call `hftune.runtime.offline.ensure_reachable(name, None)` before this file is imported, where a name may be
one on the Hub: the libraries below read only then whether they may ask it.

Nothing pickled is opened, and code that comes with a model runs only where it was asked for. Our own
architectures need neither: to import their files is to register them with transformers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import Accelerator
from huggingface_hub import file_exists, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx
from safetensors import SafetensorError
from transformers import PreTrainedModel

from hftune.data.base_model import check_folder, kind_of, why_not_loaded
from hftune.data.image.inputs import ImageInputs
from hftune.data.inputs import Inputs
from hftune.data.text.inputs import TextInputs
from hftune.data.tokens.inputs import TokenInputs
from hftune.errors import BadInput, first_line
from hftune.hub.client import explain
from hftune.models.cls_only import compute_cls_only
from hftune.models.standalone import STANDALONE
from hftune.runtime.device import computes_on_cpu
from hftune.runtime.kernels import choose_kernels
from hftune.storage.files import read_json
from hftune.storage.run_dir import RunRecord
from hftune.tasks import TASKS, find_task, task_of
from hftune.tasks.base import Task

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
# What transformers and the model's own code raise for files that do not fit together.
LOAD_ERRORS = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, SafetensorError)


@dataclass(frozen=True)
class LoadedModel:
    """A saved model, ready to predict.

    Args:
        name: As the user gave it: a run directory, a folder or a Hub id.
        model: float32, in eval mode, on the CPU or the one accelerator; what its classifier does not read
            is not computed (see `compute_cls_only`).
        inputs: What its rows are, and how they are read and batched.
        task: What is asked of a row; it knows the C labels, in the order of the logits.
    """

    name: str
    model: PreTrainedModel
    inputs: Inputs
    task: Task

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels in the order of the logits."""
        return self.task.labels


def load_model(name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> LoadedModel:
    """Loads a model with its tokenizer or image processor.

    Args:
        name: A run directory, a folder or a Hub id.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Whether code that comes with the model may run.

    Raises:
        BadInput: It cannot be found or read, is no classifier, is unfinished, has only
            pickled weights, or has code of its own that may not run.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    record = _finished_run(name)
    with _explained(name, revision):
        config = _read_config(name, revision)
        _refuse_masked_lm(name, config)
        if "auto_map" in config and config.get("model_type") not in STANDALONE and not trust_remote_code:
            _refuse_code(name)
        _check_weights(name, revision)
        kind: type[Inputs] = ImageInputs if _reads_images(name, revision, config) else _of_text(config)
    model = _load_model(name, revision, kind, trust_remote_code)
    auto, options = kind.auto_processor, kind.processor_options
    processor = _load(auto, kind.processor_noun, name, revision, trust_remote_code, **options)
    settings = record.settings if record else {}
    inputs = kind.of_saved(name, model, processor, settings)
    return LoadedModel(name, model, inputs, task_of(model.config.to_dict(), settings.get("pos_label")))


def one_accelerator() -> Accelerator:
    """Returns accelerate's entrance to the one GPU, which computes float32 in full, or to the CPU."""
    choose_kernels()
    return Accelerator(cpu=computes_on_cpu())


def _finished_run(name: str) -> RunRecord | None:
    """Returns the record of a finished run; None where a name is no run directory."""
    folder = Path(name)
    record = RunRecord.read(folder) if folder.is_dir() else None
    if record and not record.finished:
        raise BadInput(f"{name}: this run is not finished, so it has no model yet; repeat its command")
    return record


def _find(name: str, file: str, revision: str | None) -> Path | None:
    """Returns a file of a folder or of a Hub repository; None where it has none, or offline no copy."""
    if Path(name).is_dir():
        path = Path(name, file)
        return path if path.is_file() else None
    try:
        return Path(hf_hub_download(name, file, revision=revision))
    except EntryNotFoundError:
        return None


@contextmanager
def _explained(name: str, revision: str | None) -> Iterator[None]:
    """Turns what the Hub's client raises into one line about the model."""
    try:
        yield
    except HFValidationError:
        raise BadInput(f"{name}: no such folder, and not a Hub id (OWNER/NAME)") from None
    except GatedRepoError:
        raise BadInput(
            f"{name} is gated: ask for access on its page, and log in with: hf auth login"
        ) from None
    except RevisionNotFoundError:
        raise BadInput(
            f"{name} has no revision {revision!r}; pass a branch, a tag or a commit of it"
        ) from None
    except RepositoryNotFoundError:
        raise BadInput(
            f"{name}: no such folder, and no such model on the Hub, or a private one; check the spelling, "
            "or log in with: hf auth login"
        ) from None
    except LocalEntryNotFoundError:
        raise BadInput(
            f"{name}: no such folder, and the Hub cannot be reached, nor does the cache hold such a model"
        ) from None
    except httpx.HTTPError as error:
        failed = explain(error)
        raise BadInput(f"{name}: the Hub {failed.reason if failed else first_line(error)}") from None


def _read_config(name: str, revision: str | None) -> dict[str, Any]:
    if Path(name).is_dir():
        check_folder(name, f"{name}: no model could be loaded")
        path = Path(name, "config.json")
    else:
        try:
            path = Path(hf_hub_download(name, "config.json", revision=revision))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            raise BadInput(f"{name}: no config.json there, so it is no model of transformers") from None
    config = read_json(path)
    if not isinstance(config, dict):
        raise BadInput(f"{name}: config.json is no JSON object")
    return config


def _reads_images(name: str, revision: str | None, config: dict[str, Any]) -> bool:
    """Says whether a model reads images; one of transformers needs the file that says how.

    Raises:
        BadInput: The file is missing.
    """
    described = _find(name, "preprocessor_config.json", revision) is not None
    kind = kind_of(config)
    if kind == "images" and not described and config.get("model_type", "timm_wrapper") != "timm_wrapper":
        raise BadInput(
            f"{name}: an image model without preprocessor_config.json, which says how images are fed to it; "
            "copy that file from the model that it began as"
        )
    return kind == "images" or (kind is None and described)


def _of_text(config: dict[str, Any]) -> type[Inputs]:
    """Returns what the rows of a model of texts are: words are tagged by what is named so in its config."""
    tags = any(name.endswith("ForTokenClassification") for name in config.get("architectures") or [])
    return TokenInputs if tags else TextInputs


def _refuse_masked_lm(name: str, config: dict[str, Any]) -> None:
    if any(kind.endswith("ForMaskedLM") for kind in config.get("architectures") or []):
        raise BadInput(
            f"{name} is a masked language model, which fills masks: use it with transformers' "
            f'pipeline("fill-mask", {name!r}), or fine-tune it first (--model_name_or_path {name})'
        )


def _refuse_code(name: str) -> None:
    raise BadInput(
        f"{name} comes with code of its own, which is not run unasked; read it, then pass --trust_remote_code"
    )


def _check_weights(name: str, revision: str | None) -> None:
    if any(_find(name, file, revision) for file in WEIGHTS):
        return
    for file in PICKLES:
        if Path(name, file).is_file() if Path(name).is_dir() else _on_hub(name, file, revision):
            raise BadInput(
                f"{name} has only pickled weights ({file}), which are never opened; ask its owner for "
                "safetensors"
            )
    raise BadInput(f"{name} has no weights ({WEIGHTS[0]})")


def _on_hub(name: str, file: str, revision: str | None) -> bool:
    try:
        return file_exists(name, file, revision=revision)
    except OSError:  # offline: what the cache lacks cannot be told
        return False


def _load(auto: str, noun: str, name: str, revision: str | None, trust: bool, **options: Any) -> Any:
    """Calls `from_pretrained` of one of transformers' Auto classes; `noun` says what for."""
    load = getattr(transformers, auto).from_pretrained
    try:
        return load(name, revision=revision or "main", trust_remote_code=trust, **options)
    except ImportError as error:
        lacks_timm = "timm" in str(error)
        advice = "a model of timm: pip install 'hftune[image]'" if lacks_timm else first_line(error)
        raise BadInput(f"{name}: {advice}") from None
    except LOAD_ERRORS as error:
        if "trust_remote_code" in str(error):
            _refuse_code(name)
        raise BadInput(f"{name}: no {noun} could be loaded: {why_not_loaded(error)}") from None


def _unreadable(config: Any) -> str:
    """Says why no task reads a model's answers, "" where one does."""
    kind, outputs = config.problem_type, config.num_labels
    wanted = {task.problem_type: task.outputs for task in map(find_task, TASKS)}
    if kind not in (None, *wanted):
        return f"is a model of the kind {kind}; hftune reads classifiers and regressions"
    if kind is None and outputs < 2:
        return (
            "has one output, and its config.json does not say what that is; where it is a number, write "
            '"problem_type": "regression" there'
        )
    if kind and wanted[kind] not in (None, outputs):
        return f"gives {outputs} numbers a row; hftune reads regressions that give one"
    return ""


def _load_model(name: str, revision: str | None, kind: type[Inputs], trust: bool) -> PreTrainedModel:
    model, found = _load(
        kind.auto_model,
        f"{kind.modality} model",
        name,
        revision,
        trust,
        dtype=torch.float32,
        use_safetensors=True,  # a pickle is never opened
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # reported below, by name
    )
    if unfit := sorted(key for key, *_ in found["mismatched_keys"]):
        raise BadInput(
            f"{name}: {unfit[0]} of its weights has another shape than config.json says; download both again",
            unfit[1:],
        )
    absent = sorted(key for key in found["missing_keys"] if not key.endswith("num_batches_tracked"))
    if any(key.startswith(f"{model.base_model_prefix}.") and "pooler" not in key for key in absent):
        raise BadInput(
            f"{name}: its weights are of another model than config.json says: they lack {absent[0]}",
            absent[1:],
        )
    if absent:
        raise BadInput(
            f"{name} is not trained to classify: its weights lack {absent[0]}; fine-tune it first", absent[1:]
        )
    if problem := _unreadable(model.config):
        raise BadInput(f"{name} {problem}")
    compute_cls_only(model)
    torch.nn.Module.to(model, memory_format=torch.channels_last)  # of convolutions over images: faster
    return model.eval().to(one_accelerator().device)
