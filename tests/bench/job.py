"""The requests of the common job: 450,001 distinct ones in 500,098, always the same."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from streams.avro.encode import Doubles, Encoder, Longs, Slices

REQUESTS, DISTINCT = 500_098, 450_001
CHUNK = 10_000
SEED = 7

Pair = tuple[bytes, bytes]
"""Key and framed value of a request."""


def distinct_of(requests: int) -> int:
    """Return how many of so many requests are distinct."""
    return round(requests * DISTINCT / REQUESTS)


def questions(schema: dict[str, Any], schema_id: int, count: int, first: int = 0) -> Iterator[list[Pair]]:
    """Yield distinct requests, numbered from `first` on, in chunks."""
    rng, encoder = np.random.default_rng([SEED, first]), Encoder(schema)
    carriers, origins = [b"UA", b"B6", b"EV", b"DL", b"AA", b"MQ", b"US", b"9E", b"WN", b"VX"], [b"EWR", b"JFK", b"LGA"]
    dests = [b"ATL", b"ORD", b"LAX", b"BOS", b"MCO", b"CLT", b"SFO", b"FLL", b"MIA", b"DCA"]
    for begin in range(first, first + count, CHUNK):
        n = min(CHUNK, first + count - begin)
        keys = [b"r%011d" % number for number in range(begin, begin + n)]

        def pick(words: list[bytes], n: int = n) -> Slices:
            return Slices([words[i] for i in rng.integers(len(words), size=n)])

        def known(values: Any, n: int = n) -> Doubles:
            return Doubles(np.asarray(values, dtype=np.float64), rng.random(n) < 0.02)

        values = encoder.encode(
            b"\0" + schema_id.to_bytes(4, "big"),
            n,
            {
                "request_id": Slices(keys),
                "tenant": Slices([b"t%d" % (number % 20) for number in range(begin, begin + n)]),
                "event_time": Longs(1_357_000_000_000 + 100 * np.arange(begin, begin + n)),
                "carrier": pick(carriers),
                "origin": pick(origins),
                "dest": pick(dests),
                "distance": Doubles(rng.integers(80, 2_500, n).astype(np.float64)),
                "hour": Longs(rng.integers(5, 24, n)),
                "dep_delay": known(rng.integers(-20, 120, n)),
                "temp": known(rng.uniform(10, 95, n)),
                "wind_speed": known(rng.uniform(0, 30, n)),
                "precip": Doubles(np.zeros(n)),
                "visib": Doubles(np.full(n, 10.0)),
                "trace": Slices([None] * n),
            },
        )
        yield list(zip(keys, values, strict=True))


def job(schema: dict[str, Any], schema_id: int, requests: int) -> Iterator[Pair]:
    """Yield the requests in order; one in ten repeats an earlier one, byte for byte."""
    chance, old = random.Random(SEED), list[Pair]()
    distinct = distinct_of(requests)
    repeats = requests - distinct
    for chunk in questions(schema, schema_id, distinct):
        for pair in chunk:
            yield pair
            if len(old) > 1_000 and repeats and chance.random() < 0.1116:
                repeats -= 1
                yield old[chance.randrange(len(old))]
            if len(old) < 20_000:
                old.append(pair)
            else:
                old[chance.randrange(20_000)] = pair
    for _ in range(repeats):
        yield old[chance.randrange(len(old))]
