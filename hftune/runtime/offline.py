"""Finds out, before anything heavy is imported, whether the Hub answers and what the caches hold.

Without a network the Hugging Face libraries try for most of a minute, even where all they need is
cached; where packets are dropped, for ever. So the Hub is asked once, for two seconds, and if it does
not answer the libraries are told to stay offline. They read these variables when they are imported.
"""

import errno
import os
import re
import socket
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

from hftune.errors import BadInput

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE", "TRANSFORMERS_OFFLINE")
GATEWAY_ERRORS = (407, 502, 503, 504)  # a proxy answered, the Hub did not
READ_AT_IMPORT = (
    ("huggingface_hub.constants", "HF_HUB_OFFLINE"),
    ("datasets.config", "HF_HUB_OFFLINE"),
    ("datasets.config", "HF_DATASETS_OFFLINE"),
    ("evaluate.config", "HF_EVALUATE_OFFLINE"),
)
SAMPLE = "sample"  # the built-in data


def ensure_reachable(
    model: str | None,
    dataset: str | None,
    *,
    teacher: str | None = None,
    revision: str = "main",
    push: bool = False,
    trains: bool = True,
) -> str | None:
    """Makes sure that a run's model and data set can be had, and goes offline if the Hub is away.

    Args:
        model: `--model_name_or_path`: a Hub id, a folder or None.
        dataset: `--dataset_name`: a Hub id, a folder, "sample" or None.
        teacher: `--teacher`: likewise.
        revision: Branch, tag or commit of the model.
        push: Whether the result will be pushed, which needs the Hub whatever is cached.
        trains: Whether this is a run; else the model is a saved one, named by a word without a flag.

    Returns:
        One line to print if the run works from the caches, else None.

    Raises:
        BadInput: A value is neither a folder nor a possible Hub id, or the Hub cannot be reached and
            the cache does not hold it, or something is to be pushed.
    """
    model = hub_id(model, "model_name_or_path" if trains else "")
    dataset = None if dataset == SAMPLE else hub_id(dataset, "dataset_name")
    teacher = hub_id(teacher, "teacher")
    if not (model or dataset or teacher or push):
        go_offline()  # nothing is asked of the Hub, so no library shall ask
        return None
    check_cache()
    if is_offline():
        reason = "HF_HUB_OFFLINE is set"
    elif not reach_hub():
        reason = f"the Hub ({urlsplit(endpoint()).netloc.rpartition('@')[2]}) cannot be reached{_through()}"
    else:
        return None
    if push:
        raise BadInput(f"--push_to_hub: {reason}; train without it and push later: hftune push RUN")
    go_offline()
    if dataset and not cached_dataset(dataset):
        own = f"--train_file FILE or --dataset_name {SAMPLE}" if trains else "--test_file FILE"
        advice = f"--dataset_name FOLDER, {own}" if trains else f"--dataset_name FOLDER or {own}"
        raise BadInput(f"{reason} and {dataset} is not in the cache; pass {advice}")
    if model and not cached_model(model, revision):
        if not trains:
            raise BadInput(f"{model}: no such folder, nor in the cache, and {reason}; pass a run directory")
        advice = "--model_name_or_path FOLDER, or --model_type KIND to train from scratch"
        raise BadInput(f"{reason} and {model} is not in the cache; pass {advice}")
    if teacher and not cached_model(teacher):
        raise BadInput(f"{reason} and {teacher} is not in the cache; pass --teacher FOLDER")
    return f"{reason}: using the cached {' and '.join(name for name in (dataset, model, teacher) if name)}"


def _through() -> str:
    """Names the proxy that the Hub is asked through, without its password; "" without one."""
    proxy = proxy_of(endpoint())
    return f" through the proxy {urlsplit(proxy).netloc.rpartition('@')[2] or proxy}" if proxy else ""


def proxy_of(url: str) -> str | None:
    """Returns the proxy that the environment names for an address, None without one."""
    from urllib import request

    address = urlsplit(url)
    proxies = {} if request.proxy_bypass(address.netloc) else request.getproxies()
    return proxies.get(address.scheme) or proxies.get("all")


def hub_id(value: str | None, flag: str) -> str | None:
    """Returns a value that names a Hub repository, or None if it is a folder here or None.

    Args:
        value: What the user gave.
        flag: The flag that it was given to, for the error; "" for a word without one.

    Raises:
        BadInput: It is a file, a path to nothing, a web address, or breaks the Hub's rules for names.
    """
    if value is None:
        return None
    path = os.path.expanduser(value)  # of pathlib these raise, for ~NOBODY and for very long names
    if os.path.isdir(path):
        return None
    said = f"--{flag} {value}" if flag else value
    if os.path.isfile(path):
        other = "; data files go to --train_file" if flag == "dataset_name" else ""
        raise BadInput(f"{said}: a file, expected a folder or a Hub id{other}")
    address = re.match(
        r"(?:https?://)?(?:www\.)?(?:huggingface|hf)\.co/(?:datasets/)?([\w.-]+/[\w.-]+)", value
    )
    if address or "://" in value:
        advice = f"pass {address[1]}" if address else "pass a Hub id (OWNER/NAME) or a folder"
        raise BadInput(f"{said}: a web address; {advice}")
    if value.startswith((".", "/", "~")) or value.endswith("/") or "\\" in value or value.count("/") > 1:
        raise BadInput(f"{said}: no such folder (a Hub id is NAME or OWNER/NAME)")
    names = value.split("/")
    if not all(re.fullmatch(r"[A-Za-z0-9_]([\w.-]*[A-Za-z0-9_])?", name, re.ASCII) for name in names):
        allowed = "letters, digits, '-', '_' and '.', not '-' or '.' at an end"
        raise BadInput(f"{said}: no such folder, and not a Hub id ({allowed})")
    if "--" in value or ".." in value or value.endswith(".git") or len(value) > 96:
        raise BadInput(f"{said}: no such folder, and not a Hub id (no '--', '..' or '.git')")
    return value


