"""Every bomb is refused by name, soon, without much memory, and touches no neighbour; no death."""

from collections import Counter
from pathlib import Path

from tests.fuzz.child import run

SECONDS, MIB = 0.1, 64.0
NOISE = 5.0
"""A machine that does other things, too, may be so much slower."""
LETTERS = {"MALFORMED", "NOT_FRAMED", "GLUE_FRAMED", "UNKNOWN_SCHEMA", "EMPTY", "UNPRODUCIBLE"}
SLOW = {"schema: 100,000 fields": 1.0}
"""Asked once for a schema id, not once for a record."""


def test_bombs(tmp_path: Path) -> None:
    """Sixty and more: datums, framings, headers, schemas."""
    told = run("tests.fuzz.bombing", tmp_path, 120.0)
    kinds = Counter(one["name"].split(":")[0] for one in told)
    assert kinds.total() >= 60
    wrong = []
    for one in told:
        family = one["name"].split(":")[0]
        allowed = {
            "datum": LETTERS,
            "framing": LETTERS,
            "headers": {"MISPARTITIONED", "SCORED"},
            "schema": {"REFUSED"},
        }[family]
        slow = one["seconds"] > SLOW.get(one["name"], SECONDS) * NOISE
        if one["fate"] not in allowed or one["harm"] or slow or one["mib"] > MIB:
            wrong.append(one)
    print(f"{dict(kinds)}; slowest: {sorted(told, key=lambda one: -one['seconds'])[:3]}")
    assert not wrong, "\n".join(map(str, wrong))
