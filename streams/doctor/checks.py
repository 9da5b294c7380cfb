"""The checks, in the order in which they are tried. Each yields what it finds, and raises Stop for what ends it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from streams.assembly import sizes
from streams.beginning import Reads, monitor, scorer, unbegun
from streams.config import Effective, Settings, effective
from streams.doctor import clock
from streams.doctor.disk import try_disk
from streams.doctor.findings import Finding
from streams.errors import OffsetsError, SetupError, Stop
from streams.kafka.admin import Admin, Found
from streams.kafka.partitioner import partition_of
from streams.kafka.scan import scan
from streams.kafka.sink import producer_settings
from streams.kafka.source import consumer_settings
from streams.kafka.trial import Written, try_reading, try_writing
from streams.layers import FILE
from streams.models.packages import describe, unaccepted
from streams.models.packages import load as load_model
from streams.models.store import open_store
from streams.monitored import Subject
from streams.records import TP
from streams.registering import standing
from streams.ticketing import asked
from streams.topics import (
    contradictions,
    counting_contradictions,
    monitor_contradictions,
    monitor_names,
    scorer_names,
    warnings,
)
from streams.watching import judged

TIMEOUT_S = 5.0


class Case:
    """The application that is examined, and what earlier checks learnt about it. Raises: Stop, where it is first asked."""

    def __init__(self, config: Path, flags: Sequence[str] | None) -> None:
        self.config, self.flags = config, flags
        self.written: dict[TP, Written] = {}

    @cached_property
    def effective(self) -> Effective:
        """The settings and where they were given."""
        return effective(self.config, self.flags)

    @property
    def settings(self) -> Settings:
        """The settings."""
        return self.effective.settings

    @cached_property
    def admin(self) -> Admin:
        """The cluster."""
        return Admin(self.settings.kafka, timeout_s=TIMEOUT_S)

    @cached_property
    def found(self) -> Mapping[str, Found]:
        """The topics that the scorer needs, as they are."""
        return self.admin.topics(scorer_names(self.settings))

    @property
    def sources(self) -> list[TP]:
        """The partitions that requests come from."""
        lanes = [lane.topic for lane in self.settings.requests]
        return [TP(lane, partition) for lane in lanes for partition in range(self.found[lane].partitions)]


class Check(NamedTuple):
    """Something that a worker needs, and the checks without which it cannot be tried."""

    name: str
    needs: tuple[str, ...]
    look: Callable[[Case], Iterator[Finding]]
    wanted: Callable[[Case], bool] = lambda _: True
    """Whether the application has what is checked."""


def _configuration(case: Case) -> Iterator[Finding]:
    over = [
        f"{section}.{key} ({one.source})"
        for section, table in case.effective.given.items()
        for key, one in table.items()
        if one.source != FILE
    ]
    said = f"; over it: {', '.join(over)}" if over else ""
    yield Finding("ok", "configuration", f"{case.config} is valid{said}")


def _disk(case: Case) -> Iterator[Finding]:
    yield try_disk(case.settings.app.state_dir)


def _model(case: Case) -> Iterator[Finding]:
    about, begun = case.settings.model, time.monotonic()
    model = load_model(open_store(about.store), about.name, about.version)
    took = time.monotonic() - begun
    yield Finding(
        "ok",
        "model",
        f"{model.name} {model.version}, sha256:{model.digest.hex()[:12]}, loaded in {took:.1f} s; its golden rows are "
        "answered as recorded",
    )
    for text in unaccepted(model.manifest, model.accepts, case.settings):
        yield Finding("warn", "model", text)
    _, _, reference = describe(open_store(about.store), about.name, about.version)
    whole, text = judged(case.settings, model.manifest, reference)
    yield Finding("ok" if whole else "warn", "model", text)


def _registry(case: Case) -> Iterator[Finding]:
    for subject, grade, text in standing(case.settings):
        if grade == "error":
            yield Finding("FAIL", "registry", f"{subject}: {text}", SetupError.code)
        else:
            yield Finding("ok" if grade == "ok" else "warn", "registry", f"{subject}: {text}")


def _broker(case: Case) -> Iterator[Finding]:
    begun = time.monotonic()
    cluster = case.admin.cluster()
    took_ms = (time.monotonic() - begun) * 1000
    where = case.settings.kafka["bootstrap.servers"]
    plural = "" if cluster.brokers == 1 else "s"
    yield Finding(
        "ok",
        "broker",
        f"{where} answers in {took_ms:.0f} ms: cluster {cluster.cluster_id}, {cluster.brokers} broker{plural} up",
    )


def _topics(case: Case) -> Iterator[Finding]:
    wrong = contradictions(case.settings, case.found) + counting_contradictions(case.settings, case.found)
    for line in wrong:
        yield Finding("FAIL", "topics", f"{line}. See `streams topics plan`", SetupError.code)
    if not wrong:
        for line in warnings(case.settings, case.found):
            yield Finding("warn", "topics", line)
        yield Finding("ok", "topics", f"{len(case.found)} exist and contradict nothing")


def _tried_reading(case: Case, reads: Reads, found: Mapping[str, Found]) -> dict[TP, Stop | None]:
    """Fetch from every partition that a group reads, as its workers do; return what came of it."""
    limits = case.settings.limits
    settings = consumer_settings(
        case.settings.kafka,
        group=reads.group,
        instance=f"{reads.group}.doctor",
        session_ms=limits.session_ms,
        max_poll_ms=limits.max_poll_ms,
        queue_kbytes=limits.queue_kbytes,
    )
    topics = *reads.topics, reads.changelog
    tps = [TP(topic, number) for topic in topics for number in range(found[topic].partitions)]
    starts, ends = case.admin.offsets(tps, "earliest"), case.admin.offsets(tps, "latest")
    failed = try_reading(settings, {tp: max(starts[tp], ends[tp] - 1) for tp in tps})
    return {tp: failed.get(tp) for tp in tps}


def _tried_writing(case: Case, reads: Reads, found: Mapping[str, Found]) -> dict[TP, Written | Stop]:
    """Write to a partition of each topic that a group's workers write to, as they do, and abort it."""
    message_bytes, batch_bytes = sizes(found.values())
    settings = producer_settings(
        case.settings.kafka,
        transactional_id=f"{reads.group}.doctor",
        transaction_ms=case.settings.limits.transaction_ms,
        message_bytes=message_bytes,
        batch_bytes=batch_bytes,
    )
    return try_writing(settings, [TP(topic, 0) for topic in (*reads.writes, reads.changelog)])


