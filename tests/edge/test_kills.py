"""A delivering process that is killed, again and again, between delivery and commit."""

import signal
import sys
from collections import Counter
from pathlib import Path

from streams.dev import Stack
from tests.edge.desk import Desk, Receiver, keys_of, record
from tests.integration.application import until
from tests.talker import Talker

KILLS, EACH = 3, 4


def test_every_revision_is_delivered_whoever_is_killed(stack: Stack, unique: str, tmp_path: Path) -> None:
    """The webhook kills who calls it before it answers: what it was told is not committed, and comes again under the same key.

    Tickets are written while a process delivers, and while none does. What is last is ended in order.
    """
    desk, written, victims, running = Desk(stack, unique, tmp_path), list[str](), set[str](), list[Talker]()

    def write(number: int) -> None:
        tickets = [record(number * EACH + one, revision) for revision in (1, 2) for one in range(EACH)]
        desk.write(*tickets)
        written.extend(keys_of(tickets))

    def answer(key: str, tries: int) -> int:
        if len(victims) < KILLS and key not in victims and len(receiver.taken) > 5 * (len(victims) + 1):
            victims.add(key)
            running[-1].process.kill()
        return 200

    with Receiver(answer) as receiver:
        command = [sys.executable, "-m", "streams.cli", "tickets", "deliver", "-c", str(desk.config)]
        address = {"STREAMS_TICKETS_WEBHOOK": receiver.url}
        try:
            for number in range(KILLS):
                write(2 * number)
                running.append(Talker(command, Path.cwd(), **address))
                write(2 * number + 1)
                assert -signal.SIGKILL == running[-1].end(30)
            running.append(Talker(command, Path.cwd(), **address))
            until(lambda: set(written) <= set(receiver.taken), 30, what="the last ticket")
            running[-1].process.terminate()
            assert 0 == running[-1].end(30)
        finally:
            for one in running:
                one.process.kill()
                one.end(10)
    times = Counter(one.key for one in receiver.requests)
    assert written == list(dict.fromkeys(one.key for one in receiver.requests)), "first deliveries are in order"
    assert victims == {key for key, count in times.items() if count > 1}
    assert KILLS == len(victims)
    said = "\n".join(one.text for one in running)
    assert "canary" not in said
    assert "ƒaµS†" not in said
