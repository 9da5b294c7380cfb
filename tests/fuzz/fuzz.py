"""Mutations by the million: the columnar decoder and the strict reader say the same of every row, or it is told which."""

import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.avro import made
from tests.avro.test_mutations import WORLDS, compare

ROUND = 2_000
"""Mutations of one schema before the next is taken."""


def work(note: Callable[[str], object], seed: int, mutations: int, without: str = "") -> dict[str, Any]:
    """Compare; return what was seen. Raises: AssertionError with the datum of the first difference.

    Half of the rounds take one of the worlds of `test_mutations`, the others a schema made at random. `without` names a
    check that is switched off, for the test of this test, or asks for a death.
    """
    if without:
        _switch_off(without)
    rng, worlds = random.Random(seed), list(WORLDS.values())
    why: Counter[str] = Counter()
    begun, slowest = time.monotonic(), 0.0
    number = 0
    while why.total() < mutations:
        note(f"seed {seed}, round {number}")
        round_begun = time.monotonic()
        world = rng.choice(worlds) if number % 2 else made.random_schema(rng)
        number += 1
        if not world["fields"]:  # nothing to mutate
            continue
        why += compare(world, ROUND, rng)
        slowest = max(slowest, time.monotonic() - round_begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "mutations": why.total(),
        "rounds": number,
        "seconds": time.monotonic() - begun,
        "slowest": slowest,
        "peak_mib": peak,
        "verdicts": dict(why),
    }


def _switch_off(check: str) -> None:
    """Switch a check of the decoder off, in this process."""
    if check == "death":
        import os
        import signal

        os.kill(os.getpid(), signal.SIGSEGV)
    from streams.avro import decode
    from streams.avro.cursor import Cursor

    fail = Cursor.fail
    number = decode.WHY.index(check)

    def lenient(self: Cursor, wrong: Any, why: int, at: Any) -> None:
        if why != number:
            fail(self, wrong, why, at)

    Cursor.fail = lenient  # type: ignore[method-assign]
