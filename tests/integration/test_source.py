"""The source, where the client hangs."""

import subprocess
import sys
import time

from streams.dev import Stack
from streams.kafka.admin import Admin

LEAVING = """
import sys, time
from streams.kafka.admin import Admin
from streams.kafka.source import KafkaSource
bootstrap, topic = sys.argv[1:]
client = {"bootstrap.servers": bootstrap}
source = KafkaSource(client, topics=[topic], group=topic, instance="i", session_ms=6000, max_poll_ms=30000, queue_kbytes=1000)
admin, until = Admin(client), time.monotonic() + 20
while not admin.assigned(topic).get("i"):
    assert time.monotonic() < until, "no assignment"
print("assigned", flush=True)
time.sleep(0.2)  # the client has it now, and nobody has asked for it
source.close()
print("left", flush=True)
"""


def test_leaving_with_an_assignment_that_was_not_looked_at_yet(stack: Stack, unique: str) -> None:
    """Asked to stop in that moment, a worker hung for ever: `assign` has no answer inside `close` (librdkafka #4884)."""
    admin = Admin({"bootstrap.servers": stack.bootstrap})
    admin.create(unique, 2, 1, {})
    command = [sys.executable, "-c", LEAVING, stack.bootstrap, unique]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as leaving:
        assert leaving.stdout is not None
        try:
            assert "assigned\n" == leaving.stdout.readline()
            begun = time.monotonic()
            assert 0 == leaving.wait(10)
            assert "left\n" == leaving.stdout.readline()
            assert time.monotonic() - begun < 5
        finally:
            leaving.kill()
    assert {} == admin.assigned(unique)
