import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hftune.errors import BadInput
from hftune.settings.base import ALIASES, Settings, field_types
from hftune.settings.help import field_comments, help_text
from hftune.settings.parser import RENAMED, parse
from hftune.settings.text import TextSettings
from hftune.storage.run_dir import RunRecord


@dataclass(frozen=True, kw_only=True)
class Recipe(TextSettings):
    dataset_name: str = "owner/reviews"
    model_name_or_path: str = "owner/encoder"
    max_length: int = 128
    learning_rate: float = 2e-5  # rate that won the sweep
    # share of words that are dropped,
    # before tokenizing
    word_dropout: float = 0.25


def read(*argv: str) -> Recipe:
    return parse(Recipe(), list(argv), "recipes/reviews.py", "Reviews.\n\n    python recipes/reviews.py")


def config(tmp_path: Path, text: str) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("argv", "changes"),
    [
        ([], {}),
        (["--learning_rate", "1e-4", "--seed=3"], {"learning_rate": 1e-4, "seed": 3}),
        (["--max-length", "64"], {"max_length": 64}),
        (["--max_steps", "-1"], {"max_steps": -1}),
        (["--bf16"], {"bf16": True}),
        (["--bf16", "--seed", "3"], {"bf16": True, "seed": 3}),
        (["--bf16", "false"], {"bf16": False}),
        (["--no_baselines"], {"baselines": False}),
        (["--no-bf16"], {"bf16": False}),
        (["--save_total_limit", "none"], {"save_total_limit": None}),
        (["--optim_args=momentum=0.9"], {"optim_args": "momentum=0.9"}),
        (["--freeze", "-x"], {"freeze": "-x"}),
        (["--seed", "3", "--seed", "3"], {"seed": 3}),
        (["--word_dropout", "0.5"], {"word_dropout": 0.5}),
        (["--train_file", "a.csv"], {"train_file": "a.csv", "dataset_name": None}),
        (["--model_type", "textcnn"], {"model_type": "textcnn", "model_name_or_path": None}),
    ],
)
def test_flags_change_what_they_name(argv: list[str], changes: dict[str, Any]):
    assert dataclasses.asdict(read(*argv)) == dataclasses.asdict(Recipe()) | changes


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["--learning_rat", "1"], ["--learning_rat:", "no such flag", "did you mean --learning_rate?"]),
        (["--zzz"], ["--zzz: no such flag"]),
        (["--no_learning_rate"], ["--no_learning_rate", "no such flag"]),
        (["--learning_rate"], ["--learning_rate needs a value", "a number"]),
        (["--learning_rate", "--seed", "1"], ["--learning_rate needs a value"]),
        (["--train_file="], ["--train_file", "nothing"]),
        (["--learning_rate", "fast"], ["--learning_rate", "a number", "'fast'"]),
        (["--seed", "1.5"], ["--seed", "a whole number"]),
        (["--bf16", "maybe"], ["--bf16", "true or false"]),
        (["--no_bf16=true"], ["--no_bf16 takes no value"]),
        (["--eval_strategy", "epohc"], ["no, steps, epoch", "did you mean epoch?"]),
        (["--seed", "1", "--seed", "2"], ["--seed is given twice", "1", "2"]),
        (["--bf16", "--no_bf16"], ["--bf16 is given twice"]),
        (["data.csv"], ["'data.csv'", "--name value"]),
        (["--seed", "1", "2"], ["'2'", "--name value"]),
        (["-s", "1"], ["'-s'"]),
        (["--warmup_ratio", "0.1"], ["--warmup_ratio", "--warmup_steps 0.1"]),
        (["--group_by_length"], ["--train_sampling_strategy group_by_length"]),
        (["--hub_token", "x"], ["HF_TOKEN"]),
        (["--dataset_name", "a/b", "--train_file", "a.csv"], ["--dataset_name", "--train_file"]),
    ],
)
def test_bad_flags_are_named(argv: list[str], parts: list[str]):
    with pytest.raises(BadInput) as caught:
        read(*argv)
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_old_names_are_not_settings_and_point_to_some():
    known = set(field_types(TextSettings))
    assert not known & set(RENAMED)
    for new in RENAMED.values():
        words = " ".join([new] if isinstance(new, str) else new).split()
        flags = [word.strip(",") for word in words if word.startswith("--")]
        own = [flag.removeprefix("--") for flag in flags if flag not in ("--cpu", "--mixed_precision")]
        assert set(own) <= known


