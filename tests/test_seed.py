"""Randomness by address: the same everywhere and always, and different for every address."""

import subprocess
import sys

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from hftune.seed import generator, key, permutation, seed_torch

addresses = st.lists(st.integers(-5, 10**9) | st.text(max_size=6), min_size=1, max_size=4)


@given(addresses)
def test_a_key_fits_every_generator(address):
    assert 0 <= key(*address) < 2**63
    assert key(*address) == key(*address)


def test_keys_of_different_addresses_differ():
    made = [("order", seed, epoch) for seed in range(30) for epoch in range(30)]
    made += [("batches", seed, epoch) for seed in range(30) for epoch in range(30)]
    made += [("order",), ("order", 1), ("order", 11), ("order", 1, 1, 1), ("order", "1 1"), ("or", "der", 1)]
    assert len({key(*address) for address in made}) == len(made)


def test_keys_are_the_same_on_every_machine_and_in_every_version():
    """A run begun with one version of hftune is resumed with another: these numbers never change."""
    assert key("order", 42, 0) == 2_125_377_469_927_642_003
    assert permutation(10, "order", 42, 0).tolist() == [5, 8, 0, 1, 7, 6, 4, 9, 3, 2]


def test_keys_do_not_depend_on_the_process():
    """Python's own hash does."""
    program = "from hftune.seed import key; print(key('order', 42, 'x'))"
    for hash_seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            check=True,
        )
        assert int(run.stdout) == key("order", 42, "x")


@given(st.integers(0, 200), addresses)
def test_a_permutation_has_every_number_once(n, address):
    order = permutation(n, *address)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(n))
    assert np.array_equal(order, permutation(n, *address))


def test_generators_are_fresh_each_time():
    first = generator("a", 1)
    first.random(100)
    assert generator("a", 1).random() == generator("a", 1).random()
    assert generator("a", 1).random() != generator("a", 2).random()


def test_seed_torch_points_dropout_at_an_address():
    dropout = torch.nn.Dropout(0.5)

    def drawn(*address):
        seed_torch(*address)
        return dropout(torch.ones(64)).tolist()

    with torch.random.fork_rng(devices=[]):
        first = drawn("dropout", 42, 7, 0)
        assert drawn("dropout", 42, 7, 1) != first
        assert drawn("dropout", 42, 7, 0) == first
