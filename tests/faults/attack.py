"""What attacks are made with: load, a reader that watches all along, and the verdict."""

import random
import threading
import time
from collections import Counter

from confluent_kafka import Consumer, TopicPartition

from streams.verify import verify
from tests.integration.application import Application, until


class Reader:
    """A read_committed reader that runs while things break: what it has seen cannot be taken back."""

    def __init__(self, app: Application) -> None:
        self.app, self.seen = app, Counter[tuple[str, int, int]]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self.app.stack.bootstrap,
                "group.id": f"{self.app.name}.watcher",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
            }
        )
        topics = (self.app.settings.results, self.app.settings.outcomes)
        consumer.assign([TopicPartition(t, p, 0) for t in topics for p in range(self.app.settings.partitions)])
        while not self._stop.is_set():
            for message in consumer.consume(5_000, 0.1):
                if not message.error():
                    self.seen[message.topic() or "", message.partition() or 0, message.offset() or 0] += 1
        consumer.close()

    def finish(self) -> None:
        """Stop, and compare with a reader that comes after everything: the same records, each once."""
        after = Counter(
            (m.topic(), m.partition(), m.offset())
            for m in self.app.read([self.app.settings.results, self.app.settings.outcomes])
        )
        until(lambda: sum(self.seen.values()) >= sum(after.values()), 20, what="the watcher's end")
        self._stop.set()
        self._thread.join(10)
        assert after == self.seen


class Feeder:
    """Sends requests at a bounded rate in the background: `count` of them, one in five a repeat."""

    def __init__(self, app: Application, count: int, rate: int, seed: int) -> None:
        self.app, self.count, self.rate = app, count, rate
        chance = random.Random(seed)
        fresh = 0
        self.ids: list[str] = []
        for _ in range(count):
            again = fresh > 10 and chance.random() < 0.2
            self.ids.append(f"r{chance.randrange(max(0, fresh - 4_000), fresh)}" if again else f"r{fresh}")
            fresh += not again
        self.fresh = fresh
        self.sent = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        step, pace = max(1, self.rate // 10), threading.Event()
        begun = time.monotonic()
        for at in range(0, self.count, step):
            self.app.ask(self.ids[at : at + step])
            self.sent = min(at + step, self.count)
            pace.wait(max(0.0, begun + self.sent / self.rate - time.monotonic()))

    def done(self) -> None:
        """Wait until everything is sent."""
        self._thread.join(120)
        assert self.count == self.sent


def right(app: Application, feeder: Feeder | None = None) -> None:
    """Everything checked and right, and as many SCORED as there were distinct requests."""
    report = verify(app.settings)
    assert report.exit_code == 0, "\n".join(report.lines())
    if feeder is not None:
        assert {"SCORED": feeder.fresh, "DUPLICATE": feeder.count - feeder.fresh} == dict(app.kinds())