def test_a_former_name_is_accepted_wherever_settings_are_written(tmp_path, monkeypatch):
    monkeypatch.setitem(ALIASES, "dropped_words", "word_dropout")
    monkeypatch.setitem(ALIASES, "half", "bf16")
    assert read("--dropped-words", "0.5", "--half").word_dropout == 0.5
    assert (read("--half").bf16, read("--no_half").bf16) == (True, False)
    assert read("--config", config(tmp_path, "dropped_words: 0.5")) == read("--word_dropout", "0.5")
    assert Recipe().replace(dropped_words=0.5) == read("--word_dropout", "0.5")
    with pytest.raises(BadInput, match="--word_dropout is given twice"):
        read("--word_dropout", "0.5", "--dropped_words", "0.25")
    counts = {"threads": 1, "world_size": 1, "micro_batches_per_step": 1}
    before = {"dropped_words": 0.5, "seed": 1}
    RunRecord(settings=before, versions={}, data_fingerprints={}, **counts).write(tmp_path)
    assert RunRecord.read(tmp_path).settings == {"word_dropout": 0.5, "seed": 1}


def test_flags_win_over_the_file_and_the_file_over_the_recipe(tmp_path: Path):
    path = config(tmp_path, "max-length: 64\nseed: 5  # five\ntrain_file: a.csv\nfloor: no\n")
    found = read("--seed", "6", "--config", path)
    assert (found.max_length, found.seed, found.train_file, found.baselines) == (64, 6, "a.csv", False)
    assert found.dataset_name is None
    assert read("--config", path, "--dataset_name", "sample").train_file is None


def test_yaml_scalars_are_the_text_that_is_written(tmp_path: Path):
    text = "learning_rate: 1e-5\neval_strategy: no\ndataset_revision: 0123\n"
    text += "save_total_limit:\nbf16: ~\nfloor: 'on'\n"
    found = read("--config", config(tmp_path, text))
    assert (found.learning_rate, found.eval_strategy, found.dataset_revision) == (1e-5, "no", "0123")
    assert (found.save_total_limit, found.bf16, found.baselines) == (None, None, True)
    assert read("--config", config(tmp_path, "# nothing\n")) == Recipe()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("seed: 1\nlearning_rat: 1", [":2:1:", "learning_rat", "did you mean learning_rate?"]),
        ("seed: 1\nwarmup_ratio: 0.1", [":2:1:", "--warmup_steps"]),
        ("seed: 1\nlearning_rate: fast", [":2:16:", "learning_rate", "a number"]),
        ("seed: 1\nlearning_rate: -1", [":2:", "--learning_rate", "at least 0"]),
        ("seed: 1\nweight_decay:", [":2:", "weight_decay", "nothing"]),
        ("seed: 1\nseed: 1", [":2:1:", "seed", "run.yaml:1"]),
        ("seed: 1\nmax-length: 1\nmax_length: 2", [":3:1:", "max_length"]),
        ("seed: 1\nreport_to: [a, b]", [":2:12:", "report_to", "nested"]),
        ("data:\n  seed: 1", [":1:1:", "data"]),
        ("optim:\n  name: sgd", [":2:3:", "optim", "nested"]),
        ("? [a, b]\n: 1", [":1:3:", "nested"]),
        ("- seed", [":1:1:", "NAME: VALUE"]),
        ("seed", [":1:1:", "NAME: VALUE"]),
        ("seed: 1\n\tmax_length: 2", [":2:1:", "tab"]),
        ("seed: 1\nreport_to: 'a", [":2:", "not YAML"]),
        ("seed: [1", ["not YAML"]),
        ("seed: 1\n---\nseed: 2", [":2:", "not YAML"]),
        ("seed: *nowhere", [":1:7:", "not YAML"]),
        ("seed: 1\x00", ["not YAML"]),
        ('seed: "\\UFFFFFFFF"', ["not YAML"]),
        ("seed: " + "[" * 3000, ["not YAML"]),
    ],
)
def test_bad_yaml_is_located(tmp_path: Path, text: str, parts: list[str]):
    with pytest.raises(BadInput) as caught:
        read("--config", config(tmp_path, text))
    message = str(caught.value)
    assert "run.yaml" in message
    assert all(part in message for part in parts), message
    assert "\n" not in message


