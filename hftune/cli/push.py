"""Pushes a finished run to the Hub, in one commit; a run that is there already makes none.

    hftune push runs/imdb --hub_model_id OWNER/NAME
    hftune push runs/imdb --hub_model_id NAME --no_hub_private_repo --hub_revision v2

Only the model, its card and its results go there: no checkpoints, no logs, no rows of the data. A new
repository is private unless --no_hub_private_repo says otherwise; --hub_revision names a branch. Without
--hub_model_id the repository is called as the run's folder.
"""

from pathlib import Path

from hftune.cli.arguments import parse_args
from hftune.errors import BadInput
from hftune.runtime.environment import prepare_environment
from hftune.storage.run_dir import RunRecord

FLAGS = {"hub_model_id": str, "hub_private_repo": bool, "hub_revision": str}


def main(argv: list[str]) -> None:
    """Pushes a run and prints its address.

    Args:
        argv: The run directory, and `--hub_model_id`, `--hub_private_repo`, `--hub_revision`.

    Raises:
        BadInput: The folder holds no finished run, or the Hub would not take it.
        PushFailed: The Hub refused or stayed away.
    """
    positional, options = parse_args(argv, FLAGS)
    if len(positional) != 1:
        raise BadInput("hftune push needs one run: hftune push RUN --hub_model_id OWNER/NAME")
    run_dir = Path(positional[0])
    check_finished(run_dir)
    prepare_environment()
    from hftune.hub.push import prepare, push

    target = prepare(
        options.get("hub_model_id"),
        run_dir.resolve().name,
        private=options.get("hub_private_repo", True),
        revision=options.get("hub_revision"),
    )
    print(push(run_dir, target))


def check_finished(run_dir: Path) -> None:
    """Raises `BadInput` unless a folder holds a finished run."""
    if not run_dir.is_dir():
        raise BadInput(f"{run_dir}: no such folder; pass a run directory such as runs/imdb")
    record = RunRecord.read(run_dir)
    if record is None:
        raise BadInput(f"{run_dir}: holds no run.json, so it is no run directory of hftune")
    if not record.finished:
        raise BadInput(f"{run_dir}: the run is not finished; repeat its command, then push")
    weights = [run_dir / "model.safetensors", run_dir / "model.safetensors.index.json"]
    if not any(path.is_file() for path in weights):
        raise BadInput(f"{run_dir}: model.safetensors is missing")
    if not (run_dir / "config.json").is_file():
        raise BadInput(f"{run_dir}: config.json is missing")
