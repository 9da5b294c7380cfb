"""What one prediction and its truth add to a window, for each kind of model. Room: pure.

A row is what a window keeps under one key: some integers, which add up. Keys begin with a letter, so the rows of one window
lie in order:

    c   classes: picked, true (65,535: no label yet)      how many
    p   probabilities of more than two classes            labelled, sum of log-loss, sum of Brier scores (parts of one)
    r   regression                                        no label yet, then the sums of `performance.regression`
    s   score of a model of two classes (`score_keys`)    no label yet, negative, positive
"""

import math
import struct
from collections.abc import Mapping
from typing import NamedTuple, Protocol, TypeAlias

from streams.monitor.fixed_point import fixed
from streams.monitor.performance.probability import CLIP
from streams.monitor.performance.regression import pair

Row: TypeAlias = tuple[int, ...]
Rows: TypeAlias = Mapping[bytes, Row]
UNLABELLED = 0xFFFF
_CLASSES = struct.Struct(">HH")
_PICKED = struct.Struct(">H")
_NUMBER = struct.Struct(">d")
KEY_BYTES = 5
"""A score's key has 33 bits."""


class Task(Protocol):
    """What a window keeps of a model's predictions."""

    def fits(self, truth: bytes) -> bool:
        """Return whether this can be the truth of a prediction."""

    def rows(self, said: bytes, truth: bytes | None) -> Rows:
        """Return what a prediction and its truth, which fits, add; None: there is no label yet, or it was withdrawn."""


class Binary(NamedTuple):
    """Two classes, one of them positive. `said` is the score's key; a truth is a class in UTF-8."""

    negative: bytes
    positive: bytes

    def said(self, key: int) -> bytes:
        """Return what was said, of the score's key."""
        return key.to_bytes(KEY_BYTES, "big")

    def fits(self, truth: bytes) -> bool:
        """Return whether it is one of the classes."""
        return truth in self

    def rows(self, said: bytes, truth: bytes | None) -> Rows:
        """Return the row of the score."""
        return {b"s" + said: (int(truth is None), int(truth == self.negative), int(truth == self.positive))}


class Multiclass(NamedTuple):
    """Classes in the model's order. `said` is which was picked, and the probability of each as a float32."""

    classes: tuple[bytes, ...]

    def said(self, picked: int, probabilities: list[float]) -> bytes:
        """Return what was said."""
        return _PICKED.pack(picked) + struct.pack(f">{len(self.classes)}f", *probabilities)

    def fits(self, truth: bytes) -> bool:
        """Return whether it is one of the classes."""
        return truth in self.classes

    def rows(self, said: bytes, truth: bytes | None) -> Rows:
        """Return the cell of the confusion matrix, and the losses.

        Log-loss is -ln of the probability of what came true, clipped at `CLIP`; the Brier score is the sum over classes of
        the squared difference (Brier 1950), which for two classes is twice the usual one.
        """
        (picked,) = _PICKED.unpack_from(said)
        if truth is None:
            return {b"c" + _CLASSES.pack(picked, UNLABELLED): (1,)}
        true = self.classes.index(truth)
        probabilities = struct.unpack_from(f">{len(self.classes)}f", said, _PICKED.size)
        loss = -math.log(min(max(probabilities[true], CLIP), 1.0))
        brier = math.fsum((p - (i == true)) ** 2 for i, p in enumerate(probabilities))
        return {b"c" + _CLASSES.pack(picked, true): (1,), b"p": (1, fixed(loss), fixed(brier))}


class Regression(NamedTuple):
    """A number. `said` and truth are float64s, big-endian."""

    def said(self, value: float) -> bytes:
        """Return what was said, or a truth. Raises: ValueError if it cannot be added up."""
        fixed(value)
        return _NUMBER.pack(value)

    def fits(self, truth: bytes) -> bool:
        """Return whether it is a number that can be added up."""
        try:
            fixed(*_NUMBER.unpack(truth))
        except (struct.error, ValueError):
            return False
        return True

    def rows(self, said: bytes, truth: bytes | None) -> Rows:
        """Return the sums of one pair."""
        if truth is None:
            return {b"r": (1, 0, 0, 0, 0, 0)}
        return {b"r": (0, *pair(*_NUMBER.unpack(said), *_NUMBER.unpack(truth)))}


def described(task: Task) -> list[str]:
    """Return which kind of model it is, and its classes."""
    names = tuple(task) if isinstance(task, Binary) else task.classes if isinstance(task, Multiclass) else ()
    return [type(task).__name__.lower(), *(name.decode("utf-8", "replace") for name in names)]
