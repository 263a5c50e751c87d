import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from hftune.errors import BadInput
from hftune.settings.base import CLEARS, IMPLIES, LEAST, SCHEDULERS, Settings
from hftune.settings.image import ImageSettings
from hftune.settings.masked_lm import MaskedLMSettings
from hftune.settings.text import TextSettings


@dataclass(frozen=True, kw_only=True)
class Recipe(TextSettings):
    dataset_name: str = "owner/reviews"
    dataset_config_name: str = "en"
    model_name_or_path: str = "owner/encoder"
    optim: str = "sgd"
    optim_args: str = "momentum=0.5"


def test_importing_loads_nothing_heavy():
    heavy = "{'torch', 'transformers', 'datasets', 'huggingface_hub', 'numpy', 'yaml', 'rich'}"
    imports = "import sys, hftune.settings.base, hftune.settings.parser, hftune.runtime.offline"
    program = f"{imports}; print(*({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_tables_name_existing_fields():
    kinds = (TextSettings, ImageSettings, MaskedLMSettings)
    fields = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    assert set(CLEARS) | {rival for rivals in CLEARS.values() for rival in rivals} <= fields
    assert {name for name, _ in IMPLIES} | {
        name for changes in IMPLIES.values() for name in changes
    } <= fields
    assert set(LEAST) <= fields


def test_schedules_are_those_of_transformers():
    from transformers.trainer_utils import SchedulerType

    assert set(SCHEDULERS) == {kind.value for kind in SchedulerType}


@pytest.mark.parametrize(
    ("name", "given_value", "value"),
    [
        ("learning_rate", "1e-5", 1e-5),
        ("learning_rate", 1, 1.0),
        ("max_steps", "1e3", 1000),
        ("max_steps", 20.0, 20),
        ("vocab_size", "30_000", 30_000),
        ("bf16", "yes", True),
        ("bf16", "None", None),
        ("baselines", "0", False),
        ("baselines", 1, True),
        ("save_total_limit", "none", None),
        ("report_to", "none", "none"),
        ("eval_strategy", "epoch", "epoch"),
    ],
)
def test_values_get_the_type_of_their_field(name: str, given_value: Any, value: Any):
    found = getattr(TextSettings(**{name: given_value}), name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"learning_rate": "abc"}, ["--learning_rate", "a number", "'abc'"]),
        ({"learning_rate": True}, ["--learning_rate", "a number"]),
        ({"learning_rate": "nan"}, ["--learning_rate", "a number"]),
        ({"weight_decay": None}, ["--weight_decay", "nothing"]),
        ({"learning_rate": -1e-5}, ["--learning_rate", "at least 0"]),
        ({"seed": 1.5}, ["--seed", "a whole number"]),
        ({"dataset_name": ""}, ["--dataset_name", "nothing"]),
        ({"dataset_revision": 5}, ["--dataset_revision", "text"]),
        ({"baselines": "maybe"}, ["--baselines", "true or false"]),
        ({"pooling": "maen"}, ["--pooling", "attention", "did you mean mean?"]),
        ({"num_train_epochs": 0}, ["--num_train_epochs", "above 0"]),
        ({"max_steps": 0}, ["--max_steps"]),
        ({"per_device_train_batch_size": 0}, ["--per_device_train_batch_size", "at least 1"]),
        ({"per_device_eval_batch_size": -2}, ["--per_device_eval_batch_size"]),
        ({"gradient_accumulation_steps": 0}, ["--gradient_accumulation_steps"]),
        ({"max_steps": 100, "warmup_steps": 100}, ["--warmup_steps", "--max_steps 100"]),
        ({"warmup_steps": 1.5}, ["--warmup_steps", "whole"]),
        ({"logging_steps": 0}, ["--logging_steps", "above 0"]),
        ({"optim": "adamw_torhc"}, ["--optim", "did you mean adamw_torch?"]),
        ({"optim_args": "momentum"}, ["--optim_args", "NAME=VALUE"]),
        ({"lr_scheduler_type": "cosin"}, ["--lr_scheduler_type", "did you mean cosine?"]),
        ({"lr_scheduler_kwargs": '{"a": '}, ["--lr_scheduler_kwargs", "JSON"]),
        ({"class_weight": "0.3;0.7"}, ["--class_weight", "balanced"]),
        ({"label_smoothing_factor": 1}, ["--label_smoothing_factor"]),
        ({"layer_decay": 0}, ["--layer_decay"]),
        ({"train_val_split": 1}, ["--train_val_split"]),
        ({"freeze": "("}, ["--freeze", "regular expression"]),
        ({"lora_r": 8, "freeze": "backbone"}, ["--lora_r and --freeze contradict"]),
        ({"lora_r": 8, "model_type": "textcnn"}, ["--lora_r", "--model_type", "--model_name_or_path"]),
        ({"lora_alpha": 32}, ["--lora_alpha needs --lora_r"]),
        ({"lora_target_modules": "query"}, ["--lora_target_modules needs --lora_r"]),
        ({"lora_r": 8, "lora_target_modules": "("}, ["--lora_target_modules", "regular expression"]),
        ({"lora_r": 8, "lora_dropout": 1}, ["--lora_dropout", "below 1"]),
        ({"lora_r": -1}, ["--lora_r", "at least 0"]),
        ({"bf16": True, "fp16": True}, ["--bf16", "--fp16"]),
        ({"dataset_name": "a/b", "train_file": "a.csv"}, ["--dataset_name", "--train_file"]),
        ({"train_file": "a.csv", "dataset_revision": "main"}, ["--dataset_revision", "--train_file"]),
        ({"test_file": "a.csv"}, ["--test_file", "--train_file"]),
        ({"model_name_or_path": "a/b", "model_type": "textcnn"}, ["--model_name_or_path", "--model_type"]),
        ({"model_name_or_path": "a/b", "embeddings": "glove.txt"}, ["--embeddings", "--model_name_or_path"]),
        ({"freeze_embeddings": True}, ["--freeze_embeddings", "--embeddings"]),
        ({"eval_strategy": "steps"}, ["--eval_strategy", "--eval_steps"]),
        ({"eval_steps": 100}, ["--eval_steps", "--eval_strategy steps"]),
        ({"save_strategy": "steps"}, ["--save_strategy", "--save_steps"]),
        ({"eval_strategy": "no"}, ["--eval_strategy no", "--load_best_model_at_end"]),
        ({"save_strategy": "no"}, ["--save_strategy no", "--load_best_model_at_end"]),
        (
            {"eval_strategy": "no", "load_best_model_at_end": False, "save_strategy": "best"},
            ["--eval_strategy no", "--save_strategy best"],
        ),
        (
            {"eval_strategy": "no", "load_best_model_at_end": False, "early_stopping_patience": 2},
            ["--eval_strategy no", "--early_stopping_patience"],
        ),
        ({"tokens_per_batch": 100, "max_length": 101}, ["--tokens_per_batch", "--max_length"]),
        ({"config_overrides": "a=1,a=2"}, ["--config_overrides", "a comes twice"]),
    ],
)
def test_impossible_values_are_named(changes: dict[str, Any], parts: list[str]):
    with pytest.raises(BadInput) as caught:
        TextSettings(**changes)
    assert all(part in str(caught.value) for part in parts), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_train_epochs": 0, "max_steps": 5},
        {"max_steps": 100, "warmup_steps": 0.99},
        {"max_steps": 1, "warmup_steps": 0.1},
        {"optim": "timm_lamb"},
        {"class_weight": "0.3, 0.7"},
        {"eval_strategy": "no", "load_best_model_at_end": False},
        {"tokens_per_batch": 512},
        {"learning_rate": 0},
    ],
)
def test_unusual_values_are_accepted(changes: dict[str, Any]):
    assert TextSettings(**changes)


