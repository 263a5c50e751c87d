"""The settings of a run: names, defaults, help texts and what their values may be.

A field's comment is its help text and a `# --- name ---` line opens a section: `help.py` reads both
from this source for `--help`. Names are those of transformers' `TrainingArguments` and example
scripts, so that nothing has to be learned twice.
"""

import dataclasses
import re
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, Self

from hftune.errors import BadInput
from hftune.settings.types import as_number, convert, did_you_mean, parse_overrides

SCHEDULERS = (  # the values of transformers' SchedulerType, which takes seconds to import
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "reduce_lr_on_plateau",
    "cosine_with_min_lr",
    "cosine_warmup_with_min_lr",
    "warmup_stable_decay",
    "greedy",
)
ALL_LINEAR = "all-linear"  # as a value of --lora_target_modules
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "sgd", "adagrad")  # and timm_NAME
LEAST = {
    "max_train_samples": 1,
    "samples_per_label": 1,
    "max_eval_samples": 1,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "dataloader_num_workers": 0,
    "learning_rate": 0,
    "head_lr_multiplier": 0,
    "weight_decay": 0,
    "warmup_steps": 0,
    "max_grad_norm": 0,
    "gradual_unfreezing": 0,
    "lora_r": 0,
    "lora_alpha": 1,
    "lora_dropout": 0,
    "early_stopping_patience": 0,
    "save_total_limit": 1,
    "max_length": 1,
    "window_stride": 0,
    "max_windows": 1,
    "vocab_size": 1,
    "min_frequency": 1,
    "image_size": 8,
    "eval_image_size": 8,
    "mixup": 0,
    "cutmix": 0,
    "model_ema": 0,
}

# Former names of settings -> their present names; the command line, YAML and run.json may have either.
ALIASES: dict[str, str] = {"floor": "baselines"}

