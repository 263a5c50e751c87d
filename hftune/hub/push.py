"""Publishes a finished run on the Hub: asked beforehand, sent in one commit, compared afterwards.

Whether a commit arrived is read from the repository and never from the answer, which may be lost: before
each try the hashes there are compared with the files here, and a commit names the one that it follows.
"""

import hashlib
import logging
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import CommitOperationAdd, HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import validate_repo_id

from hftune.errors import BadInput, PushFailed
from hftune.hub.client import Failed, Fault, Patience, web_address
from hftune.hub.files import files_of
from hftune.report.model_use import readdress_card
from hftune.runtime.offline import is_offline

log = logging.getLogger(__name__)

PREFLIGHT_SECONDS = 20.0
DEADLINE = 900.0  # seconds
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


class Hashes(NamedTuple):
    """A file's hashes, hexadecimal, as the Hub knows small files (git) and large ones (sha256)."""

    git: str
    sha256: str


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
    with Patience(PREFLIGHT_SECONDS) as patience:
        try:
            user = patience.insist(api.whoami)
            _check_role(user)
        except Failed as failed:
            raise _bad_token(failed.fault) from None
        target = Target(name if "/" in name else f"{user['name']}/{name}", revision, private)
        try:
            patience.insist(lambda: _create(api, target))
        except Failed as failed:
            raise _bad_repository(target, failed.fault, user) from None
    return target


def push(run_dir: Path, target: Target, *, deadline: float | None = None) -> str:
    """Sends a run to the Hub in one commit, or finds that it is there already; its card names the place.

    Args:
        run_dir: A finished run's directory.
        target: What `prepare` returned.
        deadline: Seconds to go on trying; DEADLINE if None. A large file that has arrived starts them anew.

    Returns:
        The address of a commit whose files have the hashes of the local ones.

    Raises:
        BadInput: A file holds a token or a path of this machine; see `files_of`.
        PushFailed: The Hub refuses, or the time is over; the message holds the command that finishes it.
    """
    readdress_card(run_dir, target.repo_id)
    files = {path.relative_to(run_dir).as_posix(): path for path in files_of(run_dir)}
    hashes = {name: _hash(path) for name, path in files.items()}
    api = HfApi()
    with Patience(DEADLINE if deadline is None else deadline) as patience:
        try:
            commit = patience.insist(lambda: _settle(api, target, files, hashes))
        except Failed as failed:
            command = finishing_command(run_dir, target)
            reason = f"not pushed to {target.repo_id}: the Hub {failed.fault.reason}"
            raise PushFailed(f"{reason}; the model is safe in {run_dir}; finish with: {command}") from None
    return web_address(f"{target.repo_id}/commit/{commit}")


def finishing_command(run_dir: Path, target: Target) -> str:
    """Returns the command that pushes a run later."""
    words = ["hftune", "push", str(run_dir), "--hub_model_id", target.repo_id]
    words += [] if target.private else ["--no_hub_private_repo"]
    words += ["--hub_revision", target.revision] if target.revision else []
    return shlex.join(words)


def _settle(api: HfApi, target: Target, files: dict[str, Path], hashes: dict[str, Hashes]) -> str:
    """Commits what the branch lacks; returns the commit that holds everything."""
    head = api.model_info(target.repo_id, revision=target.revision).sha
    missing = _different(api, target, head, hashes)
    if not missing:
        return str(head)
    if "README.md" in missing and api.get_paths_info(target.repo_id, ["README.md"], revision=head):
        place = web_address(f"{target.repo_id}/blob/{head}/README.md")
        log.warning(
            "%s: the run's card takes the place of the README.md there, see %s", target.repo_id, place
        )
    commit = api.create_commit(
        target.repo_id,
        [CommitOperationAdd(name, files[name]) for name in missing],
        commit_message="Upload model",
        revision=target.revision,
        parent_commit=head,  # a second try after a lost answer cannot make a second commit
    )
    if wrong := _different(api, target, commit.oid, hashes):
        raise Failed(Fault(f"holds another {wrong[0]} than was sent", passing=False))
    return commit.oid


def _different(api: HfApi, target: Target, commit: str | None, hashes: dict[str, Hashes]) -> list[str]:
    """Lists the files that a commit lacks or has with other content."""
    infos = api.get_paths_info(target.repo_id, list(hashes), revision=commit)
    there = {info.path: info for info in infos if isinstance(info, RepoFile)}
    return [name for name, local in hashes.items() if name not in there or not _same(there[name], local)]


def _same(remote: RepoFile, local: Hashes) -> bool:
    return remote.lfs.sha256 == local.sha256 if remote.lfs else remote.blob_id == local.git


def _hash(path: Path) -> Hashes:
    git, sha256 = hashlib.sha1(f"blob {path.stat().st_size}\0".encode()), hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            git.update(block)
            sha256.update(block)
    return Hashes(git.hexdigest(), sha256.hexdigest())


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
        raise BadInput("the Hub token holds a space or a letter that no token has; set HF_TOKEN anew")


def _check_role(user: dict[str, Any]) -> None:
    role = user.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        place = web_address("settings/tokens")
        raise BadInput(f"the Hub token of {user['name']} may only read; make one that may write at {place}")


def _bad_token(fault: Fault) -> BadInput:
    if fault.status in (401, 403):
        place = web_address("settings/tokens")
        return BadInput(
            f"the Hub does not take the token; make one that may write at {place}, then `hf auth login`"
        )
    return _away(fault)


def _bad_repository(target: Target, fault: Fault, user: dict[str, Any]) -> BadInput:
    if fault.passing or fault.status is None:
        return _away(fault)
    owners = ", ".join([user["name"], *(org["name"] for org in user.get("orgs", []))])
    return BadInput(
        f"--hub_model_id {target.repo_id}: the Hub {fault.reason}; the token's owners are {owners}: "
        "choose a name under one of them, or a token that may write there"
    )


def _away(fault: Fault) -> BadInput:
    host = web_address("").split("/")[2]
    return BadInput(
        f"a push needs the Hub ({host}), which {fault.reason}; try again; or train without --push_to_hub"
    )
