"""Real edges, put together for one application: what is checked before any worker starts, and what a worker runs on."""

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from platform import python_version
from typing import NamedTuple

from streams import __version__, schemas_dir
from streams.avro.encode import Encoder
from streams.avro.registry import Registry, framed
from streams.config import Settings
from streams.dedupe import salt
from streams.durations import HOUR_MS
from streams.kafka import client_version
from streams.kafka.admin import Admin, Found
from streams.kafka.changelog import KafkaChangelog
from streams.kafka.partitioner import partitions_of
from streams.kafka.sink import KafkaSink
from streams.kafka.source import KafkaSource
from streams.loop import Loop
from streams.metrics.meter import Meter
from streams.models.packages import Loaded, describe, load, unaccepted
from streams.models.store import open_store
from streams.pipeline import App, Fold, Watching
from streams.ports import Contracts, Edges, Observer
from streams.records import TP
from streams.registering import cache_dir, product_ids
from streams.scoring import Scoring
from streams.slots import Slot, restarts
from streams.state.rocks import RocksStore
from streams.topics import agreed, contradictions, counting_contradictions, message_bytes, scorer_names, warnings

BATCH_BYTES = 1_000_000
"""librdkafka's own default for a produce batch."""
AFTER_TIMEOUT_MS = 2_000
"""A transaction that outlives its time-out by so much hangs in the client (librdkafka #5456), and only an end helps."""
BATCH_ROOM = 1_024
"""What a produce batch costs beside its records."""


class Parts(NamedTuple):
    """A worker's edges and what its loop needs beside them."""

    edges: Edges
    fold: Fold
    settings: Settings
    slot: Slot

    def loop(self, watch: Callable[[float], None], wait: Callable[[float], bool], trial: Mapping[TP, range]) -> Loop:
        """Return the loop over these parts."""
        batch, limits = self.settings.batch, self.settings.limits
        return Loop(
            self.edges,
            self.fold,
            records=batch.records,
            age_ms=batch.age_ms,
            turn_s=limits.turn_ms / 1000,
            transact_s=min(limits.turn_ms, limits.transaction_ms + AFTER_TIMEOUT_MS) / 1000,
            watch=watch,
            wait=wait,
            note=self.slot.note,
            trial=trial,
            ahead=True,
        )


def preflight(settings: Settings) -> list[str]:
    """Check, before any worker starts, that topics, contracts and model are there and do not contradict the guarantee.

    The model is not loaded: each worker does that, with its golden rows.

    Returns: warnings. Raises: SetupError, ConfigError, which say what to do.
    """
    found = _topics(settings)
    product_ids(settings)
    about, accepts, _ = describe(open_store(settings.model.store), settings.model.name, settings.model.version)
    return [*warnings(settings, found), *unaccepted(about, accepts, settings)]


def observe(settings: Settings, slot: Slot, port: int | None) -> Meter:
    """Return what counts a worker's doings, and serve it if there is a port. Raises: ConfigError if it is taken."""
    meter = Meter()
    if port is not None:
        from streams.metrics.figures import Facts
        from streams.metrics.pages import pages
        from streams.metrics.server import serve

        facts = Facts(
            settings.app.id, slot.name, __version__, python_version(), client_version(), restarts(dict(os.environ))
        )
        serve(settings.metrics.host, port + slot.number, pages(meter, facts, settings.limits.turn_ms / 1000))
    return meter


def assemble(settings: Settings, slot: Slot, observer: Observer) -> Parts:
    """Return a scorer's worker's parts. The predecessor in this slot is fenced before anything is read. Raises: Stop."""
    found = _topics(settings)
    model = _model(settings)
    observer.loaded(model)
    app = application(settings, found)
    sink = open_sink(settings, settings.group, settings.changelog, slot, found)
    registry = contracts(settings, model)
    topics = [lane.topic for lane in settings.requests]
    edges = wired(
        settings, sink, registry, slot, observer, group=settings.group, changelog=settings.changelog, topics=topics
    )
    beside = ThreadPoolExecutor(1, thread_name_prefix="model").submit
    return Parts(edges, Scoring(app, model, edges.store, observer, beside), settings, slot)


