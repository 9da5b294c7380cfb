"""The join of labels with the prediction that they judge: what is known of one identity, and what follows. Room: pure.

What is known is a set: of the predictions the one that is kept, and of the labels all that can still matter. It does not
depend on the order in which they came, nor on how often. A label counts if it was true soon enough, `time_ms <= event_ms +
horizon_ms`, which is a matter of data, never of a clock; of those that count, the one with the highest rank is the truth.
"""

import struct
from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

KEPT_MAX = 16
"""So many labels of one identity are kept, those of the highest rank: more corrections than this, each later than the one
before it, can make the order in which they came matter."""
VALUE_BYTES_MAX = 255


class Prediction(NamedTuple):
    """What was said of one request."""

    event_ms: int
    subject: bytes
    """Which model, version and arm: 8 bytes."""
    said: bytes
    """The prediction, as the subject's counts have it: at most 255 bytes."""


class Label(NamedTuple):
    """What somebody said is true, in the order of its rank: the higher is believed."""

    versioned: bool
    """A label that has no version never outranks one that has."""
    number: int
    """The version, where there is one; else the time, so that the later is believed."""
    digest: int
    """Of the value: of two with one version the larger is believed, because something must decide that is not arrival."""
    lateness: int
    """Minus the time in milliseconds: of the same said twice the earlier is kept."""
    withdrawn: bool
    """There is no truth any more."""
    value: bytes
    """The truth, canonically; at most 255 bytes, and empty where it is withdrawn."""

    @property
    def time_ms(self) -> int:
        """When it was known, in the label's own event time."""
        return -self.lateness

    @property
    def rank(self) -> tuple[bool, int, int]:
        """What makes two labels the same."""
        return self[:3]


def label(value: bytes, time_ms: int, version: int | None = None) -> Label:
    """Return what a label record says; a version is any integer, the higher the newer."""
    return _label(value, time_ms, version, withdrawn=False)


def withdrawal(time_ms: int, version: int | None) -> Label:
    """Return what a record says that withdraws what was said under lower versions."""
    return _label(b"", time_ms, version, withdrawn=True)


def tombstone(time_ms: int) -> Label:
    """Return what a record without a value says: every label that has no version is withdrawn, whenever it comes."""
    return _label(b"", time_ms, None, withdrawn=True)._replace(number=2**63 - 1)


def _label(value: bytes, time_ms: int, version: int | None, *, withdrawn: bool) -> Label:
    if len(value) > VALUE_BYTES_MAX:
        raise ValueError(f"a label of {len(value)} bytes; {VALUE_BYTES_MAX} are allowed")
    number = time_ms if version is None else version
    return Label(version is not None, number, xxh3_64_intdigest(value, withdrawn), -time_ms, withdrawn, value)


class Fate(StrEnum):
    """What became of a label when it came. Every label has one."""

    APPLIED = "applied"
    """The first that counts of a prediction that is known."""
    CORRECTED = "corrected"
    """It replaced one of a lower rank."""
    WITHDRAWN = "withdrawn"
    """It took back one of a lower rank."""
    DUPLICATE = "duplicate"
    """It said again what is known."""
    SUPERSEDED = "superseded"
    """What is known has a higher rank."""
    EARLY = "early"
    """There is no prediction yet; it waits."""
    TOO_LATE = "too_late"
    """It was known later than the horizon allows."""


class Known(NamedTuple):
    """Everything that is known of one identity."""

    prediction: Prediction | None = None
    labels: tuple[Label, ...] = ()
    """Highest rank first. Of two, the higher one is the later: else the lower one could never be the truth."""

    def truth(self, horizon_ms: int) -> Label | None:
        """Return the label that counts, a withdrawal included; None without a prediction, or without such a label."""
        if self.prediction is None:
            return None
        end = self.prediction.event_ms + horizon_ms
        for one in self.labels:
            if one.time_ms <= end:
                return one
        return None


NOTHING = Known()


