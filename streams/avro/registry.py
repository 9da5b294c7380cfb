"""What the registry says of schema ids, remembered: the snapshot that batches are read with, and how it grows.

An id is immutable, so a positive answer holds for ever, in memory and on disk; a known id works with the registry
down, also after a restart. A negative answer may be a registry that has not heard of a registration yet: it counts
only after three tries in five seconds, and is forgotten after a minute. No answer at all is not a negative one.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from types import MappingProxyType
from typing import NamedTuple

from streams.avro.acceptance import judge
from streams.avro.id_cache import IdCache, Remembered
from streams.avro.json_values import Json, load
from streams.avro.registry_client import RegistryClient, Stored
from streams.avro.schema import SchemaRefused
from streams.config import Client
from streams.contracts import Contract, Pair, Reading, Snapshot, Unreadable
from streams.errors import Unreachable
from streams.reasons import Reason

WAIT_S = 0.25
"""The longest that `resolve` waits; an answer that comes later is taken by the next call."""
ASKED_MAX = 100
"""So many ids are asked for at a time: a flood of made-up ones must not keep a real one waiting for long."""
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
        self._judge = partial(judge, accepts=accepts, drop_extra_fields=drop_extra_fields, nodes_max=nodes_max)
        self._clock = clock
        self._cache = IdCache(cache_dir, self._client.servers)
        self._entries: dict[int, Remembered] = {}
        self._known: dict[Pair, Reading | Unreadable] = {}
        self._noes: dict[Pair, _No] = {}
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

    def resolve(self, wanted: Collection[Pair]) -> frozenset[Pair]:
        """Ask for those of the wanted ids that it is time for, wait 0.25 s at most; return those that are known now.

        Call it again, a little later, while some are missing: it spreads its tries by the clock. Only the call that asks
        waits; a registry that does not answer keeps nobody else waiting.
        """
        known = self.snapshot()
        due = [pair for pair in sorted(wanted) if pair not in known and self._is_time(pair)][:ASKED_MAX]
        if self._asking is None and due:
            self._asking = _Asking(self._client, due)
            self._asking.start()
            self._asking.join(WAIT_S)
        if self._asking is not None:
            ended = not self._asking.is_alive()
            for answer in self._asking.taken():
                self._learn(answer)
            if ended:
                self._asking = None
        known = self.snapshot()
        return frozenset(pair for pair in wanted if pair in known)

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

    def _is_time(self, pair: Pair) -> bool:
        now = self._clock()
        no = self._noes.get(pair)
        counting = no is not None and no.tries < TRIES and now < no.last + TRIES_S / (TRIES - 1)
        return now >= self._silent_until and not counting

    def _learn(self, answer: "_Answer") -> None:
        """Take the answer to one question."""
        now = self._clock()
        topic, schema_id = answer.pair
        self.trouble = answer.trouble
        if answer.trouble is not None:
            self._silent_until = now + PAUSE_S
        elif answer.stored is not None and self._lanes[topic] in answer.subjects:
            known = self._entries.get(schema_id)
            subjects = answer.subjects | (known.subjects if known else frozenset())
            entry = Remembered(answer.stored.text, answer.stored.kind, answer.stored.references, subjects)
            self._cache.store(schema_id, entry)
            self._remember(schema_id, entry)
        else:
            self._deny(answer.pair, answer.stored is not None, now)

    def _remember(self, schema_id: int, entry: Remembered) -> None:
        self._entries[schema_id] = entry
        mine = [topic for topic, subject in self._lanes.items() if subject in entry.subjects]
        if mine:
            reading = self._judge(entry)
            for topic in mine:
                self._known[topic, schema_id] = reading
                self._noes.pop((topic, schema_id), None)

    def _deny(self, pair: Pair, exists: bool, now: float) -> None:
        """Count a negative answer; one that is older than it would be believed begins to be counted anew."""
        topic, schema_id = pair
        if exists:
            means = Unreadable(Reason.WRONG_SUBJECT, self._lanes[topic], str(schema_id))
        else:
            means = Unreadable(Reason.UNKNOWN_SCHEMA, None, str(schema_id))
        self._noes = {key: no for key, no in self._noes.items() if now < no.last + 2 * NEGATIVE_S}
        before = self._noes.get(pair)
        self._noes[pair] = _No(means, before.tries + 1 if before else 1, now)


class _Answer(NamedTuple):
    """What came of one question; `trouble` says why there was no answer."""

    pair: Pair
    stored: Stored | None = None
    subjects: frozenset[str] = frozenset()
    trouble: str | None = None


class _Asking(threading.Thread):
    """Questions to the registry, in a thread that no slow name server or trickling answer can keep the loop in."""

    def __init__(self, client: RegistryClient, pairs: Sequence[Pair]) -> None:
        super().__init__(name="registry", daemon=True)
        self._client = client
        self._pairs = pairs
        self._answers: SimpleQueue[_Answer] = SimpleQueue()

    def run(self) -> None:
        """Ask one after the other, until one has no answer."""
        for pair in self._pairs:
            answer = self._ask(pair)
            self._answers.put(answer)
            if answer.trouble is not None:
                return

    def taken(self) -> Iterator[_Answer]:
        """Yield the answers that have come since they were taken last."""
        while not self._answers.empty():
            yield self._answers.get()

    def _ask(self, pair: Pair) -> _Answer:
        """Ask for a schema, then for its subjects."""
        try:
            stored = self._client.schema(pair[1])
            return _Answer(pair, stored, self._client.subjects(pair[1]) if stored is not None else frozenset())
        except Exception as error:  # noqa: BLE001  a thread that dies says nothing; no answer is what it means
            return _Answer(pair, trouble=str(error) if isinstance(error, Unreachable) else type(error).__name__)


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
