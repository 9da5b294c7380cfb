"""Windows of predictions and labels to try figures on."""

import numpy as np

from streams.monitor.multiset import Multiset, counted
from streams.monitor.score_keys import to_keys
from streams.records import Bools, Floats


def window(scores: Floats, labels: Bools, threshold: float = 0.5) -> Multiset:
    """Return the multiset of labelled predictions."""
    keys, none = to_keys(scores, scores >= threshold), np.zeros(len(scores), dtype=np.int64)
    return counted(keys, none, (~labels).astype(np.int64), labels.astype(np.int64))


def normals(rng: np.random.Generator, size: int, shift: float, share: float = 0.5) -> tuple[Floats, Bools]:
    """Return scores of N(0, 1) for negatives and N(shift, 1) for positives, and which are which."""
    labels = rng.random(size) < share
    return rng.standard_normal(size) + shift * labels, labels


def probabilities(rng: np.random.Generator, size: int) -> tuple[Floats, Bools]:
    """Return scores that are right: a label is positive as often as its score says. Some scores occur more than once."""
    scores = np.round(rng.beta(1.0, 3.0, size), 3)
    return scores, rng.random(size) < scores
