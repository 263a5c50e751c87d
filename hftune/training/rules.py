"""What a run chooses where its settings leave it open: the learning rate and the number of epochs."""

import logging

from transformers import PreTrainedModel

from hftune.data.batches import BatchPlan
from hftune.settings.base import Settings

log = logging.getLogger(__name__)

RATE = 5e-5  # for the width of a BERT base (Devlin et al. 2019, appendix A.3)
WIDTH = 768
GREATEST_RATE = 3e-4  # the greatest that Turc et al. 2019 tried for encoders down to a width of 128
STEPS = 2000  # fewer leave a new head and many classes half learned
FEWEST_EPOCHS, MOST_EPOCHS = 3, 20


def learning_rate(settings: Settings, model: PreTrainedModel) -> float:
    """Returns the peak rate of the backbone: the setting's, else one that falls with the model's width.

    Wide layers add more to each output in a step, so small encoders need, and bear, higher rates (Turc et al.
    2019, Well-Read Students Learn Better).
    """
    if settings.learning_rate is not None:
        return settings.learning_rate
    width = getattr(model.config.get_text_config(), "hidden_size", None) or WIDTH
    return min(GREATEST_RATE, RATE * WIDTH / width)


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
    if settings.learning_rate is None:
        log.info(
            "learning rate: %g, by the model's width; --learning_rate chooses", learning_rate(settings, model)
        )