# A value that is given takes the place of what a recipe chose instead of it or because of it:
# `--train_file x.csv` clears the recipe's dataset_name, another optim clears the old one's optim_args.
_FILES = ("train_file", "validation_file", "test_file")
_FOLDERS = ("train_dir", "validation_dir", "test_dir")
_REPOSITORY = ("dataset_name", "dataset_config_name", "dataset_revision")
_OF_A_MODEL = ("config_overrides", "checkpoint_path", "image_mean", "image_std")
_OF_PRETRAINED = ("pooling", "pair_encoder", "linear_probing", "freeze_batch_norm")
CLEARS = {
    "dataset_name": (*_REPOSITORY[1:], *_FILES, *_FOLDERS, "image_dir", "train_split"),
    "train_file": (*_REPOSITORY, *_FILES[1:], *_FOLDERS, "image_dir", "train_split"),
    "train_dir": (*_REPOSITORY, *_FILES, *_FOLDERS[1:], "image_dir"),
    "model_name_or_path": ("model_type", *_OF_A_MODEL, "embeddings", "freeze_embeddings", "pair_encoder"),
    "model_type": ("model_name_or_path", *_OF_A_MODEL, *_OF_PRETRAINED),
    "truncation": ("window_stride", "max_windows"),
    "optim": ("optim_args",),
    "lr_scheduler_type": ("lr_scheduler_kwargs",),
    "bf16": ("fp16",),
    "fp16": ("bf16",),
    "eval_strategy": ("eval_steps",),
    "save_strategy": ("save_steps",),
    "metric_for_best_model": ("greater_is_better",),
}
# Values that leave others nothing to work on.
IMPLIES: dict[tuple[str, Any], dict[str, Any]] = {
    ("eval_strategy", "no"): {"load_best_model_at_end": False, "early_stopping_patience": 0},
    ("save_strategy", "no"): {"load_best_model_at_end": False},
    ("streaming", True): {
        "train_sampling_strategy": "random",
        "tokens_per_batch": None,
        "baselines": False,
    },
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of every kind of run; values are converted and checked when one is made.

    Raises:
        BadInput: A value has the wrong type, is impossible, or contradicts another one.
    """

    # --- data ---
    dataset_name: str | None = None  # Hub id, local folder, or "sample" for the built-in data
    dataset_config_name: str | None = None  # configuration of the data set, where it has several
    dataset_revision: str | None = None  # branch, tag or commit of the data set on the Hub
    train_file: str | None = None  # csv, tsv, json or parquet, instead of dataset_name
    validation_file: str | None = None  # rows that choose the best model (else split off the training rows)
    test_file: str | None = None  # rows that are scored once, at the end
    label_column_name: str | None = None  # column of the labels (else found by its usual names)
    split_column_name: str | None = None  # column that names each row's split (else found by its usual names)
    test_split: str | None = None  # split to test on where test has no labels, as in GLUE: validation
    train_val_split: float = 0.1  # share of training rows to validate on if the data has no validation rows
    max_train_samples: int | None = None  # train on this many rows, drawn at random
    samples_per_label: int | None = None  # train and validate on this many rows of each label, drawn by seed
    max_eval_samples: int | None = None  # validate and test on at most this many rows each

    # --- task ---
    # what a row has: one label (single_label), any of several (multi_label), a number (regression); not
    # given: several where labels are lists or columns of 0 and 1, a number where they are not whole, else one
    task: str | None = None
    # of --task multi_label: the probability above which a row gets a label, chosen on the validation rows
    thresholds: Literal["per_label", "common", "0.5"] = "per_label"

    # --- model ---
    model_name_or_path: str | None = None  # pretrained model: Hub id or local folder
    model_type: str | None = None  # kind of a model trained from scratch, instead of model_name_or_path
    config_overrides: str | None = None  # changes to the model's config: "hidden_size=128,num_layers=2"
    gradient_checkpointing: bool = False  # recompute activations backward: less memory, slower
    torch_compile: bool = False  # compile the model with torch.compile

    # --- batches ---
    per_device_train_batch_size: int = 32  # rows
    per_device_eval_batch_size: int = 64  # rows
    gradient_accumulation_steps: int = 1  # batches per optimizer step
    # processes that prepare batches; 0: the main process does; not given: by the cores beside a GPU, else 0
    dataloader_num_workers: int | None = None

    # --- optimisation ---
    learning_rate: float | None = 5e-5  # peak rate of the backbone; none: by the model's width, 5e-5 at 768
    # start a new classifier as a linear model of the pretrained model's features, then train all
    linear_probing: bool = False
    head_lr_multiplier: float = 1.0  # the head's rate is this many times the backbone's
    layer_decay: float = 1.0  # each layer below the head trains at this share of the rate of the one above
    weight_decay: float = 0.01  # for matrices; vectors (biases, norms) are not decayed
    optim: str = "adamw_torch_fused"  # adamw_torch, adamw_torch_fused, sgd, adagrad, or timm_NAME
    optim_args: str | None = None  # more arguments of the optimizer: "momentum=0.9,nesterov=true"
    # passes over the training rows; none: as many as make 2,000 steps, at least 3 and at most 20
    num_train_epochs: float | None = 3.0
    max_steps: int = -1  # optimizer steps, instead of num_train_epochs; -1: not limited
    lr_scheduler_type: str = "linear"  # course of the rate over the steps, by transformers' names
    lr_scheduler_kwargs: str | None = None  # more arguments of the schedule: "num_cycles=2" or JSON
    warmup_steps: float = 0.0  # steps until the rate is at its peak; below 1: a share of all steps
    max_grad_norm: float = 1.0  # longer gradients are clipped to this norm; 0: no clipping
    label_smoothing_factor: float = 0.0  # share of the target that is spread over all classes
    class_weight: str | None = None  # "balanced" (rarer classes weigh more), or one per class: "0.3,0.7"
    freeze: str | None = None  # what stays as it is: "backbone", or a regular expression of parameter names
    # epochs between unfreezing one more layer, from the top; 0: everything trains from the start
    gradual_unfreezing: float = 0.0
    model_ema: float = 0.0  # decay of a running mean of the weights, scored and saved instead; 0: none

    # --- LoRA ---
    # rank of the adapters that learn in place of the frozen backbone, and are merged into it at the end; 8 is
    # usual; 0: none, all weights learn
    lora_r: int = 0
    lora_alpha: int = 16  # what an adapter adds counts lora_alpha / lora_r times
    lora_dropout: float = 0.05  # share of what an adapter reads that is zeroed while training
    # linear layers of the backbone with an adapter: all-linear, or a regular expression of their names
    lora_target_modules: str = ALL_LINEAR

    # --- precision ---
    bf16: bool | None = None  # bfloat16 autocast; not given: chosen by device
    fp16: bool | None = None  # float16 autocast with a loss scaler; not given: chosen by device

    # --- evaluation and saving ---
    eval_strategy: Literal["no", "steps", "epoch"] = "epoch"  # when to score the validation rows
    eval_steps: float | None = None  # steps between evaluations; below 1: a share of all steps
    save_strategy: Literal["no", "steps", "epoch", "best"] = "epoch"  # when to write a checkpoint
    save_steps: float | None = None  # steps between checkpoints; below 1: a share of all steps
    save_total_limit: int | None = 2  # checkpoints kept; none: all
    load_best_model_at_end: bool = True  # the result is the best evaluated model, not the last one
    # score of the validation rows that decides which is best; not given: the first one of the task
    metric_for_best_model: str | None = None
    pos_label: str | None = None  # of two classes, whose precision, recall and F1 are shown (else the last)
    greater_is_better: bool | None = None  # direction of that score; not given: known from its name
    early_stopping_patience: int = 0  # stop after this many evaluations without a better score; 0: never
    # score beside the model: the majority class, logistic regressions on simple and on its frozen features
    baselines: bool = True

    # --- run ---
    output_dir: str | None = None  # run directory (default: runs/NAME of the recipe)
    # start again where output_dir holds a run: what that run left, and nothing else, is removed first
    overwrite_output_dir: bool = False
    resume_from_checkpoint: str | None = None  # go on from this checkpoint or run directory
    seed: int = 42  # address of all randomness of training: equal seeds, equal runs
    data_seed: int = 42  # draws the validation split and the rows of max_train_samples and max_eval_samples
    # on a GPU only operations that give the same bits each time on that kind of GPU: slower; a CPU's all do
    full_determinism: bool = False
    logging_steps: float = 0.02  # steps between log lines; below 1: a share of all steps
    report_to: str = "none"  # trackers, comma separated

    # --- hub ---
    push_to_hub: bool = False  # publish the result on the Hub when it is done
    hub_model_id: str | None = None  # repository, OWNER/NAME (else your name and the recipe's)
    hub_private_repo: bool = True  # a new repository is seen by you alone
    hub_revision: str | None = None  # branch to push to (else main)

    # Off, and no flag, but where a subclass makes a field of the name: what one kind of row alone has.
    train_dir = validation_dir = test_dir = checkpoint_path = embeddings = None  # type: str | None
    teacher = unlabeled_file = None  # type: str | None
    train_sampling_strategy = "random"
    tokens_per_batch = None  # type: int | None
    mixup = cutmix = 0.0
    freeze_batch_norm = channels_last = test_time_augmentation = False

    def __post_init__(self) -> None:
        kinds = field_types(type(self))
        for name in kinds:
            value = _converted(kinds, name, getattr(self, name))
            if name == "metric_for_best_model" and value:
                # transformers takes it with and without the split's name
                value = value.removeprefix("eval_")
            object.__setattr__(self, name, value)  # frozen for everyone else
        self.check()

    def check(self) -> None:
        """Raises BadInput with the flag's name for an impossible value or a contradiction."""
        _check_data(self)
        _check_model(self)
        _check_numbers(self)
        _check_optimisation(self)
        _check_lora(self)
        _check_schedule(self)
        _check_saving(self)

    def replace(self, **changes: Any) -> Self:
        """Returns a copy with changes; each clears what this one had instead of it (see `CLEARS`).

        Raises:
            BadInput: An unknown name (with the nearest known one) or an impossible value.
        """
        return self.overlaid(changes)

    def overlaid(self, *layers: dict[str, Any]) -> Self:
        """Returns a copy with layers of changes laid over it in turn, checked once at the end."""
        kinds = field_types(type(self))
        values = {name: getattr(self, name) for name in kinds}
        current = [with_current_names(layer) for layer in layers]
        for depth, layer in enumerate(current):
            hidden = {name for above in current[depth + 1 :] for name in above}
            given = {
                name: _converted(kinds, name, value) for name, value in layer.items() if name not in hidden
            }
            for name, value in given.items():
                if value != values[name] and value not in (None, False):
                    cleared = {rival: first_default(type(self), rival) for rival in CLEARS.get(name, ())}
                    cleared |= IMPLIES.get((name, value), {})
                    values |= {rival: new for rival, new in cleared.items() if rival in values}
            values |= given
        return type(self)(**values)


def with_current_names(values: dict[str, Any]) -> dict[str, Any]:
    """Returns settings by name; those under a former name (see `ALIASES`) have their present one."""
    return {ALIASES.get(name, name): value for name, value in values.items()}


def field_types(cls: type[Settings]) -> dict[str, Any]:
    """Returns the type of each field; what a base lets be None may be None in a subclass too.

    A recipe may write `dataset_name: str = "stanfordnlp/imdb"`, and `--train_file` still clears it.
    """
    hints = typing.get_type_hints(cls)
    optional = {
        name
        for base in cls.__mro__
        for name, hint in getattr(base, "__annotations__", {}).items()
        if types.NoneType in typing.get_args(hint)
    }
    names = [field.name for field in dataclasses.fields(cls)]
    return {name: hints[name] | None if name in optional else hints[name] for name in names}


def _converted(kinds: dict[str, Any], name: str, value: Any) -> Any:
    if name not in kinds:
        raise BadInput(f"{name}: no such setting{did_you_mean(name, kinds)}")
    try:
        return convert(kinds[name], value)
    except ValueError as problem:
        raise BadInput(f"--{name}: {problem}") from None


def first_default(cls: type[Settings], name: str) -> Any:
    """Returns the default of the class that first named a field, from before any recipe's choice."""
    return next((base.__dict__[name] for base in reversed(cls.__mro__) if name in base.__dict__), None)


def refuse(settings: Settings, name: str, problem: str) -> typing.NoReturn:
    """Raises `BadInput` that names a flag and its value."""
    raise BadInput(f"--{name} {getattr(settings, name)}: {problem}")


def refuse_both(name: str, other: str, advice: str) -> typing.NoReturn:
    """Raises `BadInput` that names two flags of which one may be given."""
    raise BadInput(f"--{name} and --{other} contradict each other: {advice}")


def _check_data(settings: Settings) -> None:
    if settings.dataset_name and settings.train_file:
        refuse_both("dataset_name", "train_file", "give one of them")
    for name in ("validation_file", "test_file"):
        if getattr(settings, name) and not settings.train_file:
            raise BadInput(f"--{name} needs --train_file")
    for name in ("dataset_config_name", "dataset_revision"):
        if getattr(settings, name) and settings.train_file:
            refuse_both(name, "train_file", "a file has none")
    if settings.samples_per_label and settings.max_train_samples:
        refuse_both("samples_per_label", "max_train_samples", "give one of them")
    if not 0 < settings.train_val_split < 1:
        refuse(settings, "train_val_split", "must be a share between 0 and 1")


def _check_model(settings: Settings) -> None:
    if settings.model_name_or_path and settings.model_type:
        refuse_both("model_name_or_path", "model_type", "a pretrained model has its type; give one of them")
    if settings.model_type and settings.linear_probing:
        refuse_both("model_type", "linear_probing", "features of random weights say nothing")
    for name in ("config_overrides", "optim_args", "lr_scheduler_kwargs"):
        parse_overrides(getattr(settings, name) or "", name)


def _check_numbers(settings: Settings) -> None:
    for name, least in LEAST.items():
        value = getattr(settings, name, None)  # Settings has no max_length
        if value is not None and value < least:
            refuse(settings, name, f"must be at least {least}")
    if not 0 < settings.layer_decay <= 1:
        refuse(settings, "layer_decay", "must be above 0 and at most 1")
    if settings.model_ema >= 1:
        refuse(settings, "model_ema", "must be below 1")
    if not 0 <= settings.label_smoothing_factor < 1:
        refuse(settings, "label_smoothing_factor", "must be at least 0 and below 1")
    for name in ("eval_steps", "save_steps", "logging_steps", "warmup_steps"):
        value = getattr(settings, name)
        if value is not None and value >= 1 and not float(value).is_integer():
            refuse(settings, name, "must be a share below 1 or a whole number of steps")
        if value is not None and value <= 0 and name != "warmup_steps":
            refuse(settings, name, "must be above 0")


def _check_optimisation(settings: Settings) -> None:
    name = settings.optim
    if name not in OPTIMIZERS and not name.startswith("timm_"):
        known = f"{', '.join(OPTIMIZERS)} or timm_NAME"
        refuse(settings, "optim", f"no such optimizer; choose from {known}{did_you_mean(name, OPTIMIZERS)}")
    name = settings.lr_scheduler_type
    if name not in SCHEDULERS:
        known = ", ".join(SCHEDULERS)
        refuse(
            settings,
            "lr_scheduler_type",
            f"no such schedule; choose from {known}{did_you_mean(name, SCHEDULERS)}",
        )
    weights = settings.class_weight
    if weights and weights != "balanced" and not all(_is_weight(w) for w in weights.split(",")):
        refuse(settings, "class_weight", 'must be "balanced" or numbers from 0, comma separated')
    for name in ("freeze", "lora_target_modules"):
        try:
            re.compile(getattr(settings, name) or "")
        except re.error as problem:
            refuse(settings, name, f"not a regular expression: {problem}")
    if settings.bf16 and settings.fp16:
        refuse_both("bf16", "fp16", "give one of them")


def _check_lora(settings: Settings) -> None:
    if settings.lora_dropout >= 1:
        refuse(settings, "lora_dropout", "must be below 1")
    if not settings.lora_r:
        for name in ("lora_alpha", "lora_dropout", "lora_target_modules"):
            if getattr(settings, name) != first_default(type(settings), name):
                raise BadInput(f"--{name} needs --lora_r, such as --lora_r 8")
    elif settings.freeze:
        refuse_both("lora_r", "freeze", "with LoRA all but adapters and head is frozen; drop one of them")
    elif settings.model_type and not settings.checkpoint_path:
        advice = "what starts from random weights has to learn all of them; give --model_name_or_path"
        refuse_both("lora_r", "model_type", advice)


def _is_weight(text: str) -> bool:
    number = as_number(text)
    return number is not None and number >= 0


def _check_schedule(settings: Settings) -> None:
    if settings.max_steps != -1 and settings.max_steps < 1:
        refuse(settings, "max_steps", "must be at least 1, or -1 for no limit")
    if settings.max_steps < 0 and settings.num_train_epochs is not None and settings.num_train_epochs <= 0:
        refuse(settings, "num_train_epochs", "must be above 0")
    if settings.max_steps > 0 and settings.warmup_steps >= max(1, settings.max_steps):
        refuse(
            settings, "warmup_steps", f"must be below --max_steps {settings.max_steps}, or a share below 1"
        )


def _check_saving(settings: Settings) -> None:
    for name in ("hub_model_id", "hub_revision"):
        if getattr(settings, name) and not settings.push_to_hub:
            raise BadInput(f"--{name} needs --push_to_hub")
    for kind in ("eval", "save"):
        strategy, steps = getattr(settings, f"{kind}_strategy"), getattr(settings, f"{kind}_steps")
        if strategy == "steps" and steps is None:
            raise BadInput(f"--{kind}_strategy steps needs --{kind}_steps N")
        if strategy != "steps" and steps is not None:
            raise BadInput(
                f"--{kind}_steps has no effect with --{kind}_strategy {strategy}; add --{kind}_strategy steps"
            )
    without = "without evaluations there is no best model; drop one of them"
    if settings.eval_strategy == "no":
        if settings.load_best_model_at_end:
            refuse_both("eval_strategy no", "load_best_model_at_end", without)
        if settings.early_stopping_patience:
            refuse_both("eval_strategy no", "early_stopping_patience", without)
        if settings.save_strategy == "best":
            refuse_both("eval_strategy no", "save_strategy best", without)
    if settings.save_strategy == "no" and settings.load_best_model_at_end:
        refuse_both(
            "save_strategy no", "load_best_model_at_end", "without checkpoints the best model is lost"
        )
