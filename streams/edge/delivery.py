"""`streams tickets deliver`: tickets to a file or a webhook, at least once and in order.

A record's offset is committed after it was delivered, one by one: tickets are rare. So a process that is killed in between
delivers one ticket again, under the same id and revision. Whoever receives them drops what they have seen.

What stands in the way:
- a target that does not answer, or answers that it cannot now, is asked again for ever, and later tickets wait behind;
- a target that refuses a ticket (4xx, redirects) is asked `Patience.tries` times, 14 minutes by default; then the ticket is
  passed over, or one that will never be taken would keep all later ones back. So is a value that is no ticket, at once, and
  one whose schema id the registry does not know. Each is an error in the log, with its coordinates, and is counted;
- a broker that is away for a while is waited for by the client; what the client gives up on ends the process (Unreachable),
  and a new one goes on at the committed offset.

Not promised: every revision, where the topic was compacted before it was read; the newest of each ticket is. Nor that only
the last ticket is repeated: a broker forgets the offsets of a group that was away for a week
(`offsets.retention.minutes`), and then everything comes again.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import faust
import structlog
from faust.app.base import BootStrategy
from faust.types import EventT

from streams.avro.registry_client import RegistryClient
from streams.config import Settings
from streams.edge.committed import ReadCommittedConsumer, ReadCommittedTransport
from streams.edge.credentials import connection
from streams.edge.insisting import Patience, Try, insist
from streams.edge.targets import Target
from streams.edge.ticket import Ticket, Unreadable, schema_id_of, ticket_reader
from streams.errors import SetupError, Stop, Unreachable
from streams.kafka.admin import Admin
from streams.slots import Slot
from streams.slots import instance as instance_name

log = structlog.get_logger()
SESSION_S = 10.0
"""How long after its death a process is missed; another host's takes over in about twice that, the same host's at once."""
IDLE_S = 7 * 24 * 3_600.0
"""How long the client may ask for nothing: while a target is down and the buffer full. Heartbeats go on."""
REGISTRY_S = 5.0
ID_TRIES = 4
"""How often a schema id is asked for that the registry does not know: it may not have heard of it yet."""
TICK_S = 0.1
START_S = 5.0
"""How long an end waits for a beginning."""
STOP_S = 15.0
SAID_S = 5.0
"""The libraries' warnings are logged once in so long, each: an outage is one thing, however often it is said."""


@dataclass
class Counts:
    """What became of the records, since the start."""

    delivered: int = 0
    passed_over: int = 0


class _Boot(BootStrategy):
    enable_kafka_producer = False
    enable_web = False


class _App(faust.App):
    BootStrategy = _Boot


def run(
    settings: Settings,
    target: Target,
    stopping: threading.Event,
    patience: Patience = Patience(),  # noqa: B008  it is frozen
    instance: str | None = None,
) -> Counts:
    """Deliver until told to stop; return what was done.

    `instance`: this host's name, as in `streams scorer run`. One process delivers, any other stands by.
    Raises: ConfigError for a `[kafka]` that Faust's client cannot be given; SetupError without the topic; SlotTaken;
    Unreachable; StateError.
    """
    connection(settings.kafka)  # says what cannot be translated before anybody is asked
    if settings.tickets not in Admin(settings.kafka).topics([settings.tickets]):
        raise SetupError(f"Topic {settings.tickets} does not exist. Create it with `streams topics apply`.")
    name = instance_name(settings.app.state_dir, instance, dict(os.environ))
    slot = Slot(settings.app.state_dir / "tickets", name)
    _bridge_logs()
    delivery = _Delivery(settings, target, patience)
    try:
        asyncio.run(delivery.until(stopping, slot))
    finally:
        log.info("delivery ends", delivered=delivery.counts.delivered, passed_over=delivery.counts.passed_over)
    return delivery.counts


