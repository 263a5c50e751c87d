"""Publishes a finished run on the Hub: asked beforehand, sent in one commit, compared afterwards.

Whether a commit arrived is read from the repository and never from the answer, which may be lost: before
each try the hashes there are compared with the files here, and a commit names the one that it follows.
"""

import logging
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from hftune.errors import BadInput, PushFailed
from hftune.hub.client import Failed, careful_client, retry, web_address
from hftune.hub.files import files_of
from hftune.report.model_use import set_repo_id
from hftune.runtime.offline import is_offline
from hftune.tasks import task_of

log = logging.getLogger(__name__)

PREFLIGHT_SECONDS = 20.0
DEADLINE = 900.0  # seconds to go on trying
SLOWEST = 100_000.0  # bytes a second: a push may take as long as its files do on such a line
BRANCH = re.compile(r"(?!.*(\.\.|//|@\{|\.lock$))[\w][\w./-]*(?<![./])", re.ASCII)


class Target(NamedTuple):
    """Where a run goes.

    Args:
        repo_id: OWNER/NAME.
        revision: A branch; None for main.
        private: Whether only the owner sees a repository that is new.
    """

    repo_id: str
    revision: str | None
    private: bool


def prepare(hub_model_id: str | None, default_name: str, *, private: bool, revision: str | None) -> Target:
    """Makes sure, before a training, that its result can be pushed; creates the repository.

    Args:
        hub_model_id: OWNER/NAME or NAME; the token's user owns a NAME.
        default_name: The name where `hub_model_id` is None, such as the recipe's.
        private: Whether a new repository is private; one that exists keeps what it is.
        revision: The branch, created if need be; None for main.

    Returns:
        Where to push.

    Raises:
        BadInput: No token, one that may not write, a name that is not allowed or belongs to others, a
            public repository where a private one is asked for, or no answer within 20 seconds.
    """
    name = default_name if hub_model_id is None else hub_model_id
    if hub_model_id is None:
        name = re.sub(r"[^A-Za-z0-9_.]+|\.{2,}", "-", name).strip("-.")
    _check_name(name)
    if revision is not None and (not BRANCH.fullmatch(revision) or re.fullmatch("[0-9a-f]{40}", revision)):
        raise BadInput(f"--hub_revision {revision}: not a branch name; pass one such as v2, or leave it out")
    _check_token()
    api = HfApi()
    with careful_client():
        try:
            user = retry(api.whoami, PREFLIGHT_SECONDS)
        except Failed as failed:
            raise _bad_token(failed) from None
        _check_role(user)
        target = Target(name if "/" in name else f"{user['name']}/{name}", revision, private)
        try:
            retry(lambda: _create(api, target), PREFLIGHT_SECONDS)
        except Failed as failed:
            raise _bad_repository(target, failed, user) from None
    return target


def push(run_dir: Path, target: Target) -> str:
    """Sends a run to the Hub in one commit, or finds that it is there already; its card names the place.

    Args:
        run_dir: A finished run's directory.
        target: What `prepare` returned.

    Returns:
        The address of a commit whose files have the hashes of the local ones.

    Raises:
        BadInput: A file holds a token or a path of this machine; see `files_of`.
        PushFailed: The Hub refuses, or the time is over; the message holds the command that finishes it.
    """
    set_repo_id(run_dir, target.repo_id, task_of)
    files = files_of(run_dir)
    transfer = sum(path.stat().st_size for path in files) / SLOWEST
    api = HfApi()
    with careful_client():
        try:
            commit = retry(lambda: _settle(api, target, run_dir, files), DEADLINE, transfer)
        except Failed as failed:
            command = finishing_command(run_dir, target)
            reason = f"not pushed to {target.repo_id}: the Hub {failed.reason}"
            raise PushFailed(f"{reason}; the model is safe in {run_dir}; finish with: {command}") from None
    return web_address(f"{target.repo_id}/commit/{commit}")


def finishing_command(run_dir: Path, target: Target) -> str:
    """Returns the command that pushes a run later."""
    words = ["hftune", "push", str(run_dir), "--hub_model_id", target.repo_id]
    words += [] if target.private else ["--no_hub_private_repo"]
    words += ["--hub_revision", target.revision] if target.revision else []
    return shlex.join(words)