def endpoint() -> str:
    """Returns the Hub's address, or raises BadInput if HF_ENDPOINT is none."""
    address = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    try:
        parts = urlsplit(address)
        complete = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # an unclosed bracket, or a port that is no number
        complete = False
    if not complete:
        raise BadInput(f"HF_ENDPOINT={address}: expected http://HOST or https://HOST")
    return address


def is_offline() -> bool:
    """Says whether the user asked the Hugging Face libraries to stay offline."""
    word = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return word.upper() in ("1", "ON", "YES", "TRUE")


def go_offline() -> None:
    """Tells all Hugging Face libraries to ask nothing of the Hub."""
    os.environ.update(dict.fromkeys(OFFLINE, "1"))
    tell_libraries()


def tell_libraries() -> None:
    """Tells the libraries that were imported before what the variables say now; they read them only then."""
    for module, name in READ_AT_IMPORT:
        if module in sys.modules:
            setattr(sys.modules[module], name, is_offline())


def reach_hub(timeout: float = 2.0) -> bool:
    """Tries once whether the Hub answers, through the proxy where one is configured.

    Args:
        timeout: Seconds for everything together. The name lookup takes no timeout of its own and a
            server may send a byte at a time, so a thread does the asking and is left behind if late.
    """
    answers: list[bool] = []
    url = endpoint()
    thread = threading.Thread(target=lambda: answers.append(_ask(url, timeout)), daemon=True)
    thread.start()
    thread.join(timeout)
    return answers == [True]


def _ask(url: str, timeout: float) -> bool:
    import http.client
    import ssl
    from urllib import error, request

    address = urlsplit(url)
    proxy = proxy_of(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing of the answer is used
    opener = request.build_opener(
        request.ProxyHandler({address.scheme: proxy} if proxy else {}),
        request.HTTPSHandler(context=context),
    )
    try:
        if proxy and proxy.startswith("socks"):
            place = urlsplit(proxy)
            socket.create_connection((place.hostname or "", place.port or 1080), timeout).close()
            return True
        with opener.open(request.Request(url, method="HEAD"), timeout=timeout):
            return True
    except error.HTTPError as answer:
        return answer.code not in GATEWAY_ERRORS
    except (
        OSError,
        ValueError,
        http.client.HTTPException,
    ):  # ValueError: no such host name
        return False


def cached_model(name: str, revision: str = "main") -> bool:
    """Says whether the Hub's cache holds a model's config at a branch, tag or commit.

    Call it when the variables are set: it imports the Hub's library, which reads them then.
    """
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str)


def cached_dataset(name: str) -> bool:
    """Says whether `datasets` has prepared a data set before: offline it reads nothing else.

    Downloaded but unprepared files in the Hub's cache do not count (datasets 5.2,
    `CachedDatasetModuleFactory`). Names are written in snake case there.
    """
    cache = _datasets_cache()
    *owner, last = name.split("/")
    last = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", last)
    last = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", last).lower()
    return any(path.is_dir() for path in cache.glob(f"{'___'.join([*owner, last])}/*/*/*"))


def check_cache() -> None:
    """Raises `BadInput` where a file stands in the place of the cache's folder: every library fails there."""
    path = _home()
    place = next((place for place in (path, *path.parents) if os.path.exists(place)), path)
    if not os.path.isdir(place):
        raise BadInput(f"HF_HOME={path}: {place} is a file; set HF_HOME to a folder that can be written")


def of_the_cache(error: OSError) -> BadInput | None:
    """Returns what a failure to write the Hugging Face libraries' cache comes down to, None for any other."""
    if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return None
    from huggingface_hub import constants

    folders = [_home(), Path(constants.HF_HUB_CACHE), _datasets_cache()]
    path = error.filename
    if not isinstance(path, str) or not any(Path(path).is_relative_to(folder) for folder in folders):
        return None
    return BadInput(
        f"the cache of Hugging Face's libraries cannot be written: {path}: {error.strerror}; set HF_HOME "
        "to a folder that can be"
    )


# As the libraries read the variables, an empty one included: a test asks them.
def _home() -> Path:
    default = os.path.join(os.environ.get("XDG_CACHE_HOME", "~/.cache"), "huggingface")
    return Path(os.path.expandvars(os.environ.get("HF_HOME", default))).expanduser()


def _datasets_cache() -> Path:
    return Path(os.environ.get("HF_DATASETS_CACHE", _home() / "datasets")).expanduser()
