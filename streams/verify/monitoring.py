"""`streams verify`, of the monitor: read its changelog, what it read and what it published, and judge it."""

from collections.abc import Mapping

from streams.config import Settings
from streams.errors import SetupError
from streams.headers import label_origin
from streams.kafka.admin import Admin
from streams.kafka.scan import scan, scan_changes
from streams.monitor.windows import Rules
from streams.parts import read_parts
from streams.records import TP
from streams.verify.copies import judge_copies
from streams.verify.labels import LabelReport, Part, State, judge


def verify_labels(settings: Settings, rules: Rules) -> LabelReport:
    """Check that every label and result that was read is counted once, and windows are what they are said to be.

    May run beside the monitor. Everything that is known of identities is held in memory, about 500 bytes each.
    Raises: SetupError if a topic is missing, or what lies there cannot be read; Unreachable.
    """
    admin, numbers = Admin(settings.kafka), range(settings.partitions)
    assert settings.labels is not None, "there are [labels]"
    # before they were keyed anew, labels were read from their own topic
    names = {
        settings.results: "results",
        settings.features: "features",
        settings.labels_read: "labels",
        settings.labels.topic: "labels",
    }
    if settings.monitor_changelog not in admin.topics([settings.monitor_changelog]):
        raise SetupError(f"{settings.monitor_changelog}: no such topic. `streams topics apply` creates it.")
    states, starts = _states(settings, admin, [TP(settings.monitor_changelog, number) for number in numbers])
    ranges = {tp: (state.begins[tp], end) for state in states.values() for tp, end in state.ends.items()}
    read: dict[TP, int | None] = dict.fromkeys(ranges, 0)
    for part in scan(settings.kafka, ranges):
        read[part.tp] = (read[part.tp] or 0) + len(part.offset)
    for tp, start in admin.offsets([*ranges], "earliest").items():
        # the tally is older than what the changelog still tells of where reading began
        if start > ranges[tp][0] or starts[TP(settings.monitor_changelog, tp.partition)] > 0:
            read[tp] = None
    # after the state: what it says is published lies there by now, and what was published since has a higher revision
    parts = {key: Part(part["revision"], part["rows"]) for key, part in read_parts(settings, admin).items()}
    report = judge(states.values(), read, names, parts, rules)
    if not settings.labels.rekey:
        return report
    wrong, unchecked = _copies(settings, settings.labels.topic, admin)
    return report._replace(violations=report.violations + wrong, unchecked=report.unchecked + unchecked)


def _states(settings: Settings, admin: Admin, logs: list[TP]) -> tuple[dict[int, State], Mapping[TP, int]]:
    """Return what each partition of a changelog adds up to, and where each begins."""
    states = {log.partition: State(log.partition) for log in logs}
    ends, starts = admin.offsets(logs, "stable"), admin.offsets(logs, "earliest")
    for log, puts in scan_changes(settings.kafka, {log: (starts[log], ends[log]) for log in logs}):
        states[log.partition].take(puts)
    return states, starts


def _copies(settings: Settings, labels: str, admin: Admin) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what is wrong with the copies of labels in the topic that is keyed by request, and what could not be checked."""
    dlq, keyed = settings.dlq(labels), settings.labels_keyed
    wanted = [labels, dlq, keyed, settings.rekey_changelog]
    found = admin.topics(wanted)
    if missing := [name for name in wanted if name not in found]:
        raise SetupError(f"{', '.join(missing)}: no such topic. `streams topics apply` creates it.")
    tps = {name: [TP(name, number) for number in range(topic.partitions)] for name, topic in found.items()}
    every = [tp for mine in tps.values() for tp in mine]
    starts = admin.offsets(every, "earliest")
    states, _ = _states(settings, admin, tps[settings.rekey_changelog])
    read: dict[TP, list[int]] = {}
    ranges = {
        tp: (max(starts[tp], state.begins[tp]), end) for state in states.values() for tp, end in state.ends.items()
    }
    for part in scan(settings.kafka, ranges):
        read.setdefault(part.tp, []).extend(part.offset)
    # after the state: a copy of what it says was read lies below these ends, behind an open transaction or not
    answers = [*tps[keyed], *tps[dlq]]
    ends = admin.offsets(answers, "latest")
    origins: list[tuple[TP, int]] = []
    for part in scan(settings.kafka, {tp: (starts[tp], ends[tp]) for tp in answers}):
        for headers in part.headers:
            said = label_origin(headers)
            if said is not None and said.topic_id == found[labels].topic_id:
                origins.append((TP(labels, said.partition), said.offset))
    complete = not any(admin.offsets(every, "earliest").values())
    unchecked = () if complete else (f"{labels}: retention has removed labels, or copies of them",)
    return judge_copies(read, origins, complete=complete), unchecked
