"""Records that are meant to hurt."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.faults.attack import right
from tests.integration.application import Application

MEMORY_MIB = 1_024
"""What the README states of one worker, whatever is sent to it."""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of another process is read from /proc")
def test_a_flood_of_bombs_stays_within_the_stated_memory(
    application: Application, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records of 1 MB that are no requests, and of 50 MB that a broker took because they compress well, among good ones.

    Each gets its refusal, the good ones their answers, and the worker never has more memory than the README says.
    """
    app = application
    app.ask(["before"])
    noise = os.urandom(1_000_000)
    app.send(((b"n%d" % number, b"{" + noise) for number in range(700)), settings={"message.max.bytes": 2_000_000})
    bomb = app.value("bomb", carrier="U" * 50_000_000)
    roomy = {"message.max.bytes": 100_000_000, "compression.type": "gzip", "linger.ms": 0}
    for value in (bomb, b"\0" * 50_000_000, bomb[:-1]):
        app.send([(b"bomb", value)], settings=roomy)
    app.ask(f"r{number}" for number in range(1_000))
    app.start()  # all of it lies there already: nothing but the worker itself bounds what it takes at once
    app.drained(120)
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{app.pid('t-00')}/status").read_text())[0]) / 1024
    with capsys.disabled():
        print(f"[850 MB of hostile records: the worker's peak was {peak:.0f} MiB]")
    kinds = dict(app.kinds())
    assert {"SCORED": 1_001, "NOT_FRAMED": 700, "UNSEEN_CATEGORY": 1, "UNPRODUCIBLE": 2} == kinds
    assert peak < MEMORY_MIB
    right(app)


def test_a_record_that_no_dead_letter_can_carry(application: Application) -> None:
    """1,048,000 bytes of no Avro, and a dead-letter topic that takes less: UNPRODUCIBLE, without payload; neighbours answered."""
    app = application
    app.admin.alter(app.settings.dlq(app.lanes[0]), {"max.message.bytes": "1000000"})
    app.ask(["before"])
    app.send([(b"big", b"{" + b"x" * 1_047_000)], settings={"message.max.bytes": 2_000_000})
    app.ask(["after"])
    app.start()
    app.drained()
    assert dict(app.kinds()) == {"SCORED": 2, "UNPRODUCIBLE": 1}
    (big,) = [answer for answer in app.terminals() if answer["kind"] == "UNPRODUCIBLE"]
    assert big["size"] == 1_047_001
    right(app)
