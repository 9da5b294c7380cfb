"""`streams verify`: read what lies in the logs, up to the offsets that are committed when it starts, and judge it."""

import time
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np

from streams.avro.id_cache import IdCache
from streams.avro.json_values import SchemaRefused
from streams.avro.read import Reader
from streams.avro.registry_client import RegistryClient
from streams.config import Settings
from streams.conservation import Answers, Book, Partition, Range, Source, judge
from streams.errors import SetupError, Unreachable
from streams.headers import REASON, origin_of
from streams.kafka.admin import Admin
from streams.kafka.scan import Slice, scan
from streams.reasons import SCORED, Reason
from streams.records import TP, Headers, Ints
from streams.registering import cache_dir
from streams.report import Report
from streams.topics import names

SAY_S = 2.0
"""How often the progress of a long reading is said."""
Say = Callable[[str], None]


def verify(settings: Settings, *, say: Say | None = None, shown: int = 20) -> Report:
    """Check conservation from START, and at most one SCORED an identity, on the topics themselves. Changes nothing.

    Reads every request topic up to the group's committed offsets, and every answer topic up to its end a moment later;
    it may run beside the workers. It needs about 100 bytes of memory a record.

    Args:
        settings: the application.
        say: told, every two seconds, how far the reading is.
        shown: how many examples of each violation the report keeps.
    Raises: SetupError if a topic is missing; Unreachable if broker or registry do not answer.
    """
    admin = Admin(settings.kafka)
    found = admin.topics(names(settings))
    missing = [name for name in names(settings) if name not in found]
    if missing:
        raise SetupError(f"{', '.join(missing)}: no such topic. `streams topics apply` creates it.")
    sources = [TP(lane.topic, part) for lane in settings.requests for part in range(found[lane.topic].partitions)]
    answers = [
        TP(name, part)
        for name in (settings.results, settings.outcomes, *(settings.dlq(lane.topic) for lane in settings.requests))
        for part in range(found[name].partitions)
    ]
    # in this order: a terminal record of what is committed now lies below the ends that are taken after it
    committed = admin.committed(settings.group, sources)
    ends = admin.offsets(answers, "latest")
    starts = admin.offsets([*sources, *answers], "earliest")
    ranges = {tp: (starts[tp], committed[tp] or 0) for tp in sources}
    ranges |= {tp: (starts[tp], ends[tp]) for tp in answers}
    reading = _Reading(settings)
    progress = _Progress(sum(max(0, end - begin) for begin, end in ranges.values()), say)
    for part in scan(settings.kafka, ranges, progress=progress.tell):
        reading.take(part)
    # retention may have moved meanwhile, and requests may have come
    starts = admin.offsets([*sources, *answers], "earliest")
    ends = admin.offsets(sources, "latest")
    partitions = []
    for tp in sources:
        requests = _column(reading.requests.get(tp, array("q")))
        topic_id = found[tp.topic].topic_id
        partitions.append(Partition(tp, topic_id, starts[tp], committed[tp], ends[tp], requests))
    cut = frozenset(tp for tp in answers if starts[tp] > 0)
    return judge(reading.book(partitions, cut), settings.dedupe.window_ms, shown)


class _Progress:
    """Says how far a reading is, now and then."""

    def __init__(self, total: int, say: Say | None) -> None:
        self._total = total
        self._say = say
        self._next = time.monotonic() + SAY_S

    def tell(self, records: int) -> None:
        if self._say is not None and time.monotonic() >= self._next:
            self._say(f"read {records:,} records of about {self._total:,}")
            self._next = time.monotonic() + SAY_S


