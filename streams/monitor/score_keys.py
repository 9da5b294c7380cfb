"""Scores as integers that sort as the scores do: what a window counts by. Room: pure."""

import numpy as np

from streams.records import Bools, Floats, Ints

_SIGN = np.uint32(0x8000_0000)


def to_keys(scores: Floats, picked: Bools) -> Ints:
    """Return the key of each score, shape (rows,): twice the number below, plus one where the positive class was picked.

    The number is the bits of the score's float32, with those of negative numbers turned around. Scores that are the same
    float32 have the same number; 0.0 and -0.0 are the same score. A threshold is compared with more digits than a float32
    has, so what was picked cannot be told from the number. Raises: ValueError for a NaN.
    """
    narrow = np.asarray(scores, dtype=np.float64).astype(np.float32)
    if np.isnan(narrow).any():
        raise ValueError("a score is not a number")
    bits = (narrow + np.float32(0.0)).view(np.uint32)  # -0.0 + 0.0 is 0.0
    numbers = np.where(bits & _SIGN, ~bits, bits | _SIGN).astype(np.int64)
    return 2 * numbers + picked


def from_keys(keys: Ints) -> Floats:
    """Return the score of each key, as float64: exactly the float32 that the key was made of."""
    numbers = (np.asarray(keys, dtype=np.int64) >> 1).astype(np.uint32)
    bits = np.where(numbers & _SIGN, numbers ^ _SIGN, ~numbers).astype(np.uint32)
    return bits.view(np.float32).astype(np.float64)


def picks(keys: Ints) -> Bools:
    """Return where the positive class was picked."""
    return (np.asarray(keys, dtype=np.int64) & 1).astype(np.bool_)
