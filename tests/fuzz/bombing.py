"""Drop every bomb, each between good neighbours, and tell what became of it."""

import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from streams.avro.schema import SchemaRefused, parse
from streams.contracts import Reading, Snapshot, Unreadable
from streams.reasons import Reason
from streams.records import Headers
from tests.fuzz.bombs import DATUMS, FRAMINGS, SCHEMAS, framed
from tests.pipeline import world
from tests.pipeline.test_bad_bytes import NUMBER, WIDE, WideModel, value
from tests.pipeline.world import LANE, Sent, numbered, run

HEADERS: dict[str, Headers] = {
    "ten thousand headers": [("traceparent", b"x")] * 10_000,
    "a header of a megabyte": [("traceparent", bytes(1_000_000))],
    "a header without a value": [("traceparent", None)],
    "a header's name of a megabyte": [("t" * 1_000_000, b"")],
}


def work(note: Callable[[str], object]) -> list[dict[str, Any]]:
    """Return, of each bomb: its name, what became of it, what is wrong with its neighbours, seconds, and MiB it took."""
    world.AmountModel = WideModel  # type: ignore[misc]
    told = []
    for name, drop in everything():
        note(name)
        before, begun = peak(), time.monotonic()
        fate, harm = drop()
        told.append(
            {"name": name, "fate": fate, "harm": harm, "seconds": time.monotonic() - begun, "mib": peak() - before}
        )
    return told


def everything() -> list[tuple[str, Callable[[], tuple[str, str]]]]:
    """Return all bombs."""
    datums = {f"datum: {bomb.name} ({bomb.field})": partial(among, framed(bomb)) for bomb in DATUMS}
    framings = {f"framing: {name}": partial(among, whole) for name, whole in FRAMINGS.items()}
    headers = {f"headers: {name}": partial(among, value("bad"), headers) for name, headers in HEADERS.items()}
    schemas = {f"schema: {name}": partial(judged, text) for name, text in SCHEMAS.items()}
    return [*datums.items(), *framings.items(), *headers.items(), *schemas.items()]


def among(bad: bytes, headers: Headers | None = None) -> tuple[str, str]:
    """Send it between good ones; return its terminal kind, and what is wrong with the others."""
    snapshot: Snapshot = {(LANE, NUMBER): Reading(WIDE, WIDE), (LANE, 0): Unreadable(Reason.UNKNOWN_SCHEMA, None, "0")}
    good = [Sent(value(f"g{number}"), f"g{number}".encode()) for number in range(6)]
    alone = run(numbered(good), snapshot=snapshot)
    partition = good[2].partition
    log = numbered([*good[:3], Sent(bad, b"bad", partition=partition, headers=headers), *good[3:]])
    answers = run(log, snapshot=snapshot)
    at = next((one.partition, offset) for offset, one in log if one.value is bad)
    kinds = {record.get("request_id"): record["kind"] for origin, record in answers.items() if origin != at}
    expected = {record.get("request_id"): record["kind"] for record in alone.values()}
    return answers[at]["kind"], "" if kinds == expected else f"{kinds}, not {expected}"


def judged(text: str) -> tuple[str, str]:
    """Parse a schema; return REFUSED, or what else came of it."""
    try:
        parse(text)
    except SchemaRefused as refused:
        return "REFUSED", "" if len(str(refused)) < 2_000 else "its sentence is too long"
    return "accepted", ""


def peak() -> float:
    """Return the most memory that this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
