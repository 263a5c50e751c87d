"""Processes that were told different things, or do not share what they must, are refused before training."""

import os

import pytest

import hftune.launcher
import hftune.run
import hftune.training.agreement
from proofs.jobs import PATIENCE, Group, make_jobs


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return make_jobs(tmp_path_factory.mktemp("jobs"))["textcnn"].but(max_steps=2, save_steps=2, eval_steps=2)


def tell_the_second(name: str, value: str | float) -> None:
    """Gives the second process another setting."""
    parse = hftune.launcher.parse
    if os.environ["RANK"] == "1":
        hftune.launcher.parse = lambda *args, **kwargs: parse(*args, **kwargs).replace(**{name: value})
    hftune.training.agreement.NFS_FORGETS = 1.0


def give_the_second(place: str, name: str, value: str) -> None:
    """Gives the second process another answer of a function that returns a dictionary."""
    module = {"run": hftune.run, "agreement": hftune.training.agreement}[place]
    function = getattr(module, name)
    if os.environ["RANK"] == "1":
        setattr(module, name, lambda *args: dict.fromkeys(function(*args), value))


def refusal(group: Group) -> str:
    """Waits for two processes to be refused; returns the one line that they say."""
    assert group.wait(PATIENCE)
    assert group.codes == [2, 2], group.text()
    (line,) = (line for line in group.text().splitlines() if line.startswith("error: "))
    assert "epoch" not in group.text()
    return line


@pytest.mark.parametrize(("name", "value"), [("learning_rate", 0.5), ("logging_steps", 3)])
def test_other_settings_are_named(name, value, job, tmp_path):
    with Group(job, tmp_path / "run", 2, tell_the_second, (name, value)) as group:
        assert f"process 1 was started with other settings than process 0: --{name};" in refusal(group)


def test_other_rows_are_refused(job, tmp_path):
    file = tmp_path / "train.csv"
    file.write_text(job.flags["train_file"].read_text().replace("the", "teh"))
    real = job.flags["train_file"]
    with Group(job, tmp_path / "run", 2, swap_the_seconds_file, (str(real), str(file))) as group:
        assert "process 1 reads other rows than process 0" in refusal(group)


def swap_the_seconds_file(real: str, other: str) -> None:
    """Lets the second process find other rows under the same name, as on another machine."""
    if os.environ["RANK"] == "1":
        load = hftune.run.load

        def load_others(run):
            ours = run.recipe.load_data
            recipe = run.recipe.replace(load_data=lambda settings: ours(settings.replace(train_file=other)))
            return load(hftune.run.dataclasses.replace(run, recipe=recipe))

        hftune.run.load = load_others


@pytest.mark.parametrize("stale", [False, True])
def test_a_folder_that_is_not_shared_is_refused(stale, job, tmp_path):
    own = tmp_path / "own"
    if stale:
        own.mkdir()
        (own / ".lock").write_text('{"pid": 1, "host": "node1"}')
    with Group(job, tmp_path / "run", 2, tell_the_second, ("output_dir", str(own))) as group:
        line = refusal(group)
    assert f"--output_dir {tmp_path / 'run'}: process 1 does not see what process 0 writes there" in line


@pytest.mark.parametrize(
    ("place", "name", "said"),
    [
        ("agreement", "package_versions", "process 1 has other versions than process 0: of accelerate, "),
        ("run", "identify_parts", "process 1 has another recipe than process 0: its after_step, build_model"),
    ],
)
def test_other_packages_and_another_recipe_are_refused(place, name, said, job, tmp_path):
    with Group(job, tmp_path / "run", 2, give_the_second, (place, name, "another")) as group:
        assert said in refusal(group)


def test_another_precision_is_refused(job, tmp_path):
    with Group(job, tmp_path / "run", 2, let_the_second_choose_bf16) as group:
        assert "process 1 would compute in another precision than process 0" in refusal(group)


def let_the_second_choose_bf16() -> None:
    """Lets the second process find a device that has bf16."""
    if os.environ["RANK"] == "1":
        hftune.run.choose_precision = lambda *_: ("bf16", "it can")