def open_sink(settings: Settings, group: str, changelog: str, slot: Slot, found: Mapping[str, Found]) -> KafkaSink:
    """Return a worker's sink; its predecessor in the slot is fenced. Raises: Unreachable."""
    limits = settings.limits
    message_bytes_max, batch_bytes = sizes(found.values())
    sink = KafkaSink(
        settings.kafka,
        transactional_id=f"{group}.{slot.name}",
        changelog=changelog,
        transaction_ms=limits.transaction_ms,
        slow_commit_ms=limits.slow_commit_ms,
        message_bytes=message_bytes_max,
        batch_bytes=batch_bytes,
    )
    sink.open()
    return sink


def sizes(topics: Collection[Found]) -> tuple[int, int]:
    """Return how large records, and produce batches, may be for a producer that writes to some topics."""
    bytes_max = [message_bytes(topic) for topic in topics]
    return max(bytes_max), min(BATCH_BYTES, min(bytes_max) - BATCH_ROOM)


def wired(
    settings: Settings,
    sink: KafkaSink,
    registry: Contracts,
    slot: Slot,
    observer: Observer,
    *,
    group: str,
    changelog: str,
    topics: Sequence[str],
) -> Edges:
    """Return a worker's edges around its sink and its contracts."""
    limits = settings.limits
    source = KafkaSource(
        settings.kafka,
        topics=topics,
        group=group,
        instance=slot.name,
        session_ms=limits.session_ms,
        max_poll_ms=limits.max_poll_ms,
        queue_kbytes=limits.queue_kbytes,
    )
    store = RocksStore(slot.directory / "store", partitions=settings.partitions)
    return Edges(source, sink, store, KafkaChangelog(settings.kafka, changelog), registry, observer)


def contracts(settings: Settings, model: Loaded) -> Registry:
    """Return what knows how the lanes' values are read; what its cache holds is asked for again."""
    registry = Registry(
        settings.schema_registry,
        {lane.topic: lane.lane_subject for lane in settings.requests},
        model.accepts,
        drop_extra_fields=model.drop_extra_fields,
        cache_dir=cache_dir(settings),
        nodes_max=settings.limits.schema_nodes,
    )
    registry.recheck()
    return registry


def application(settings: Settings, found: Mapping[str, Found]) -> App:
    """Return what the pure functions must know, from the settings and the topics as they are."""
    ids = product_ids(settings)
    lanes = [lane.topic for lane in settings.requests]
    return App(
        group=settings.group,
        results=settings.results,
        outcomes=settings.outcomes,
        dlq={topic: settings.dlq(topic) for topic in lanes},
        dlq_bytes={settings.dlq(topic): message_bytes(found[settings.dlq(topic)]) for topic in lanes},
        topic_ids={topic: found[topic].topic_id for topic in lanes},
        changelog_id=found[settings.changelog].topic_id,
        partitions=settings.partitions,
        partitions_of=partitions_of,
        salt=salt(settings.app.id),
        window_ms=settings.dedupe.window_ms,
        answer_bytes=settings.dedupe.answer_bytes,
        key_bytes=settings.limits.key_bytes,
        result=_encoder("result"),
        result_prefix=framed(ids["result"], b""),
        outcome=_encoder("outcome"),
        outcome_prefix=framed(ids["outcome"], b""),
        watching=_watching(settings, ids),
    )


def _watching(settings: Settings, ids: Mapping[str, int]) -> Watching | None:
    """Return how what the model sees is counted; None where there is no monitor."""
    if settings.labels is None:
        return None
    monitor = settings.monitor
    return Watching(
        topic=settings.features,
        grain_ms=monitor.grain_ms,
        past_ms=int(monitor.plausible_past_hours * HOUR_MS),
        future_ms=int(monitor.plausible_future_hours * HOUR_MS),
        counts=_encoder("feature_counts"),
        prefix=framed(ids["feature_counts"], b""),
    )


def _topics(settings: Settings) -> dict[str, Found]:
    found = Admin(settings.kafka).topics(scorer_names(settings))
    agreed(contradictions(settings, found) + counting_contradictions(settings, found))
    return found


def _model(settings: Settings) -> Loaded:
    return load(open_store(settings.model.store), settings.model.name, settings.model.version)


def _encoder(name: str) -> Encoder:
    return Encoder(json.loads((schemas_dir() / f"{name}.avsc").read_text("utf-8")))
