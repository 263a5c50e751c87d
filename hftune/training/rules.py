"""What a run chooses where its settings leave it open: the learning rate and the number of epochs."""

import logging

from transformers import PreTrainedModel

from hftune.data.batches import BatchPlan
from hftune.settings.base import Settings

log = logging.getLogger(__name__)

RATE = 5e-5  # for the width of a BERT base (Devlin et al. 2019, appendix A.3)
WIDTH = 768
LORA_TIMES = 10  # adapters learn best at so many times the rate of all weights (Schulman 2025)
LORA_RATES = 1e-4, 5e-4  # RoBERTa base and large learned at 2e-4 to 5e-4 (Hu et al. 2021, appendix D)
GREATEST_RATE = 3e-4  # the greatest that Turc et al. 2019 tried for encoders down to a width of 128
STEPS = 2000  # fewer leave a new head and many classes half learned
FEWEST_EPOCHS, MOST_EPOCHS = 3, 20


def learning_rate(settings: Settings, model: PreTrainedModel) -> float:
    """Returns the peak rate of the backbone: the setting's, else one that falls with the model's width.

    Wide layers add more to each output in a step, so small encoders need, and bear, higher rates (Turc et al.
    2019, Well-Read Students Learn Better). The adapters of LoRA need higher ones still.
    """
    if settings.learning_rate is not None:
        return settings.learning_rate
    width = getattr(model.config.get_text_config(), "hidden_size", None) or WIDTH
    rate = RATE * WIDTH / width
    if settings.lora_r:
        least, greatest = LORA_RATES
        return min(greatest, max(least, LORA_TIMES * rate))
    return min(GREATEST_RATE, rate)


def epochs(settings: Settings, plan: BatchPlan) -> float:
    """Returns the passes over the training rows: the setting's, else as many as make enough steps."""
    if settings.num_train_epochs is not None:
        return settings.num_train_epochs
    needed = -(-STEPS // len(plan.epoch(0)))
    return float(min(MOST_EPOCHS, max(FEWEST_EPOCHS, needed)))


def tell(settings: Settings, model: PreTrainedModel, plan: BatchPlan) -> None:
    """Says what was chosen, and why."""
    if settings.num_train_epochs is None and settings.max_steps <= 0:
        chosen, steps = epochs(settings, plan), len(plan.epoch(0))
        log.info(
            "epochs: %d of %s steps, for %s steps or more, but %d to %d epochs; --num_train_epochs chooses",
            *(chosen, f"{steps:,}", f"{STEPS:,}", FEWEST_EPOCHS, MOST_EPOCHS),
        )
    rate, (least, greatest) = learning_rate(settings, model), LORA_RATES
    if settings.learning_rate is None:
        lora = f", {LORA_TIMES} times for LoRA, {least:g} to {greatest:g}" if settings.lora_r else ""
        log.info("learning rate: %g, by the model's width%s; --learning_rate chooses", rate, lora)
    elif settings.lora_r and not least <= rate <= greatest:
        log.warning(
            "learning rate: %g, where LoRA usually needs %g to %g; --learning_rate none chooses one",
            *(rate, least, greatest),
        )