def _reading(case: Case) -> Iterator[Finding]:
    tried = _tried_reading(case, scorer(case.settings), case.found)
    failed = _stops(tried)
    yield from _failures("reading", failed)
    if not failed:
        yield Finding(
            "ok", "reading", f"{len(tried)} partitions of requests and changelog: a record or the end was fetched"
        )


def _writing(case: Case) -> Iterator[Finding]:
    came = _tried_writing(case, scorer(case.settings), case.found)
    case.written = {tp: one for tp, one in came.items() if isinstance(one, Written)}
    failed = _stops(came)
    yield from _failures("writing", failed)
    if not failed:
        slowest = max(one.answered_ms - one.asked_ms for one in case.written.values())
        yield Finding(
            "ok",
            "writing",
            f"transactional id {case.settings.group}.doctor was accepted; {len(came)} topics took an empty record, within "
            f"{slowest} ms, and all were aborted",
        )


def _clock(case: Case) -> Iterator[Finding]:
    yield clock.judge(list(case.written.values()))


def _offsets(case: Case) -> Iterator[Finding]:
    group, tps = case.settings.group, case.sources
    if not case.admin.may_read(group):
        yield _denied("offsets", group)
        return
    committed = case.admin.committed(group, tps)
    missing = [tp for tp in tps if committed[tp] is None]
    if missing:
        yield Finding(
            "FAIL",
            "offsets",
            f"{len(missing)} of {len(tps)} partitions have none in group {group} ({missing[0]}, …). Run `streams topics apply`",
            SetupError.code,
        )
        return
    ends = case.admin.offsets(tps, "latest")
    waiting = {tp: ends[tp] - (committed[tp] or 0) for tp in tps}
    wrong = [tp for tp, count in waiting.items() if count < 0]
    if wrong:
        yield Finding(
            "FAIL",
            "offsets",
            f"{wrong[0]} has {committed[wrong[0]]} committed in group {group}, and ends at {ends[wrong[0]]}. Was the topic "
            "recreated, or were offsets moved? Workers will stop; see what they say",
            OffsetsError.code,
        )
    else:
        yield Finding(
            "ok", "offsets", f"group {group} has one in each of {len(tps)} partitions; {sum(waiting.values()):,} wait"
        )


def _workers(case: Case) -> Iterator[Finding]:
    shares = case.admin.assigned(case.settings.group)
    said = ", ".join(f"{slot} {len(tps)}" for slot, tps in sorted(shares.items()))
    text = f"{len(shares)} in group {case.settings.group}; partitions: {said}" if shares else "none runs"
    yield Finding("ok", "workers", text)


