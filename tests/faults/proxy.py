"""A proxy before one broker that understands Kafka's frames, and can do harm to one chosen request or reply.

The broker has a listener of its own for it and advertises the proxy's address there, so whoever bootstraps through the
proxy stays behind it. A request begins with its size, api key, version, correlation id and client id; a reply with its
size and correlation id (Kafka's protocol guide). What it does cannot be had from TCP: a single EndTxn that arrives late
or twice, with everything around it untouched.
"""

import asyncio
import contextlib
import struct
import threading
from collections.abc import Callable, Coroutine
from enum import Enum, IntEnum
from typing import NamedTuple

from streams.dev.ports import HOST, free_ports


class Api(IntEnum):
    """Api keys that tests choose by."""

    PRODUCE = 0
    FETCH = 1
    METADATA = 3
    JOIN_GROUP = 11
    HEARTBEAT = 12
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


class Frame(NamedTuple):
    """One request, or the reply to it."""

    api: int
    version: int
    correlation: int
    client: str
    raw: bytes
    """The request as it travels, size included."""

    @property
    def ends(self) -> tuple[str, int, int, bool]:
        """Of an EndTxn: transactional id, producer id, producer epoch, whether it commits. Versions 0 to 2."""
        assert self.api == Api.END_TXN
        assert self.version < 3, "flexible versions are laid out differently"
        at = 14 + len(self.client.encode())
        (length,) = struct.unpack_from(">h", self.raw, at)
        name = self.raw[at + 2 : at + 2 + length].decode()
        producer, epoch, commits = struct.unpack_from(">qh?", self.raw, at + 2 + length)
        return name, producer, epoch, commits


class Harm(Enum):
    """What can be done."""

    HOLD = "it, and all behind it on its connection, goes on after the delay"
    DROP = "it vanishes"
    CUT = "it vanishes, and the client's connection is cut"
    LATE = "the client's connection is cut, and the request reaches the broker after the delay"
    TWICE = "the request goes on, and reaches the broker again after the delay"


class Rule:
    """Does one kind of harm to what it wants, `times` times.

    Args:
        harm: what is done.
        wants: whether a frame is meant; called once for each, in order.
        reply: replies are judged, by the request they belong to, instead of requests.
        times: so often at most; None: always.
        delay: of HOLD, LATE and TWICE: seconds, asked for each time, or an event to wait for.
    """

    def __init__(
        self,
        harm: Harm,
        wants: Callable[[Frame], bool],
        *,
        reply: bool = False,
        times: int | None = 1,
        delay: Callable[[], float] | threading.Event = lambda: 0.0,
    ) -> None:
        self.harm, self.wants, self.reply, self.times, self.delay = harm, wants, reply, times, delay
        self.done = 0
        self.answers: list[tuple[Frame, int]] = []
        """Of what was delivered late or again: the request, and the broker's error code (EndTxn only, else 0)."""
        self.arrived = threading.Event()
        """Set when the broker has answered what was delivered late or again."""

    def takes(self, frame: Frame, *, reply: bool) -> bool:
        """Return whether this frame is to be harmed, and count it."""
        if reply != self.reply or (self.times is not None and self.done >= self.times) or not self.wants(frame):
            return False
        self.done += 1
        return True

    async def wait(self) -> None:
        """Wait for the delay, or the event, at most a minute."""
        if isinstance(self.delay, threading.Event):
            await asyncio.get_running_loop().run_in_executor(None, self.delay.wait, 60.0)
        else:
            await asyncio.sleep(self.delay())


