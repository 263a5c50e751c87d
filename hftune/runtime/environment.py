"""What is set for the whole process before anything heavy is imported: variables, threads, memory."""

import ctypes
import functools
import os

# glibc's names for mallopt, from <malloc.h>, with what they are set to (bytes).
MEMORY = {"M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_TOP_PAD": (-2, 2**26), "M_MMAP_THRESHOLD": (-3, 2**30)}


def prepare_environment() -> None:
    """Sets what the libraries read when they are imported; what the user has set stays.

    Tokenizing runs on all cores in this process only: the threads of `tokenizers` do not survive a
    fork, so a forked worker that tokenized in parallel would wait for them for ever.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for its newest version
    os.environ.setdefault("USE_HUB_KERNELS", "0")  # transformers would download kernels
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # For a repository of pickled weights transformers would ask a service on the Hub to convert them.
    os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")
    # A thread that waits soon sleeps: on a shared machine, spinning takes the cores from those that work.
    # GNU's threads, torch's on Linux, spin for some microseconds first: many parallel parts are that short.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if "TOKENIZERS_PARALLELISM" not in os.environ:
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        _watch_forks()
    tune_malloc()


def tune_malloc() -> None:
    """Lets malloc keep what a step frees for the next one, instead of returning it to the system.

    By default glibc maps every tensor above some megabytes again, and the system fills its pages with
    zeros first: a sixth of a small network's step on a CPU. Variables of malloc that the user has set
    are left alone, and so are other C libraries.
    """
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return
    for option, value in MEMORY.values():
        library.mallopt(option, value)


@functools.cache  # a program may launch many runs
def _watch_forks() -> None:
    os.register_at_fork(after_in_child=_tokenize_alone)


def _tokenize_alone() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
