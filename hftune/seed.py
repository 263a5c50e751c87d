"""Addressable randomness: every random choice is a pure function of a key, never of history.

A generator that is advanced remembers how far it got; after a kill, with other workers or with
other processes it is somewhere else. Here a choice is addressed by what it is for, for example
`("order", seed, epoch)` or `("dropout", seed, step, micro_batch)`, and hashed to a fresh
generator. The same address gives the same bits, always.
"""

import hashlib

import numpy as np


def key(*address: int | str) -> int:
    """Hashes an address to 63 bits.

    Args:
        *address: What the randomness is for, as words and numbers.

    Returns:
        An integer in [0, 2**63), the same on every machine and Python version.
    """
    text = "\x1f".join(map(str, address)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def generator(*address: int | str) -> np.random.Generator:
    """Returns a fresh NumPy generator for an address."""
    return np.random.Generator(np.random.Philox(key(*address)))


def permutation(n: int, *address: int | str) -> np.ndarray:
    """Returns the numbers 0 .. n-1, int64, in the random order that belongs to an address."""
    return generator(*address).permutation(n)


def seed_torch(*address: int | str) -> None:
    """Points torch's global generators (CPU and GPU) at an address, as dropout draws from them."""
    import torch

    torch.manual_seed(key(*address))