def _denied(check: str, group: str) -> Finding:
    text = f"the broker says that it denies this user group {group}. Grant Read on it"
    return Finding("FAIL", check, text, SetupError.code)


def _stops(tried: Mapping[TP, object]) -> dict[TP, Stop]:
    """Return what failed of what was tried."""
    return {tp: came for tp, came in tried.items() if isinstance(came, Stop)}


def _failures(check: str, failed: Mapping[TP, Stop]) -> Iterator[Finding]:
    """Yield one finding for each thing that is wrong, however many partitions have it."""
    seen: dict[str, TP] = {}
    for tp, reason in sorted(failed.items()):
        if seen.setdefault(f"{tp.topic} {reason}", tp) == tp:
            yield Finding("FAIL", check, f"{tp}: {reason}", reason.code)


def _monitor(case: Case) -> Iterator[Finding]:
    """What the monitor needs beyond what the scorer does."""
    settings = case.settings
    found = case.admin.topics([settings.results, *monitor_names(settings)])
    wrong = monitor_contradictions(settings, found)
    for line in wrong:
        yield Finding("FAIL", "monitor", f"{line}. See `streams topics plan`", SetupError.code)
    for reads in () if wrong else monitor(settings):
        read, written = _tried_reading(case, reads, found), _tried_writing(case, reads, found)
        failures = [*_failures("monitor", _stops(read)), *_failures("monitor", _stops(written))]
        if not case.admin.may_read(reads.group):
            failures.append(_denied("monitor", reads.group))
        elif missing := unbegun(reads, case.admin, found):
            text = f"{len(missing)} partitions have no offset in group {reads.group} ({missing[0]}, …). Run `streams topics apply`"
            failures.append(Finding("FAIL", "monitor", text, SetupError.code))
        done = (
            f"group {reads.group}: {len(read)} partitions were read from, {len(written)} topics written to, and aborted"
        )
        yield from failures or [Finding("ok", "monitor", done)]


def _labels(case: Case) -> Iterator[Finding]:
    """Whether labels say what came true, and lie where their predictions do."""
    settings = case.settings
    assert settings.labels is not None, "it is wanted"
    subject = Subject(settings)
    asked(subject)
    tps = [TP(settings.labels_read, number) for number in range(settings.partitions)]
    starts, ends = case.admin.offsets(tps, "earliest"), case.admin.offsets(tps, "stable")
    looked = strangers = 0
    for part in scan(
        settings.kafka, {tp: (max(starts[tp], ends[tp] - LOOKED_AT), ends[tp]) for tp in tps}, stall_s=TIMEOUT_S
    ):
        looked += len(part.keys)
        strangers += sum(partition_of(key or b"", settings.partitions) != part.tp.partition for key in part.keys)
    if strangers:
        yield Finding(
            "warn",
            "labels",
            f"{strangers} of the last {looked} labels lie in another partition than their key's, and cannot meet their predictions: "
            "key them as requests are keyed, and partition them as Java does (librdkafka: partitioner=murmur2_random)",
        )
    hours = settings.monitor.retention_hours
    kept = "for ever: the state grows with every prediction" if hours is None else f"for {hours:g} h"
    yield Finding(
        "ok",
        "labels",
        f"{settings.labels_read}: what came true is `{subject.truth}`, known within {subject.horizon_hours:g} h; windows of "
        f"{settings.monitor.grain_hours:g} h are revised {kept}; {looked} labels looked at",
    )


def _has_labels(case: Case) -> bool:
    try:
        return case.settings.labels is not None
    except Exception:  # noqa: BLE001  nobody knows; another check says why
        return False


LOOKED_AT = 100
"""So many labels of each partition, the newest, are looked at."""
CHECKS = (
    Check("configuration", (), _configuration),
    Check("disk", ("configuration",), _disk),
    Check("model", ("configuration",), _model),
    Check("registry", ("configuration",), _registry),
    Check("broker", ("configuration",), _broker),
    Check("topics", ("broker",), _topics),
    Check("reading", ("topics",), _reading),
    Check("writing", ("topics",), _writing),
    Check("clock", ("topics",), _clock),
    Check("offsets", ("topics",), _offsets),
    Check("workers", ("broker",), _workers),
    Check("monitor", ("topics",), _monitor, _has_labels),
    Check("labels", ("model", "registry", "monitor"), _labels, _has_labels),
)
