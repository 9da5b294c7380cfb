"""What the registry says of schema ids, remembered: the snapshot that batches are read with, and how it grows.

An id is immutable, so a positive answer holds for ever, in memory and on disk; a known id works with the registry
down, also after a restart. A negative answer may be a registry that has not heard of a registration yet: it counts
only after three tries in five seconds, and is forgotten after a minute. No answer at all is not a negative one.
"""

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from streams.avro.id_cache import IdCache, Remembered
from streams.avro.json_values import Json, load
from streams.avro.registry_client import RegistryClient, Stored
from streams.avro.schema import SchemaRefused, extra_fields, parse
from streams.config import Client
from streams.contracts import Contract, Reading, Snapshot, Unreadable
from streams.errors import Unreachable
from streams.reasons import Reason

WAIT_S = 0.25
"""The longest that `resolve` waits; an answer that comes later is taken by the next call."""
TIMEOUT_S = 5.0
"""How long one request may take, in the background."""
PAUSE_S = 1.0
"""How long nobody is asked after a request without an answer."""
TRIES = 3
TRIES_S = 5.0
"""A negative answer counts after this many tries, spread over this time."""
NEGATIVE_S = 60.0
"""How long a negative answer that counts is believed; one more then renews it."""


def framed(schema_id: int, datum: bytes) -> bytes:
    """Return a datum in Confluent framing: 0x00, the id in four bytes, the datum."""
    return b"\x00" + schema_id.to_bytes(4, "big") + datum


class _No(NamedTuple):
    """A negative answer: what it means if it counts, how often it was given, and when last."""

    means: Unreadable
    tries: int
    last: float


