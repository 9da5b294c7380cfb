"""Records of the answer topics, turned into the columns that are judged."""

from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from xxhash import xxh3_64_intdigest

from streams.avro.id_cache import IdCache
from streams.avro.json_values import SchemaRefused
from streams.avro.read import Reader
from streams.avro.registry_client import RegistryClient
from streams.config import Settings
from streams.errors import Unreachable
from streams.headers import REASON, origin_of
from streams.kafka.scan import Slice
from streams.reasons import SCORED, Reason
from streams.records import TP, Headers, Ints, Words
from streams.registering import cache_dir
from streams.verify.book import Answers, Book, Partition, Range, Repeats, Scores, Source

REPEATS = frozenset((Reason.DUPLICATE.name, Reason.CONFLICT.name))
"""Outcomes that point to a first answer."""


class Reading:
    """Turns what is read into columns, one record after the other, in whatever order the partitions come."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lanes = {lane.topic for lane in settings.requests}
        self._readers = _Readers(settings)
        self._tps: dict[TP, int] = {}
        self._sources: dict[Source, int] = {}
        self._at, self._at_offset, self._source, self._offset = (array("q") for _ in range(4))
        self._scores, self._repeats = _Scores(), _Repeats()
        self._kinds: Counter[str] = Counter()
        self._starts: dict[Source, int] = {}
        self._gaps: dict[Source, list[Range]] = {}
        self._unreadable: list[str] = []
        self._requests: dict[TP, array[int]] = {}

    def take(self, part: Slice) -> None:
        """Take some records of one partition."""
        if part.tp.topic in self._lanes:
            self._requests.setdefault(part.tp, array("q")).extend(part.offset)
            return
        at = self._tps.setdefault(part.tp, len(self._tps))
        if part.tp.topic == self._settings.results:
            self._each(part, at, self._result)
        elif part.tp.topic == self._settings.outcomes:
            self._each(part, at, self._outcome)
        else:
            self._each(part, at, self._dead_letter)

    def requests_of(self, tp: TP) -> Ints:
        """Return the offsets of the requests that were taken from one partition."""
        return _ints(self._requests.get(tp, array("q")))

    def book(self, partitions: list[Partition], cut: frozenset[TP], hidden: Mapping[TP, Range] | None) -> Book:
        """Return everything that was read."""
        settings = self._settings
        return Book(
            partitions,
            Answers(
                tuple(self._tps),
                _ints(self._at),
                _ints(self._at_offset),
                tuple(self._sources),
                _ints(self._source),
                _ints(self._offset),
                self._scores.columns(),
                self._repeats.columns(),
            ),
            self._kinds,
            self._starts,
            self._gaps,
            cut,
            settings.results,
            settings.outcomes,
            {topic: settings.dlq(topic) for topic in self._lanes},
            self._unreadable,
            hidden,
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
        self._scores.take(len(self._at), identity, append_ms, xxh3_64_intdigest(value or b""))
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
        if kind in REPEATS:
            self._repeats.take(len(self._at), record)
        return source, offset

    def _dead_letter(self, value: bytes | None, headers: Headers | None) -> tuple[Source, int]:  # noqa: ARG002
        origin = origin_of(headers)
        if origin is None:
            raise ValueError("its headers name no request")
        reason = next((value for name, value in reversed(headers or []) if name == REASON), None)
        self._kinds[(reason or b"DEAD_LETTER").decode("ascii", "replace")] += 1
        return (origin.topic, origin.topic_id, origin.partition), origin.offset


class _Scores:
    """The columns of `Scores`, as they grow."""

    def __init__(self) -> None:
        self._row, self._append_ms, self._digest = array("q"), array("q"), array("Q")
        self._identity = bytearray()

    def take(self, row: int, identity: bytes, append_ms: int, digest: int) -> None:
        self._row.append(row)
        self._identity += identity
        self._append_ms.append(append_ms)
        self._digest.append(digest)

    def columns(self) -> Scores:
        return Scores(_ints(self._row), _pairs(self._identity), _ints(self._append_ms), _words(self._digest))


class _Repeats:
    """The columns of `Repeats`, as they grow."""

    def __init__(self) -> None:
        self._row, self._first, self._first_offset, self._digest = array("q"), array("q"), array("q"), array("Q")
        self._identity = bytearray()
        self._tps: dict[TP, int] = {}

    def take(self, row: int, record: Mapping[str, Any]) -> None:
        topic, partition, offset = record["first_topic"], record["first_partition"], record["first_offset"]
        self._row.append(row)
        self._identity += _identity(record["tenant"], record["request_id"] or "", record["run_id"])
        named = topic is not None and partition is not None and offset is not None
        self._first.append(self._tps.setdefault(TP(topic, partition), len(self._tps)) if named else -1)
        self._first_offset.append(offset if named else -1)
        answer = record["answer"]
        self._digest.append(0 if answer is None else xxh3_64_intdigest(answer))

    def columns(self) -> Repeats:
        return Repeats(
            _ints(self._row),
            _pairs(self._identity),
            tuple(self._tps),
            _ints(self._first),
            _ints(self._first_offset),
            _words(self._digest),
        )


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


def _ints(values: "array[int]") -> Ints:
    return np.array(values, dtype=np.int64)


def _words(values: "array[int]") -> Words:
    return np.array(values, dtype=np.uint64)


def _pairs(identities: bytearray) -> Words:
    return np.frombuffer(bytes(identities), dtype=np.uint64).reshape(-1, 2)
