"""How long `--help` takes, beside a script that parses the Trainer's arguments."""

from case import Case, Side

TRAINER = """
from transformers import HfArgumentParser, TrainingArguments

HfArgumentParser(TrainingArguments).parse_args_into_dataclasses()
"""

CASE = Case(
    name="help",
    title="--help",
    job={},
    sample={},
    prepare=None,
    sides={
        "hftune --help": Side(("{bin}/hftune", "--help")),
        "recipes/imdb.py --help": Side(("{bin}/python", "recipes/imdb.py", "--help")),
        "Trainer's arguments --help": Side(("{bin}/python", "-c", TRAINER, "--help")),
    },
    pairs=(("recipes/imdb.py --help", "Trainer's arguments --help"),),
    measure="seconds",
    warm_up=True,
)
