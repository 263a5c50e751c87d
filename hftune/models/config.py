"""A model's config: the data's labels, and `--config_overrides`."""

import copy

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from hftune.errors import BadInput
from hftune.settings.base import Settings
from hftune.settings.types import did_you_mean, parse_overrides


def label_names(config: PreTrainedConfig) -> list[str]:
    """Returns the labels that a config names, in the order of the logits."""
    names: dict = config.id2label or {}
    return [str(names[number]) for number in sorted(names)]


def checked_overrides(config: PreTrainedConfig, settings: Settings) -> dict:
    """Reads `--config_overrides` for a config.

    Raises:
        BadInput: If the config has no such name, or another type of value there.
    """
    changes = parse_overrides(settings.config_overrides or "")
    known = config.to_dict()
    for name in changes:
        if name not in known:
            hint = did_you_mean(name, known) or f"; it has {', '.join(sorted(known))}"
            raise BadInput(f"--config_overrides {name}: {config.model_type} has no such setting{hint}")
    try:
        copy.deepcopy(config).update(changes)
    except StrictDataclassError as error:
        reason = str(error).splitlines()[-1].strip()
        raise BadInput(f"--config_overrides {settings.config_overrides}: {reason}") from None
    return changes
