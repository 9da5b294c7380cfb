"""March: what the demo's senders send, in which order, and how each record must be answered. Pure; one seed.

Four senders stand for what happens to real request topics:

    main      every flight in order of its departure, conflicting resends, and records that are no requests
    second    another instance of the same service: it sends requests that main sends, too, before or after it
    crc32     a client with librdkafka's default partitioner: it resends, mostly to the wrong partition
    again     a client that got no answer in time: it resends when it is told that a worker was killed

Which of two equal requests comes first is left to chance; one of them is SCORED and the other DUPLICATE, so the number
of each kind of answer is known beforehand, whatever the order and whoever is killed.
"""

import json
import math
import random
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from streams.models.manifest import Feature
from streams.reasons import SCORED, Reason

Request: TypeAlias = dict[str, Any]
"""One request, as the contract's field values."""
Encode: TypeAlias = Callable[[Mapping[str, Any]], bytes]
"""A request to a record's value: framing and Avro datum."""
Sender: TypeAlias = Literal["main", "second", "crc32", "again"]

SECOND, CRC32, AGAIN, CONFLICTS, BROKEN = 600, 120, 400, 200, 6
"""How many requests each sender resends; how many conflicts there are; how many records of each broken kind."""
LAG = 3_000
"""Places in the stream that a resend follows, or runs ahead of, the request it repeats, at most."""
BROKEN_KINDS = ("truncated", "trailing", "json", "glue", "empty", "tombstone", "hour", "nan", "key")
"""Records that no score can answer."""


class Planned(NamedTuple):
    """One record to be sent, and its answer."""

    sender: Sender
    key: bytes
    value: bytes | None
    expected: str
    """SCORED or a reason's name. Of equal requests, the one that is answered first is SCORED instead."""


class Traffic(NamedTuple):
    """Everything that is sent."""

    stream: list[Planned]
    """In the order of sending, senders mixed."""
    again: list[Planned]
    """What `again` sends, at once, when a worker was killed."""

    def expected(self) -> Counter[str]:
        """Return how many answers of each kind there must be in the end."""
        return Counter(planned.expected for planned in (*self.stream, *self.again))


def march(
    requests: Sequence[Request],
    features: Sequence[Feature],
    encode: Encode,
    partition_of: Callable[[bytes, int], int],
    partitions: int,
    seed: int = 3,
) -> Traffic:
    """Return the traffic of some requests, which come in order and have ids of their own.

    `features` say which categories the model refuses, `partition_of` where a key belongs (murmur2).
    Every value is encoded here, about 30 µs each. Needs some thousand requests, the demo has 28,834.
    """
    rng = random.Random(seed)
    known = _known_categories(features)
    fine = [at for at, request in enumerate(requests) if not _unseen(request, known)]
    middle = [at for at in fine if 0.3 <= at / len(requests) < 0.6]
    again = sorted(rng.sample(middle, AGAIN))
    others = rng.sample(fine, SECOND + CRC32 + CONFLICTS)
    keys, values = [_key(request) for request in requests], [encode(request) for request in requests]

    def same(at: int, sender: Sender, expected: str) -> Planned:
        return Planned(sender, keys[at], values[at], expected)

    answers = [Reason.UNSEEN_CATEGORY.name if _unseen(request, known) else SCORED for request in requests]
    placed: list[tuple[float, Planned]] = [(at, same(at, "main", answer)) for at, answer in enumerate(answers)]
    placed += [(at + rng.uniform(-LAG, LAG), same(at, "second", Reason.DUPLICATE.name)) for at in others[:SECOND]]
    for at in others[SECOND : SECOND + CRC32]:
        lucky = zlib.crc32(keys[at]) % partitions == partition_of(keys[at], partitions)
        expected = Reason.DUPLICATE if lucky else Reason.MISPARTITIONED
        placed.append((at + rng.uniform(-LAG, LAG), same(at, "crc32", expected.name)))
    for at in others[SECOND + CRC32 :]:
        # By main, behind the original, to the same partition: the original is always the one that is scored.
        other = encode(_with_other_inputs(requests[at]))
        placed.append((at + rng.uniform(0.1, LAG), Planned("main", keys[at], other, Reason.CONFLICT.name)))
    for kind in BROKEN_KINDS:
        placed += [(at, _broken(kind, requests[at], encode)) for at in rng.sample(fine, BROKEN)]
    placed.sort(key=lambda each: each[0])
    return Traffic([planned for _, planned in placed], [same(at, "again", Reason.DUPLICATE.name) for at in again])


def _known_categories(features: Sequence[Feature]) -> dict[str, frozenset[str]]:
    """Return the known categories of each field whose other values the model refuses."""
    judged = (feature for feature in features if feature.kind == "category" and feature.unseen == "refuse")
    return {feature.source: frozenset(feature.categories) for feature in judged}


def _unseen(request: Request, known: Mapping[str, frozenset[str]]) -> bool:
    return any(request[field] not in categories for field, categories in known.items())


def _key(request: Request) -> bytes:
    return str(request["request_id"]).encode()


def _with_other_inputs(request: Request) -> Request:
    """Return the same request id with another delay: a sender that reuses ids."""
    return {**request, "dep_delay": (request["dep_delay"] or 0.0) + 30.0}


def _broken(kind: str, request: Request, encode: Encode) -> Planned:
    """Return a record of one of BROKEN_KINDS, with an id of its own, so that it neither repeats nor is repeated."""
    request = {**request, "request_id": f"{request['request_id']}-{kind}"}
    key, value = _key(request), encode(request)
    match kind:
        case "truncated":
            return Planned("main", key, value[: len(value) // 2], Reason.MALFORMED.name)
        case "trailing":
            return Planned("main", key, value + b"\0", Reason.MALFORMED.name)
        case "json":
            return Planned("main", key, json.dumps(request).encode(), Reason.NOT_FRAMED.name)
        case "glue":
            return Planned("main", key, b"\x03" + value[1:], Reason.GLUE_FRAMED.name)
        case "empty":
            return Planned("main", key, b"", Reason.EMPTY.name)
        case "tombstone":
            return Planned("main", key, None, Reason.TOMBSTONE.name)
        case "hour":
            return Planned("main", key, encode({**request, "hour": 24}), Reason.OUT_OF_CONTRACT.name)
        case "nan":
            return Planned("main", key, encode({**request, "distance": math.nan}), Reason.OUT_OF_CONTRACT.name)
        case _:
            return Planned("main", key + b"!", value, Reason.KEY_MISMATCH.name)