class Proxy:
    """Stands before one broker, on loopback. Rules may be added and cleared from any thread."""

    def __init__(self) -> None:
        self.port, self._upstream = free_ports(2, but_not=frozenset())
        self.rules: list[Rule] = []
        self._refuses = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    @property
    def bootstrap(self) -> str:
        """What `bootstrap.servers` of a victim is set to."""
        return f"{HOST}:{self.port}"

    def settings(self, settings: dict[str, str]) -> dict[str, str]:
        """Return a broker's settings with a listener that is advertised as this proxy."""
        return settings | {
            "listeners": settings["listeners"] + f",PROXIED://{HOST}:{self._upstream}",
            "advertised.listeners": settings["advertised.listeners"] + f",PROXIED://{HOST}:{self.port}",
            "listener.security.protocol.map": settings["listener.security.protocol.map"] + ",PROXIED:PLAINTEXT",
        }

    def add(self, rule: Rule) -> Rule:
        """Add a rule; the first that takes a frame decides."""
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Do no more harm."""
        self.rules, self._refuses = [], False

    def cut(self, *, refuse: bool = False) -> None:
        """Cut every connection; with `refuse`, let in no new one until `clear`."""
        self._refuses = refuse
        self._loop.call_soon_threadsafe(self._cut)

    def close(self) -> None:
        """Cut everything and end."""
        self.cut(refuse=True)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self) -> None:
        await asyncio.start_server(self._serve, HOST, self.port, limit=1 << 20)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self._refuses:
            to_client.transport.abort()
            return
        try:
            from_broker, to_broker = await asyncio.open_connection(HOST, self._upstream, limit=1 << 20)
        except OSError:  # the broker is down: the client meets what it would meet without us
            to_client.transport.abort()
            return
        self._writers.add(to_client)
        waiting: dict[int, Frame] = {}
        pumps = [
            asyncio.ensure_future(self._requests(from_client, to_client, to_broker, waiting)),
            asyncio.ensure_future(self._replies(from_broker, to_client, waiting)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            self._writers.discard(to_client)
            to_client.transport.abort()
            to_broker.close()

    async def _requests(
        self,
        from_client: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
        to_broker: asyncio.StreamWriter,
        waiting: dict[int, Frame],
    ) -> None:
        while True:
            frame = parse(await _frame(from_client))
            rule = next((rule for rule in self.rules if rule.takes(frame, reply=False)), None)
            harm = rule and rule.harm
            if rule and harm in (Harm.LATE, Harm.TWICE):
                self._spawn(self._deliver(frame, rule))
            if harm in (Harm.CUT, Harm.LATE):
                return
            if harm is Harm.DROP:
                continue
            if rule and harm is Harm.HOLD:
                await rule.wait()
            waiting[frame.correlation] = frame
            to_broker.write(frame.raw)
            await to_broker.drain()

    async def _replies(
        self, from_broker: asyncio.StreamReader, to_client: asyncio.StreamWriter, waiting: dict[int, Frame]
    ) -> None:
        while True:
            raw = await _frame(from_broker)
            frame = waiting.pop(struct.unpack_from(">i", raw, 4)[0])
            rule = next((rule for rule in self.rules if rule.takes(frame, reply=True)), None)
            if rule and rule.harm is Harm.CUT:
                return
            if rule and rule.harm is Harm.DROP:
                continue
            if rule and rule.harm is Harm.HOLD:
                await rule.wait()
            to_client.write(raw)
            await to_client.drain()

    async def _deliver(self, frame: Frame, rule: Rule) -> None:
        """Bring a request to the broker after the delay, on a connection of its own."""
        await rule.wait()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection(HOST, self._upstream)
            try:
                writer.write(frame.raw)
                reply = await asyncio.wait_for(_frame(reader), 30.0)
            finally:
                writer.close()
            # EndTxn's reply: size, correlation id, throttle time, error code
            rule.answers.append((frame, struct.unpack_from(">h", reply, 12)[0] if frame.api == Api.END_TXN else 0))
        rule.arrived.set()

    def _spawn(self, what: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def parse(raw: bytes) -> Frame:
    """Return a request's frame."""
    api, version, correlation, length = struct.unpack_from(">hhih", raw, 4)
    return Frame(api, version, correlation, raw[14 : 14 + max(0, length)].decode(), raw)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    size = await reader.readexactly(4)
    return size + await reader.readexactly(int.from_bytes(size, "big"))