def predicted(known: Known, prediction: Prediction, horizon_ms: int) -> Known:
    """Return what is known with one more prediction. Of several of one identity the earliest in event time is kept."""
    kept = prediction if known.prediction is None else min(known.prediction, prediction)
    return Known(kept, _matter(known.labels, kept, horizon_ms))


def labelled(known: Known, new: Label, horizon_ms: int) -> tuple[Known, Fate]:
    """Return what is known with one more label, and what became of it."""
    after = Known(known.prediction, _matter((*known.labels, new), known.prediction, horizon_ms))
    return after, _fate(known, after, new, horizon_ms)


def _fate(before: Known, after: Known, new: Label, horizon_ms: int) -> Fate:
    if any(one.rank == new.rank for one in before.labels):
        return Fate.DUPLICATE
    if before.prediction is None:
        return Fate.EARLY if new in after.labels else Fate.SUPERSEDED
    if new.time_ms > before.prediction.event_ms + horizon_ms:
        return Fate.TOO_LATE
    was, now = before.truth(horizon_ms), after.truth(horizon_ms)
    if now != new:
        return Fate.SUPERSEDED
    if new.withdrawn:
        return Fate.WITHDRAWN
    return Fate.APPLIED if was is None else Fate.CORRECTED


def _matter(labels: Iterable[Label], prediction: Prediction | None, horizon_ms: int) -> tuple[Label, ...]:
    """Return those that can still be the truth: no higher one was known as soon."""
    kept: list[Label] = []
    for one in sorted(labels, reverse=True):
        late = prediction is not None and one.time_ms > prediction.event_ms + horizon_ms
        if not late and (not kept or one.time_ms < kept[-1].time_ms):
            kept.append(one)
    return tuple(kept[:KEPT_MAX])


FORMAT = 1
_HEAD = struct.Struct(">BBB")
"""Format, whether there is a prediction, number of labels."""
_PREDICTION = struct.Struct(">q8sB")
"""Event time, subject, length of what was said."""
_LABEL = struct.Struct(">BqQqB")
"""Flags (1: versioned, 2: withdrawn), number, digest, time, length of the value."""


def encode(known: Known) -> bytes:
    """Return what is known as bytes: the same bytes for the same knowledge."""
    parts = [_HEAD.pack(FORMAT, known.prediction is not None, len(known.labels))]
    if known.prediction is not None:
        event_ms, subject, said = known.prediction
        parts += [_PREDICTION.pack(event_ms, subject, len(said)), said]
    for one in known.labels:
        flags = one.versioned | one.withdrawn << 1
        parts += [_LABEL.pack(flags, one.number, one.digest, one.time_ms, len(one.value)), one.value]
    return b"".join(parts)


def decode(data: bytes) -> Known:
    """Return what `encode` was given. Raises: ValueError for another format, or bytes that end too soon or too late."""
    try:
        return _decode(data)
    except (struct.error, IndexError) as error:
        raise ValueError(f"what is known of an identity ends too soon: {error}") from None


def _decode(data: bytes) -> Known:
    form, has_prediction, count = _HEAD.unpack_from(data)
    if form != FORMAT:
        raise ValueError(
            f"format {form}: this version reads format {FORMAT}. Was the changelog written by a newer version?"
        )
    at, prediction, labels = _HEAD.size, None, []
    if has_prediction:
        event_ms, subject, size = _PREDICTION.unpack_from(data, at)
        at += _PREDICTION.size + size
        prediction = Prediction(event_ms, subject, data[at - size : at])
    for _ in range(count):
        flags, number, digest, time_ms, size = _LABEL.unpack_from(data, at)
        at += _LABEL.size + size
        labels.append(Label(bool(flags & 1), number, digest, -time_ms, bool(flags & 2), data[at - size : at]))
    if at != len(data):
        raise ValueError(f"what is known of an identity has {len(data)} bytes, and {at} are read")
    return Known(prediction, tuple(labels))
