"""`streams verify`, of the monitor: read its changelog, what it read and what it published, and judge it."""

from streams.config import Settings
from streams.errors import SetupError
from streams.kafka.admin import Admin
from streams.kafka.scan import scan, scan_changes
from streams.monitor.windows import Rules
from streams.parts import read_parts
from streams.records import TP
from streams.verify.labels import LabelReport, Part, State, judge


def verify_labels(settings: Settings, rules: Rules) -> LabelReport:
    """Check that every label and result that was read is counted once, and windows are what they are said to be.

    May run beside the monitor. Everything that is known of identities is held in memory, about 500 bytes each.
    Raises: SetupError if a topic is missing, or what lies there cannot be read; Unreachable.
    """
    assert settings.labels is not None, "there are [labels]"
    admin, numbers = Admin(settings.kafka), range(settings.partitions)
    names = {settings.results: "results", settings.labels.topic: "labels"}
    logs = [TP(settings.monitor_changelog, number) for number in numbers]
    if settings.monitor_changelog not in admin.topics([settings.monitor_changelog]):
        raise SetupError(f"{settings.monitor_changelog}: no such topic. `streams topics apply` creates it.")
    states = {number: State(number) for number in numbers}
    ends, starts = admin.offsets(logs, "stable"), admin.offsets(logs, "earliest")
    for log, puts in scan_changes(settings.kafka, {tp: (starts[tp], ends[tp]) for tp in logs}):
        states[log.partition].take(puts)
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
    return judge(states.values(), read, names, parts, rules)
