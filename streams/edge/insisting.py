"""Trying until it works: for ever against what passes, so many times against what does not."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

import structlog

log = structlog.get_logger()


class Patience(NamedTuple):
    """How long is waited between tries, and how often something that says no is asked."""

    first_s: float = 0.5
    longest_s: float = 60.0
    tries: int = 20
    """Of what refuses: 14 minutes with these pauses."""
    timeout_s: float = 10.0
    """The longest that one try may take."""


class Try(NamedTuple):
    """What came of one try. `again`: it may work later; `refused`: it says no, and is likely to go on saying it."""

    outcome: Literal["done", "again", "refused"]
    why: str = ""


async def insist(attempt: Callable[[], Awaitable[Try]], patience: Patience, **told: object) -> Try:
    """Try until it is done, or refused so many times; return the last try. The pauses double.

    `told`: what log lines say of it.
    """
    refusals, pause_s = 0, patience.first_s
    while True:
        found = await attempt()
        refusals += found.outcome == "refused"
        if found.outcome == "done" or refusals >= patience.tries:
            return found
        log.warning("not delivered yet; trying again", why=found.why, wait_s=pause_s, **told)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, patience.longest_s)
