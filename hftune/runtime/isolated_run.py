"""Several runs in one process, each as if it were the only one."""

import atexit
import contextlib
import functools
import logging
from collections.abc import Iterator

import datasets
import torch
import transformers
from accelerate.state import AcceleratorState, GradientState, PartialState
from transformers.utils.logging import is_progress_bar_enabled

from hftune.runtime.kernels import kept_kernels

STATES = (PartialState, AcceleratorState, GradientState)


@contextlib.contextmanager
def own_state() -> Iterator[None]:
    """Gives a run accelerate's state for itself, and puts back what it changes of torch and of the loggers.

    Torch's random numbers too: a program that draws settings between two launches, which begin at a seed,
    would else draw the same ones again.
    """
    ours = logging.getLogger("hftune")
    logger = ours.handlers, ours.level, ours.propagate
    states = [dict(state._shared_state) for state in STATES]
    threads, verbosity = torch.get_num_threads(), transformers.logging.get_verbosity()
    bars = is_progress_bar_enabled(), not datasets.are_progress_bars_disabled()
    _fill([{} for _ in STATES])
    try:
        with torch.random.fork_rng(devices=[]), kept_kernels():
            yield
    finally:
        if torch.distributed.is_initialized():
            _part_at_exit()
        _fill(states)
        torch.set_num_threads(threads)
        torch.compiler.reset()  # else the graphs of earlier runs count towards the most that it keeps
        ours.handlers, ours.level, ours.propagate = logger
        transformers.logging.set_verbosity(verbosity)
        if bars[0]:
            transformers.logging.enable_progress_bar()
        if bars[1]:
            datasets.enable_progress_bars()


@functools.cache
def _part_at_exit() -> None:
    """Ends the group of processes with the process: a second one cannot meet in the same store.

    Not later, as its threads would outlive what they use.
    """
    atexit.register(torch.distributed.destroy_process_group)


def _fill(states: list[dict]) -> None:
    for state, content in zip(STATES, states, strict=True):
        state._shared_state.clear()
        state._shared_state.update(content)
