"""Seeds: every random number of a run follows from the run's seed, what the number is for, and its place in the run."""

from __future__ import annotations

import contextlib
import enum
import random
from collections.abc import Iterator

import numpy as np

__all__ = ["Purpose", "keep_random_state", "mix_seed", "seed_generators"]


class Purpose(enum.IntEnum):
    """What random numbers are for. It is part of the seed, so that no two purposes share a sequence."""

    ORDER = 0
    SAMPLE = 1
    BATCH = 2
    MODEL = 3
    STEP = 4
    VALIDATION = 5


def mix_seed(seed: int, purpose: Purpose, *place: int) -> np.ndarray:
    """Mix a run's seed, a purpose and a place (an epoch, a step, ...), none negative, into a seed of four words (uint32).

    Neighbouring seeds and places give independent sequences.
    """
    return np.random.SeedSequence((seed, purpose, *place)).generate_state(4)


def seed_generators(seed: int, purpose: Purpose, *place: int) -> np.ndarray:
    """Seed Python's and NumPy's global generators, from which PaddleDetection draws; return what :func:`mix_seed` gives."""
    words = mix_seed(seed, purpose, *place)
    random.seed(words.tobytes())
    np.random.seed(words)
    return words


@contextlib.contextmanager
def keep_random_state() -> Iterator[None]:
    """Restore both generators afterwards. NumPy takes half a millisecond for this, so use it per batch, not per sample."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