def test_what_is_given_clears_what_the_recipe_chose_instead():
    filed = Recipe().replace(train_file="a.csv")
    assert (filed.dataset_name, filed.dataset_config_name, filed.train_file) == (None, None, "a.csv")
    back = filed.replace(dataset_name="owner/other")
    assert (back.dataset_name, back.train_file) == ("owner/other", None)
    assert Recipe().replace(model_type="textcnn").model_name_or_path is None
    assert Recipe().replace(model_name_or_path="owner/other").dataset_name == "owner/reviews"


def test_what_belongs_to_a_replaced_choice_goes_with_it():
    assert Recipe().replace(optim="adagrad").optim_args is None
    assert Recipe().replace(optim="sgd").optim_args == "momentum=0.5"  # nothing was replaced
    assert Recipe().replace(optim="adagrad", optim_args="eps=1e-8").optim_args == "eps=1e-8"
    assert Recipe().replace(dataset_name="owner/reviews").dataset_config_name == "en"
    glove = TextSettings(model_type="textcnn", embeddings="glove.txt", freeze_embeddings=True)
    assert glove.replace(model_name_or_path="a/b") == TextSettings(model_name_or_path="a/b")


def test_choices_that_leave_others_nothing_to_work_on_switch_them_off():
    patient = Recipe(early_stopping_patience=3)
    never = patient.replace(eval_strategy="no")
    assert (never.load_best_model_at_end, never.early_stopping_patience) == (False, 0)
    assert not patient.replace(save_strategy="no").load_best_model_at_end
    with pytest.raises(BadInput, match="early_stopping_patience"):
        patient.replace(eval_strategy="no", early_stopping_patience=2)


def test_both_rivals_given_at_once_contradict_each_other():
    with pytest.raises(BadInput, match="dataset_name and --train_file"):
        Recipe().replace(train_file="a.csv", dataset_name="owner/other")


def test_the_upper_layer_wins_and_hides_what_the_lower_implies():
    mixed = Recipe().overlaid({"train_file": "a.csv", "seed": 1}, {"dataset_name": "sample", "seed": 2})
    assert (mixed.train_file, mixed.dataset_name, mixed.seed) == (None, "sample", 2)
    assert Recipe().overlaid({"eval_strategy": "no"}, {"eval_strategy": "epoch"}).load_best_model_at_end


def test_replace_names_the_nearest_setting():
    with pytest.raises(BadInput, match="did you mean learning_rate"):
        Settings().replace(learning_rat=1)


def test_replace_keeps_the_class_and_changes_nothing_else():
    changed = Recipe().replace(seed="7")
    assert type(changed) is Recipe
    assert dataclasses.asdict(changed) == dataclasses.asdict(Recipe()) | {"seed": 7}


def test_pooling_belongs_to_pretrained_models():
    with pytest.raises(BadInput, match="--pooling and --model_type"):
        TextSettings(pooling="mean", model_type="textcnn")
