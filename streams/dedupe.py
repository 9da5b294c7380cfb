"""Who asked before: identities, fingerprints, what the state remembers of a first answer, and the fold over repeats.

Room: pure. The state of one identity is the first answer it got. Rows are judged one after the other, in log order:

    hit, same inputs    DUPLICATE, with the first answer
    hit, other inputs   CONFLICT
    miss, a rule failed refused; nothing is remembered, the id may be used again
    miss                to be scored; from now on its answer is the state

A hit is a request whose append time is at most `window_ms` after the first one's: broker times, signed, so the
outcome is a function of the two records alone, whenever and wherever it is computed.
"""

import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from streams.frames import ENTRY
from streams.reasons import Reason
from streams.records import LIVE, Ints, Origin

FORMAT = 1
"""First byte of a state value; a version reads its own and its predecessor's."""

_HEAD = struct.Struct(">B16sqq16sB")
"""Format, fingerprint, append_ms, offset, topic id, length of the topic's name; then the name, then the answer."""
_HEAD_CELL = [
    ("format", "u1"),
    ("fingerprint", "V16"),
    ("append_ms", ">i8"),
    ("offset", ">i8"),
    ("topic_id", "V16"),
    ("length", "u1"),
]
"""The same for NumPy, which packs it, too."""


class First(NamedTuple):
    """What the state remembers of an identity: the request that was answered, and its answer."""

    fingerprint: bytes
    append_ms: int
    origin: Origin
    answer: bytes | None
    """The result record's value; None where it was too large to be remembered."""


def salt(app: str) -> bytes:
    """Return the application's 16-byte salt: equal ids of two applications have nothing in common."""
    return blake2b(app.encode(), digest_size=16, person=b"answeronce-salt1").digest()


def identities(app_salt: bytes, tenants: Sequence[bytes | None] | None, request_ids: Sequence[bytes]) -> list[bytes]:
    """Return the store key of each (tenant, request id, run): ENTRY and 16 bytes of salted BLAKE2b.

    Every part but the last is preceded by its length, so no choice of names can make two identities equal.
    """
    run = _sized(LIVE.encode())
    owners = [None] * len(request_ids) if tenants is None else tenants
    # a copy is half the price of hashing prefix and salt anew
    begun = {tenant: blake2b(_sized(tenant) + run, digest_size=16, salt=app_salt).copy for tenant in set(owners)}
    keys = []
    for tenant, request_id in zip(owners, request_ids, strict=True):
        whole = begun[tenant]()
        whole.update(request_id)
        keys.append(ENTRY + whole.digest())
    return keys


def _sized(part: bytes | None) -> bytes:
    return b"\xff" if part is None else b"\x00" + len(part).to_bytes(4, "big") + part


def heads(
    fingerprints: Sequence[bytes], append_ms: Ints, offset: Ints, topic: str, topic_id: bytes
) -> npt.NDArray[Any]:
    """Return what the state values of some first answers begin with, one cell a row; the answer, if any, follows.

    Shape (rows,), in the layout of `_HEAD` and the topic's name. The columns are about requests of one topic.
    """
    name = topic.encode()
    cells = np.empty(len(fingerprints), [*_HEAD_CELL, ("name", f"V{len(name)}")])
    cells["format"], cells["topic_id"] = FORMAT, np.void(topic_id)
    cells["fingerprint"] = np.frombuffer(b"".join(fingerprints), "V16")
    cells["append_ms"], cells["offset"] = append_ms, offset
    cells["length"], cells["name"] = len(name), np.void(name)
    return cells


def recall(value: bytes, partition: int) -> First:
    """Return what a state value says; the partition is the store's own.

    Raises: ValueError for a format that this version does not know.
    """
    if not value or value[0] != FORMAT:
        raise ValueError(f"state value of unknown format {value[:1]!r}: it was written by a newer version")
    _, fingerprint, append_ms, offset, topic_id, length = _HEAD.unpack_from(value)
    topic = value[_HEAD.size : _HEAD.size + length].decode()
    answer = value[_HEAD.size + length :]
    return First(fingerprint, append_ms, Origin(topic, topic_id, partition, offset), answer or None)


class Ask(NamedTuple):
    """One request of an identity, in the order in which the log has them."""

    row: int
    append_ms: int
    fingerprint: bytes
    refused: bool
    """A rule failed: it can be answered only as a repeat."""


class Verdict(NamedTuple):
    """What becomes of one row: NONE (score it), DUPLICATE or CONFLICT of `first`; or nothing new (its rule stands).

    `first` is what the state knew, or the row number of a request of the same batch that is being answered.
    """

    row: int
    reason: Reason
    first: First | int | None


def fold(asks: Iterable[Ask], known: First | None, window_ms: int) -> list[Verdict]:
    """Judge the requests of one identity one after the other; return a verdict for each.

    A refused row that is no repeat gets (NONE, None) like a scored one; the caller knows its refusal.
    """
    verdicts = []
    state: First | int | None = known
    fingerprint = known.fingerprint if known else b""
    append_ms = known.append_ms if known else 0
    for ask in asks:
        if state is not None and ask.append_ms - append_ms <= window_ms:
            same = ask.fingerprint == fingerprint
            verdicts.append(Verdict(ask.row, Reason.DUPLICATE if same else Reason.CONFLICT, state))
            continue
        verdicts.append(Verdict(ask.row, Reason.NONE, None))
        if not ask.refused:
            state, fingerprint, append_ms = ask.row, ask.fingerprint, ask.append_ms
    return verdicts