def _settle(api: HfApi, target: Target, run_dir: Path, files: list[Path]) -> str:
    """Commits what the branch lacks; returns the commit that holds everything."""
    paths = {path.relative_to(run_dir).as_posix(): path for path in files}
    head = api.model_info(target.repo_id, revision=target.revision).sha
    absent, other = _compare(api, target, head, run_dir)
    missing = sorted(paths.keys() & (absent | other))
    if not missing:
        return str(head)
    if "README.md" in paths.keys() & other:
        place = web_address(f"{target.repo_id}/blob/{head}/README.md")
        log.warning(
            "%s: the run's card takes the place of the README.md there, see %s", target.repo_id, place
        )
    # Not `upload_folder`, which makes several commits where Xet is installed.
    commit = api.create_commit(
        target.repo_id,
        [CommitOperationAdd(name, paths[name]) for name in missing],
        commit_message="Upload model",
        revision=target.revision,
        parent_commit=head,  # a second try after a lost answer cannot make a second commit
    )
    if wrong := sorted(paths.keys() & set().union(*_compare(api, target, commit.oid, run_dir))):
        raise Failed(f"holds another {wrong[0]} than was sent")
    return commit.oid


def _compare(api: HfApi, target: Target, commit: str | None, run_dir: Path) -> tuple[set[str], set[str]]:
    """Returns the files of a run that a commit lacks, and those that it has with another hash."""
    found = api.verify_repo_checksums(target.repo_id, revision=commit, local_dir=run_dir)
    return set(found.extra_paths), {mismatch["path"] for mismatch in found.mismatches}


def _create(api: HfApi, target: Target) -> None:
    """Creates the repository and its branch where they are not, and makes sure that they can be written."""
    api.create_repo(target.repo_id, private=target.private, exist_ok=True)
    api.auth_check(target.repo_id, write=True)
    if target.private and not api.model_info(target.repo_id).private:
        advice = "pass --no_hub_private_repo to publish there, or another --hub_model_id"
        raise BadInput(f"--hub_model_id {target.repo_id}: exists and is public; {advice}")
    if target.revision:
        api.create_branch(target.repo_id, branch=target.revision, exist_ok=True)


def _check_name(name: str) -> None:
    """Raises BadInput if a repository cannot have a name."""
    if address := re.match(r"(?:https?://)?[\w.-]+\.[a-z]{2,}/([\w.-]+/[\w.-]+)/?$", name):
        raise BadInput(f"--hub_model_id {name}: a web address; pass {address[1]}")
    try:
        validate_repo_id(name)
    except HFValidationError:
        allowed = "letters, digits, '-', '_' and '.', at most 96; no '--' or '..'; not '-' or '.' at an end"
        raise BadInput(f"--hub_model_id {name!r}: expected OWNER/NAME or NAME of {allowed}") from None


def _check_token() -> None:
    if is_offline():
        raise BadInput(
            "a push needs the Hub, but HF_HUB_OFFLINE is set; unset it; or train without --push_to_hub"
        )
    token = get_token()
    if not token:
        raise BadInput("a push needs a token: run `hf auth login`, or set HF_TOKEN to one that may write")
    if not re.fullmatch(r"[!-~]+", token):
        raise BadInput("the Hub token holds a space or a letter that no token has; set HF_TOKEN again")


def _check_role(user: dict[str, Any]) -> None:
    role = user.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        place = web_address("settings/tokens")
        raise BadInput(f"the Hub token of {user['name']} may only read; make one that may write at {place}")


def _bad_token(failed: Failed) -> BadInput:
    if failed.status not in (401, 403):
        return _away(failed)
    place = web_address("settings/tokens")
    return BadInput(
        f"the Hub does not take the token; make one that may write at {place}, then `hf auth login`"
    )


def _bad_repository(target: Target, failed: Failed, user: dict[str, Any]) -> BadInput:
    if failed.passing or failed.status is None:
        return _away(failed)
    owners = ", ".join([user["name"], *(org["name"] for org in user.get("orgs", []))])
    return BadInput(
        f"--hub_model_id {target.repo_id}: the Hub {failed.reason}; the token's owners are {owners}: "
        "choose a name under one of them, or a token that may write there"
    )


def _away(failed: Failed) -> BadInput:
    host = web_address("").split("/")[2]
    return BadInput(
        f"a push needs the Hub ({host}), which {failed.reason}; try again; or train without --push_to_hub"
    )
