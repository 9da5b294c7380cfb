"""The judge of the twins' world: what `verify` and the judge of the attacks call by the same names, on a log in memory."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from streams.records import TP
from streams.state.memory import MemoryStore
from tests.pipeline.world import LANE
from tests.scenarios.twin import Log, folded, state

Records = Mapping[tuple[int, int], Mapping[str, Any]]
"""Of each origin (partition, offset): its terminal record, decoded."""


def broken(log: Log, store: MemoryStore, expected: Records) -> set[str]:
    """Return the names of what is wrong with a log, and with the state of the worker that wrote it last.

    `expected` is what the same requests get when nothing goes wrong.
    """
    found = set()
    count = Counter(origin for origin, _ in log.terminals)
    asked = {(one.partition, offset) for offset, one in log.requests}
    due = {at for at in asked if at[1] < (log.committed[TP(LANE, at[0])] or 0)}
    if due - count.keys():
        found.add("LOST")
    if max(count.values(), default=0) > 1:
        found.add("DOUBLED")
    if count.keys() - asked:
        found.add("UNREQUESTED")
    if asked - due:
        found.add("UNANSWERED")
    for origin, record in log.terminals:
        if origin in expected and record != expected[origin]:
            twice = record["kind"] == "SCORED" and expected[origin]["kind"] in ("DUPLICATE", "MISPARTITIONED")
            found.add("TWICE_SCORED" if twice else "ANSWER_DIFFERS")
    if folded(log) != state(store):
        found.add("STATE_DIVERGED")
    return found