class Registry:
    """Fulfils `ports.Contracts` with a real registry. For one thread; requests run in a thread of their own."""

    def __init__(
        self,
        keys: Client,
        lanes: Mapping[str, str],
        accepts: tuple[Contract, ...],
        *,
        drop_extra_fields: bool,
        cache_dir: Path,
        clock: Callable[[], float] = time.monotonic,
        nodes_max: int = 1000,
    ) -> None:
        """Know at once what the disk remembers; ask nobody.

        Args:
            keys: `[schema_registry]`, passed to the client; waiting and retrying are decided here.
            lanes: request topic to the subject that its schemas must be registered under.
            accepts: the model's accepted contracts.
            drop_extra_fields: accept a writer that is field for field one of these plus new fields.
            cache_dir: where ids are remembered; other processes may share it.
            clock: seconds, monotonic.
            nodes_max: how many fields and types a writer's schema may have.
        Raises: ConfigError if the client refuses its keys.
        """
        self._client = RegistryClient(keys, timeout_s=TIMEOUT_S, retries=0)
        self._lanes = dict(lanes)
        self._accepts = accepts
        self._drop = drop_extra_fields
        self._nodes_max = nodes_max
        self._clock = clock
        self._cache = IdCache(cache_dir, self._client.servers)
        self._entries: dict[int, Remembered] = {}
        self._known: dict[tuple[str, int], Reading | Unreadable] = {}
        self._noes: dict[tuple[str, int], _No] = {}
        self._asking: _Asking | None = None
        self._silent_until = -1.0
        self.trouble: str | None = None
        """Why the last request had no answer; None if it had one. Safe to show: it holds no credentials."""
        for schema_id, entry in self._cache.load():
            self._remember(schema_id, entry)

    def snapshot(self) -> Snapshot:
        """Return everything that is known now, without asking anybody. The mapping does not change any more."""
        now = self._clock()
        noes = {pair: no.means for pair, no in self._noes.items() if no.tries >= TRIES and now < no.last + NEGATIVE_S}
        return MappingProxyType(self._known | noes)

    def resolve(self, topic: str, schema_id: int) -> bool:
        """Ask for one id if it is time to, wait 0.25 s at most; return whether the snapshot now knows it.

        Call it again, a little later, while it returns False: it spreads its tries by the clock.
        """
        pair = (topic, schema_id)
        if pair in self.snapshot():
            return True
        if self._asking is None and self._is_time(pair):
            self._asking = _Asking(self._client, pair)
            self._asking.start()
        if self._asking is not None:
            self._asking.join(WAIT_S)
            if not self._asking.is_alive():
                self._learn(self._asking)
                self._asking = None
        return pair in self.snapshot()

    def recheck(self) -> tuple[int, ...]:
        """Ask again for every remembered id; forget, and return, those that mean another schema now.

        Ids are immutable, registries are not: a development registry that was wiped gives the same ids to other
        schemas. Call it before any work. Stops at the first request without an answer: what is remembered then stands.
        """
        changed = []
        for schema_id, entry in list(self._entries.items()):
            try:
                stored = self._client.schema(schema_id)
            except Unreachable as error:
                self.trouble = str(error)
                break
            if stored is None or _without_doc(stored.text) != _without_doc(entry.text):
                changed.append(schema_id)
                self._cache.forget(schema_id)
                del self._entries[schema_id]
                self._known = {pair: known for pair, known in self._known.items() if pair[1] != schema_id}
        return tuple(changed)

    def _is_time(self, pair: tuple[str, int]) -> bool:
        now = self._clock()
        no = self._noes.get(pair)
        counting = no is not None and no.tries < TRIES and now < no.last + TRIES_S / (TRIES - 1)
        return now >= self._silent_until and not counting

    def _learn(self, asked: "_Asking") -> None:
        """Take the answer of a request that has ended."""
        now = self._clock()
        topic, schema_id = asked.pair
        self.trouble = asked.trouble
        if asked.trouble is not None:
            self._silent_until = now + PAUSE_S
        elif asked.stored is not None and self._lanes[topic] in asked.subjects:
            known = self._entries.get(schema_id)
            subjects = asked.subjects | (known.subjects if known else frozenset())
            entry = Remembered(asked.stored.text, asked.stored.kind, asked.stored.references, subjects)
            self._cache.store(schema_id, entry)
            self._remember(schema_id, entry)
        else:
            self._deny(asked.pair, asked.stored is not None, now)

    def _remember(self, schema_id: int, entry: Remembered) -> None:
        self._entries[schema_id] = entry
        mine = [topic for topic, subject in self._lanes.items() if subject in entry.subjects]
        if mine:
            reading = self._reading(entry)
            for topic in mine:
                self._known[topic, schema_id] = reading
                self._noes.pop((topic, schema_id), None)

    def _deny(self, pair: tuple[str, int], exists: bool, now: float) -> None:
        """Count a negative answer; one that is older than it would be believed begins to be counted anew."""
        topic, schema_id = pair
        if exists:
            means = Unreadable(Reason.WRONG_SUBJECT, self._lanes[topic], str(schema_id))
        else:
            means = Unreadable(Reason.UNKNOWN_SCHEMA, None, str(schema_id))
        self._noes = {key: no for key, no in self._noes.items() if now < no.last + 2 * NEGATIVE_S}
        before = self._noes.get(pair)
        self._noes[pair] = _No(means, before.tries + 1 if before else 1, now)

    def _reading(self, entry: Remembered) -> Reading | Unreadable:
        """Return how to read the values of a schema; a function of the schema and of what the model accepts."""
        if entry.kind != "AVRO":
            return Unreadable(Reason.SCHEMA_REFUSED, None, f"It is a {entry.kind} schema; only Avro is read.")
        if entry.references:
            return Unreadable(Reason.SCHEMA_REFUSED, None, "It refers to other schemas of the registry.")
        try:
            writer = parse(entry.text, nodes_max=self._nodes_max)
        except SchemaRefused as error:
            return Unreadable(Reason.SCHEMA_REFUSED, None, str(error))
        for accepted in self._accepts:
            if accepted.fingerprint == writer.fingerprint:
                return Reading(writer, accepted)
        if self._drop:
            fits = [(extra, accepted) for accepted in self._accepts if (extra := extra_fields(writer, accepted))]
            if fits:  # the one that keeps the most of what was sent
                extra, accepted = min(fits, key=lambda fit: len(fit[0]))
                return Reading(writer, accepted, extra)
        return Reading(writer, None)


class _Asking(threading.Thread):
    """One question to the registry, in a thread that no slow name server or trickling answer can keep the loop in."""

    def __init__(self, client: RegistryClient, pair: tuple[str, int]) -> None:
        super().__init__(name=f"registry-{pair[1]}", daemon=True)
        self._client = client
        self.pair = pair
        self.stored: Stored | None = None
        self.subjects: frozenset[str] = frozenset()
        self.trouble: str | None = None

    def run(self) -> None:
        """Ask for the schema, then for its subjects."""
        try:
            self.stored = self._client.schema(self.pair[1])
            if self.stored is not None:
                self.subjects = self._client.subjects(self.pair[1])
        except Exception as error:  # noqa: BLE001  a thread that dies says nothing; no answer is what it means
            self.trouble = str(error) if isinstance(error, Unreachable) else type(error).__name__


def _without_doc(text: str) -> Json:
    """Return a schema's JSON values without docs: Apicurio takes schemas that differ in docs for one."""

    def strip(value: Json) -> Json:
        if isinstance(value, dict):
            return {key: strip(item) for key, item in value.items() if key != "doc"}
        return [strip(item) for item in value] if isinstance(value, list) else value

    try:
        return strip(load(text))
    except SchemaRefused:
        return text
