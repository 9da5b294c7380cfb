"""The monitor's edges, put together for one application; like `assembly`, for another fold."""

import json
import time
from collections.abc import Collection, Mapping

from streams import rekeying, schemas_dir
from streams.assembly import Parts, open_sink, wired
from streams.avro.encode import Encoder
from streams.avro.read import Reader
from streams.avro.registry import Registry, framed
from streams.avro.write import Writer
from streams.config import Settings
from streams.contracts import Pair, Reading, Role, Snapshot, Unreadable
from streams.dedupe import salt
from streams.kafka.admin import Admin, Found
from streams.kafka.partitioner import partitions_of
from streams.monitor.app import App
from streams.monitor.features import counts_contract
from streams.monitor.reading import result_contract
from streams.monitored import Subject
from streams.monitoring import Monitoring
from streams.pipeline import Fold
from streams.ports import Contracts, Observer
from streams.registering import cache_dir, product_ids
from streams.slots import Slot
from streams.ticketing import TicketDesk
from streams.topics import agreed, message_bytes, monitor_contradictions, monitor_names


def preflight(settings: Settings) -> None:
    """Check, before any worker starts, that topics, contracts and model are there. Raises: SetupError, ConfigError."""
    subject = Subject(settings)
    _found(subject)
    product_ids(settings)


def assemble(settings: Settings, slot: Slot, observer: Observer) -> Parts:
    """Return a monitor's worker's parts. The predecessor in this slot is fenced before anything is read. Raises: Stop."""
    subject = Subject(settings)
    found, group, changelog = _found(subject), settings.monitor_group, settings.monitor_changelog
    sink = open_sink(settings, group, changelog, slot, found)
    topics = [settings.results, settings.features, settings.labels_read]
    contracts = _contracts(subject, settings.labels_read)
    edges = wired(settings, sink, contracts, slot, observer, group=group, changelog=changelog, topics=topics)
    desk = TicketDesk(subject)
    fold: Fold = Monitoring(application(subject, found), edges.store, observer, time.monotonic, desk)
    return Parts(edges, fold, settings, slot)


def assemble_rekeyer(settings: Settings, slot: Slot, observer: Observer) -> Parts:
    """Return the parts of a worker that copies labels. The predecessor in this slot is fenced first. Raises: Stop."""
    subject = Subject(settings)
    found, group, changelog = _found(subject), settings.rekey_group, settings.rekey_changelog
    sink, topic = open_sink(settings, group, changelog, slot, found), subject.labels.topic
    contracts = _contracts(subject, topic)
    edges = wired(settings, sink, contracts, slot, observer, group=group, changelog=changelog, topics=[topic])
    dlq = settings.dlq(topic)
    app = rekeying.App(
        group=group,
        keyed=settings.labels_keyed,
        keyed_partitions=settings.partitions,
        dlq={topic: dlq},
        dlq_bytes={dlq: message_bytes(found[dlq])},
        topic_ids={topic: found[topic].topic_id},
        changelog_id=found[changelog].topic_id,
        partitions=found[topic].partitions,
        partitions_of=partitions_of,
        salt=salt(settings.app.id),
        key_bytes=settings.limits.key_bytes,
    )
    return Parts(edges, rekeying.Rekeying(app), settings, slot)


def application(subject: Subject, found: Mapping[str, Found]) -> App:
    """Return what the pure functions must know, from the settings and the topics as they are."""
    settings = subject.settings
    labels = settings.labels_read
    dlq = settings.dlq(labels)
    ids, ticket = product_ids(settings), (schemas_dir() / "ticket.avsc").read_text("utf-8")
    return App(
        group=settings.monitor_group,
        results=settings.results,
        labels=labels,
        features=settings.features,
        parts=settings.parts,
        changelog=settings.monitor_changelog,
        dlq={labels: dlq},
        dlq_bytes={dlq: message_bytes(found[dlq])},
        topic_ids={topic: found[topic].topic_id for topic in (settings.results, settings.features, labels)},
        changelog_id=found[settings.monitor_changelog].topic_id,
        partitions=settings.partitions,
        partitions_of=partitions_of,
        salt=salt(settings.app.id),
        key_bytes=settings.limits.key_bytes,
        rules=subject.rules,
        truth=subject.truth,
        threshold=subject.manifest.output.threshold,
        tombstones=subject.tombstones,
        tickets=settings.tickets,
        ticket=Writer(ticket, framed(ids["ticket"], b"")),
        ticket_reader=Reader(ticket, older=True),
        part=Encoder(json.loads((schemas_dir() / "performance_part.avsc").read_text("utf-8"))),
        part_prefix=framed(ids["performance_part"], b""),
    )


class Readings:
    """`Contracts` of the monitor: what the product writes, and any label that says whose it is, and what came true.

    A label is judged by the contract that it was written with, so senders may change to another version whenever they like.
    Its key is what a request's would be, whatever its contract says.
    """

    def __init__(self, registry: Contracts, ours: Snapshot, labels: str, truth: str, key: tuple[Role, ...]) -> None:
        self._registry, self._ours, self._labels, self._truth, self._key = registry, ours, labels, truth, key

    @property
    def trouble(self) -> str | None:
        """Why the last question had no answer; None if it had one."""
        return self._registry.trouble

    def snapshot(self) -> Snapshot:
        """Return everything that is known now, without asking anybody."""
        found = {pair: self._judged(pair[0], reading) for pair, reading in self._registry.snapshot().items()}
        return {**found, **self._ours}

    def resolve(self, wanted: Collection[Pair]) -> frozenset[Pair]:
        """Ask for some (topic, schema id)s, once and briefly; return those that the snapshot now knows."""
        return self._registry.resolve(wanted)

    def _judged(self, topic: str, reading: Reading | Unreadable) -> Reading | Unreadable:
        if topic != self._labels or isinstance(reading, Unreadable):
            return reading
        writer = reading.writer
        names = [field.name for role in self._key if (field := writer.role(role)) is not None]
        if len(names) < len(self._key) or writer.role("request_id") is None or writer.field(self._truth) is None:
            return reading
        writer = writer._replace(key=tuple(names))
        return Reading(writer, writer)


def _contracts(subject: Subject, labels: str) -> Contracts:
    """Return how results are read, and labels of this topic."""
    settings = subject.settings
    schema = json.loads((schemas_dir() / "result.avsc").read_text("utf-8"))
    result = result_contract(schema, subject.task, subject.key)
    registry = Registry(
        settings.schema_registry,
        {
            settings.results: f"{settings.results}-value",
            settings.features: f"{settings.features}-value",
            labels: subject.labels.label_subject,
        },
        (),
        drop_extra_fields=False,
        cache_dir=cache_dir(settings),
        nodes_max=settings.limits.schema_nodes,
    )
    registry.recheck()
    counts = counts_contract(json.loads((schemas_dir() / "feature_counts.avsc").read_text("utf-8")))
    ids = product_ids(settings)
    ours = {
        (settings.results, ids["result"]): Reading(result, result),
        (settings.features, ids["feature_counts"]): Reading(counts, counts),
    }
    return Readings(registry, ours, labels, subject.truth, subject.key)


def _found(subject: Subject) -> dict[str, Found]:
    settings = subject.settings
    found = Admin(settings.kafka).topics([settings.results, *monitor_names(settings)])
    wrong = monitor_contradictions(settings, found)
    if settings.results not in found:
        wrong.append(f"{settings.results} does not exist")
    elif found[settings.results].partitions != settings.partitions:
        wrong.append(f"{settings.results} has not {settings.partitions} partitions")
    agreed(wrong)
    return found