@pytest.mark.parametrize(
    "value", ["!!python/object/apply:pathlib.Path.touch [{}]", "!!python/name:os.system", "!x 1"]
)
def test_tags_are_refused_and_never_executed(tmp_path: Path, value: str):
    trace = tmp_path / "trace"
    path = config(tmp_path, f"seed: 1\nreport_to: {value.format(trace)}")
    with pytest.raises(BadInput, match=r"run\.yaml:2:12: report_to: the tag .* is not allowed"):
        read("--config", path)
    assert not trace.exists()


def test_files_that_are_none(tmp_path: Path):
    with pytest.raises(BadInput, match="no such file"):
        read("--config", str(tmp_path / "nowhere.yaml"))
    with pytest.raises(BadInput, match="is a directory"):
        read("--config", str(tmp_path))
    (tmp_path / "latin.yaml").write_bytes(b"seed: 1\nreport_to: \xe9")
    with pytest.raises(BadInput, match="byte 19 is not UTF-8"):
        read("--config", str(tmp_path / "latin.yaml"))


YAMLISH = st.sampled_from("seedlr_: \n\t-[]{}'\"!&*?#|>%@\\Ux019~") | st.characters(codec="utf-8")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.text(YAMLISH, max_size=40))
def test_no_text_gets_past_as_a_crash(tmp_path: Path, text: str):
    path = tmp_path / "any.yaml"
    path.write_bytes(text.encode())
    with contextlib.suppress(BadInput):  # anything else that escapes is a bug
        assert isinstance(read("--config", str(path)), Recipe)


def test_help_texts_come_from_the_comments_and_are_inherited():
    comments = field_comments(Recipe)
    base = field_comments(TextSettings)
    assert comments["max_length"] == base["max_length"]  # overridden without a comment
    assert comments["learning_rate"] == ("optimisation", "rate that won the sweep")
    assert comments["word_dropout"] == ("recipe", "share of words that are dropped, before tokenizing")
    assert base["gradual_unfreezing"].text.startswith("epochs between")
    assert all(base[name].text and base[name].section for name in field_types(TextSettings))
    assert not any("---" in text for text in base["dataset_name"])
    assert set(field_comments(Settings)) == set(field_types(Settings))


@pytest.mark.parametrize("columns", ["80", "100"])
def test_help_shows_every_flag_its_default_and_the_examples(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str
):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit) as caught:
        read("--seed", "x", "--help")
    page = capsys.readouterr().out
    assert caught.value.code == 0
    assert page.startswith("Reviews.\n\nusage: recipes/reviews.py")
    assert page.rstrip().endswith("python recipes/reviews.py")
    shown = {word.removeprefix("--").removeprefix("[no_]") for word in page.split() if word.startswith("--")}
    assert set(field_types(Recipe)) <= shown
    assert "rate that won the sweep (default: 2e-05)" in page
    assert "(default: 128)" in page
    assert "\n  --help, --version             print this page" in page
    assert max(map(len, page.splitlines())) <= int(columns)


def test_help_lists_the_choices():
    page = " ".join(help_text(TextSettings(), "x", "").split())
    assert "one of auto, native, cls, mean, max, attention, last; default: auto" in page
    assert "float16 autocast with a loss scaler; not given: chosen by device" in page


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        read("--version")
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("hftune ")