class _Reading:
    """Turns what is read into columns, one record after the other, in whatever order the partitions come."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lanes = {lane.topic for lane in settings.requests}
        self._readers = _Readers(settings)
        self._tps: dict[TP, int] = {}
        self._sources: dict[Source, int] = {}
        self._at, self._at_offset, self._source, self._offset = (array("q") for _ in range(4))
        self._scored, self._append_ms = array("q"), array("q")
        self._identity = bytearray()
        self._kinds: Counter[str] = Counter()
        self._starts: dict[Source, int] = {}
        self._gaps: dict[Source, list[Range]] = {}
        self._unreadable: list[str] = []
        self.requests: dict[TP, array[int]] = {}

    def take(self, part: Slice) -> None:
        """Take some records of one partition."""
        if part.tp.topic in self._lanes:
            self.requests.setdefault(part.tp, array("q")).extend(part.offset)
            return
        at = self._tps.setdefault(part.tp, len(self._tps))
        if part.tp.topic == self._settings.results:
            self._each(part, at, self._result)
        elif part.tp.topic == self._settings.outcomes:
            self._each(part, at, self._outcome)
        else:
            self._each(part, at, self._dead_letter)

    def book(self, partitions: list[Partition], cut: frozenset[TP]) -> Book:
        """Return everything that was read."""
        settings = self._settings
        return Book(
            partitions,
            Answers(
                tuple(self._tps),
                _column(self._at),
                _column(self._at_offset),
                tuple(self._sources),
                _column(self._source),
                _column(self._offset),
                _column(self._scored),
                np.frombuffer(bytes(self._identity), dtype=np.uint64).reshape(-1, 2),
                _column(self._append_ms),
            ),
            self._kinds,
            self._starts,
            self._gaps,
            cut,
            {topic: (settings.results, settings.outcomes, settings.dlq(topic)) for topic in self._lanes},
            settings.outcomes,
            self._unreadable,
        )

    def _each(
        self, part: Slice, at: int, read: Callable[[bytes | None, Headers | None], "tuple[Source, int] | None"]
    ) -> None:
        for offset, value, headers in zip(part.offset, part.values, part.headers, strict=True):
            try:
                origin = read(value, headers)
            except (ValueError, KeyError, TypeError) as error:
                self._unreadable.append(f"{part.tp}@{offset}: {error}")
                continue
            if origin is not None:
                source, request = origin
                self._at.append(at)
                self._at_offset.append(offset)
                self._source.append(self._sources.setdefault(source, len(self._sources)))
                self._offset.append(request)

    def _result(self, value: bytes | None, headers: Headers | None) -> tuple[Source, int]:  # noqa: ARG002
        record = self._readers.read(value)
        identity = _identity(record["tenant"], record["request_id"], record["run_id"])
        source = record["request_topic"], record["request_topic_id"], record["request_partition"]
        append_ms, offset = record["append_time"], record["request_offset"]
        self._scored.append(len(self._at))
        self._identity += identity
        self._append_ms.append(append_ms)
        self._kinds[SCORED] += 1
        return source, offset

    def _outcome(self, value: bytes | None, headers: Headers | None) -> tuple[Source, int] | None:  # noqa: ARG002
        record = self._readers.read(value)
        source = record["request_topic"], record["request_topic_id"], record["request_partition"]
        kind, offset = record["kind"], record["request_offset"]
        self._kinds[kind] += 1
        if kind == Reason.START.name:
            self._starts[source] = min(offset, self._starts.get(source, offset))
            return None
        if kind == Reason.GAP.name:
            self._gaps.setdefault(source, []).append(Range(offset, record["until_offset"]))
            return None
        return source, offset

    def _dead_letter(self, value: bytes | None, headers: Headers | None) -> tuple[Source, int]:  # noqa: ARG002
        origin = origin_of(headers)
        if origin is None:
            raise ValueError("its headers name no request")
        reason = next((value for name, value in reversed(headers or []) if name == REASON), None)
        self._kinds[(reason or b"DEAD_LETTER").decode("ascii", "replace")] += 1
        return (origin.topic, origin.topic_id, origin.partition), origin.offset


class _Readers:
    """Reads framed values, each with the schema that its id names; a schema is asked for once."""

    def __init__(self, settings: Settings) -> None:
        self._client = RegistryClient(settings.schema_registry, timeout_s=10.0, retries=2)
        self._cache = IdCache(cache_dir(settings), self._client.servers)
        self._readers: dict[bytes, Reader] = {}

    def read(self, value: bytes | None) -> Mapping[str, Any]:
        """Return a framed value's record. Raises: ValueError if it is none; Unreachable."""
        if value is None or len(value) < 5 or value[0] != 0:
            raise ValueError("it is not framed with a schema id")
        reader = self._readers.get(value[:5])
        if reader is None:
            reader = self._readers[value[:5]] = self._reader(int.from_bytes(value[1:5], "big"))
        return reader.read(value, 5)

    def _reader(self, schema_id: int) -> Reader:
        try:
            found = self._client.schema(schema_id)
            text = None if found is None else found.text
        except Unreachable:
            text = next((known.text for known_id, known in self._cache.load() if known_id == schema_id), None)
            if text is None:
                raise
        if text is None:
            raise ValueError(f"the registry does not know its schema id {schema_id}")
        try:
            return Reader(text)
        except SchemaRefused as error:
            raise ValueError(f"its schema id {schema_id} cannot be read: {error}") from None


def _identity(tenant: str | None, request_id: str, run: str) -> bytes:
    """Return 16 bytes that stand for an identity; every part but the last is preceded by its length."""
    parts = b"" if tenant is None else b"t%d:%b" % (len(tenant.encode()), tenant.encode())
    return blake2b(
        b"%b%d:%b%b" % (parts, len(run.encode()), run.encode(), request_id.encode()), digest_size=16
    ).digest()


def _column(values: "array[int]") -> Ints:
    return np.array(values, dtype=np.int64)
