"""Breadth-first search through every interleaving: what is found first is found on a shortest way."""

import gc
import time
from collections import deque
from collections.abc import Set
from typing import NamedTuple

from tests.protocol.model import ATTEMPTS, REQUESTS, Faults, Move, Protocol, State, start, violations

Trace = list[Move]


class Found(NamedTuple):
    """What a search met."""

    states: int
    seconds: float
    ends: int
    """States in which nobody has anything left to do."""
    traces: dict[str, Trace]
    """The shortest way to each violation."""


def explore(protocol: Protocol, faults: Faults, wanted: Set[str] = frozenset()) -> Found:
    """Visit every state that can be reached, or as many as it takes to meet all violations that are wanted.

    STUCK is a state in which nobody can do anything although a request has no committed answer.
    """
    begun = time.monotonic()
    came: dict[State, State | None] = {start(faults): None}
    queue, met, ends = deque(came), dict[str, State](), 0
    gc.disable()  # nothing here is garbage, and looking for it takes a third of the time
    try:
        while queue and not (wanted and wanted <= met.keys()):
            state = queue.popleft()
            for name in violations(state):
                met.setdefault(name, state)
            steps = [move.state for move in protocol.steps(state)]
            if not steps:
                ends += 1
                answered = {record.request for record in state.results if record.fate == "committed"}
                if len(answered) < len(REQUESTS) and len(state.results) < ATTEMPTS:
                    met.setdefault("STUCK", state)
            for after in (*steps, *(move.state for move in protocol.faults(state))):
                if after not in came:
                    came[after] = state
                    queue.append(after)
    finally:
        gc.enable()
    seconds = time.monotonic() - begun
    traces = {name: _trace(protocol, state, came) for name, state in met.items()}
    print(f"{len(came):,} states, {ends:,} ends, {seconds:.1f} s, {faults}")
    return Found(len(came), seconds, ends, traces)


def _trace(protocol: Protocol, state: State, came: dict[State, State | None]) -> Trace:
    trace: Trace = []
    while (before := came[state]) is not None:
        moves = (*protocol.steps(before), *protocol.faults(before))
        trace.append(next(move for move in moves if move.state == state))
        state = before
    return trace[::-1]