class _Delivery:
    """One run: its counts, the schemas that it knows, and why it ends."""

    def __init__(self, settings: Settings, target: Target, patience: Patience) -> None:
        self.counts = Counts()
        self._settings, self._target, self._patience = settings, target, patience
        self._registry = RegistryClient(settings.schema_registry, timeout_s=REGISTRY_S, retries=0)
        self._readers: dict[int, Callable[[bytes], Ticket]] = {}

    async def until(self, stopping: threading.Event, slot: Slot) -> None:
        """Deliver; return when told to stop, raise what ended it before."""
        await self._target.open(self._patience.timeout_s)
        app, failed = self._app(slot), asyncio.get_running_loop().create_future()
        topic = app.topic(self._settings.tickets, key_serializer="raw", value_serializer="raw", acks=False)

        async def deliver(stream: faust.StreamT[bytes]) -> None:
            try:
                events: AsyncIterator[EventT[Any]] = stream.events()
                async for event in events:
                    await self._settle(app.consumer, event)
            except Exception as error:  # noqa: BLE001  Faust would log it, and go on with the next record
                failed.set_exception(error)

        app.agent(topic, name="deliver")(deliver)
        starting = asyncio.ensure_future(app.start())
        log.info("delivering tickets", topic=self._settings.tickets, to=self._target.where)
        try:
            while not stopping.is_set():
                await asyncio.wait({failed}, timeout=TICK_S)
                _raise_why(app, [failed, starting], str(self._settings.kafka["bootstrap.servers"]))
        finally:
            await _stopped(app, starting)
            await self._target.close()

    def _app(self, slot: Slot) -> faust.App:
        broker, credentials, client_id = connection(self._settings.kafka)
        app = _App(
            f"{self._settings.app.id}.tickets.delivery",
            env={},  # else $BROKER_URL and the like overrule what is said here
            broker=broker,
            broker_credentials=credentials,
            broker_client_id=client_id,
            broker_session_timeout=SESSION_S,
            broker_heartbeat_interval=SESSION_S / 4,
            broker_rebalance_timeout=SESSION_S,
            broker_max_poll_interval=IDLE_S,
            consumer_auto_offset_reset="earliest",
            consumer_group_instance_id=slot.name,
            datadir=slot.directory / "faust",
            stream_wait_empty=False,  # what is not delivered when it ends comes again; its target may never answer
            table_standby_replicas=0,
            topic_allow_declare=False,
            topic_disable_leader=True,  # a topic of its own
            web_enabled=False,
        )
        app.transport = ReadCommittedTransport(broker, app)
        return app

    async def _settle(self, consumer: Any, event: EventT[Any]) -> None:
        """Deliver a record or pass it over, then commit."""
        message = event.message
        at = f"{message.topic}[{message.partition}]@{message.offset}"
        try:
            ticket = await self._read(message.value, at)
            found = await insist(partial(self._target.attempt, ticket), self._patience, ticket=ticket.key, at=at)
        except Unreadable as error:
            ticket, found = None, Try("refused", str(error))
        name = None if ticket is None else ticket.key
        if found.outcome == "done":
            self.counts.delivered += 1
            log.info("ticket delivered", ticket=name, at=at)
        else:
            self.counts.passed_over += 1
            log.error("passed over", at=at, ticket=name, why=found.why, passed_over=self.counts.passed_over)
        assert isinstance(consumer, ReadCommittedConsumer)
        if not await consumer.settle(event):
            log.info("the group has rebalanced; this record comes again", at=at)

    async def _read(self, value: Any, at: str) -> Ticket:
        """Raises: Unreadable."""
        schema_id = schema_id_of(value)
        if schema_id not in self._readers:
            patience = self._patience._replace(tries=min(ID_TRIES, self._patience.tries))
            found = await insist(partial(self._learn, schema_id), patience, at=at)
            if found.outcome != "done":
                raise Unreadable(found.why)
        return self._readers[schema_id](value)

    async def _learn(self, schema_id: int) -> Try:
        """Ask the registry for a schema: what was written is delivered, whichever version of it that was."""
        try:
            stored = await asyncio.to_thread(self._registry.schema, schema_id)
        except Unreachable as error:
            return Try("again", str(error))
        if stored is None:
            return Try("refused", f"the registry does not know schema id {schema_id}")
        if stored.kind != "AVRO" or stored.references:
            raise Unreadable(f"schema id {schema_id} is not one Avro schema")
        self._readers[schema_id] = ticket_reader(stored.text)
        return Try("done")


def _raise_why(app: faust.App, ends: list["asyncio.Future[Any]"], servers: str) -> None:
    """Raises: what an end has failed with, if any has; Unreachable where it was the client."""
    for end in ends:
        reason = end.exception() if end.done() else None
        if isinstance(reason, Stop):
            raise reason
        if reason is not None and end is ends[0]:
            raise reason  # ours: let it be seen
    reasons = [end.exception() for end in ends if end.done()] + [app.crash_reason if app.crashed else None]
    for reason in filter(None, reasons):
        raise Unreachable(
            f"Kafka at {servers}: the client gives up ({type(reason).__name__}). What was delivered is committed, but for the "
            "last one, perhaps; start again. See [kafka]."
        ) from None


async def _stopped(app: faust.App, starting: "asyncio.Future[Any]") -> None:
    """End Faust, which may not be able to: nothing is lost by that.

    It begins to end only once it has begun: the thread of its client is not waited for before, and outlives the loop.
    """
    await asyncio.wait({starting}, timeout=START_S)
    try:
        await asyncio.wait_for(app.stop(), STOP_S)
    except Exception as error:  # noqa: BLE001  it is over, whatever it says
        log.warning("Faust did not end in order; all that it held comes again", error=type(error).__name__)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)


class _Bridge(logging.Handler):
    """Hands warnings of the libraries on to our log, one line each and without tracebacks.

    Their errors are warnings here: what ends the process says so itself, and the client calls a coordinator that moves an
    error, too.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._last: dict[tuple[str, str], float] = {}
        self._kept_back: dict[tuple[str, str], int] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, or count it until it may be said again."""
        kind, now = (record.name, str(record.msg)), time.monotonic()
        if now < self._last.get(kind, -SAID_S) + SAID_S:
            self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
            return
        self._last[kind] = now
        says = record.getMessage().strip().partition("\n")[0][:300]
        log.warning("client", says=says, logger=record.name, kept_back=self._kept_back.pop(kind, 0))


def _bridge_logs() -> None:
    for name in ("faust", "mode", "aiokafka"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [_Bridge()], False
