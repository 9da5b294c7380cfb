"""`streams topics plan` and `apply`: the application's topics as code, and what about them would break the guarantee."""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from streams.beginning import Reads, begin_where_nothing_began, monitor, scorer, unbegun
from streams.config import Settings
from streams.durations import DAY_MS, HOUR_MS
from streams.errors import SetupError
from streams.kafka.admin import Admin, Found
from streams.reasons import Reason
from streams.records import TP
from streams.registering import product_ids

MESSAGE_BYTES = 1_048_588
"""The broker's default for the largest record batch of a topic."""
DEAD_LETTER_ROOM = 64 * 1024
"""What a dead letter's headers may add to its request."""
FOREVER = -1


class Rule(NamedTuple):
    """One setting that a topic should have."""

    key: str
    value: str
    at_least: bool = False
    """More is as good; -1 means for ever, or without a limit."""
    breaks: str = ""
    """What breaks without it; then the scorer refuses to run. Empty: a wish."""

    def holds(self, found: str) -> bool:
        """Return whether the setting found is as good as the rule's."""
        if not self.at_least or self.value == found:
            return self.value == found
        return int(found) == FOREVER or (int(self.value) != FOREVER and int(found) >= int(self.value))


class Topic(NamedTuple):
    """A topic as the application wants it."""

    name: str
    partitions: int
    replication: int
    rules: tuple[Rule, ...]
    cut_like: str = ""
    """The topic, of somebody else, that it has as many partitions as."""


class Lane(NamedTuple):
    """What the application's other topics must match: how long requests are kept, and how large they may be."""

    retention_ms: int
    message_bytes: int


class Change(NamedTuple):
    """One step of a plan. A contradiction is no step: it cannot be altered, and the text says what to do."""

    kind: Literal["create", "alter", "contradiction"]
    topic: str
    text: str
    configs: Mapping[str, str]
    partitions: int = 0
    replication: int = 0


class Plan(NamedTuple):
    """What `apply` would do, and what stands against it."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def contradictions(self) -> list[str]:
        """What cannot be altered."""
        return [f"{change.topic}: {change.text}" for change in self.changes if change.kind == "contradiction"]

    def lines(self) -> list[str]:
        """Return the plan for people."""
        steps = [f"{change.kind:13} {change.topic}  {change.text}" for change in self.changes]
        return [*(steps or ["The topics are as they should be."]), *(f"note          {note}" for note in self.notes)]


def scorer_names(settings: Settings) -> list[str]:
    """Return every topic that the scorer needs: the application's, and where there is a monitor what says what models saw."""
    return [*names(settings), *([] if settings.labels is None else [settings.features])]


def names(settings: Settings) -> list[str]:
    """Return every topic of the application, request topics included."""
    lanes = [lane.topic for lane in settings.requests]
    return [*lanes, *map(settings.dlq, lanes), settings.results, settings.outcomes, settings.changelog]


def monitor_names(settings: Settings) -> list[str]:
    """Return the topics that only the monitor needs; none where there are no labels."""
    if settings.labels is None:
        return []
    labels = settings.labels.topic
    keyed = settings.labels_keyed
    rekeyed = [keyed, settings.dlq(keyed), settings.rekey_changelog] if settings.labels.rekey else []
    ours = [settings.features, settings.parts, settings.tickets, settings.monitor_changelog]
    return [labels, settings.dlq(labels), *rekeyed, *ours]


def wanted_by_monitor(settings: Settings, replication: int, found: Mapping[str, Found]) -> list[Topic]:
    """Return the topics that only the monitor needs, as they should be; labels that are keyed anew may be cut in any way."""
    if settings.labels is None:
        return []
    retention_ms = int(settings.labels.retention_hours * HOUR_MS)

    def topic(name: str, *rules: Rule, cut_like: str = "") -> Topic:
        partitions = found[cut_like].partitions if cut_like in found else settings.partitions
        return Topic(name, partitions, replication, (*rules, *_COMMON, _insync(replication)), cut_like)

    compacted = Rule("cleanup.policy", "compact", breaks="the last word on each window and each ticket must stay")
    labels, kept = settings.labels.topic, Rule("retention.ms", str(retention_ms), at_least=True)
    unclean = next(rule for rule in _COMMON if rule.key == "unclean.leader.election.enable")
    room = Rule("max.message.bytes", str(message_bytes(found.get(labels)) + DEAD_LETTER_ROOM), at_least=True)
    theirs, rekeyed = "", list[Topic]()
    if settings.labels.rekey:
        theirs = labels
        kept_ms = int(found[labels].configs["retention.ms"]) if labels in found else retention_ms
        known = _longest([retention_ms, kept_ms])
        unread = Rule(
            "retention.ms",
            str(known if known == FOREVER else known + DAY_MS),
            at_least=True,
            breaks="how far labels were copied would be forgotten before they are gone, and they would be copied again",
        )
        rekeyed = [
            topic(settings.labels_keyed, _APPENDED, kept, room),
            topic(settings.dlq(settings.labels_keyed), kept, room),
            topic(settings.rekey_changelog, unread, Rule("retention.bytes", "-1"), cut_like=theirs),
        ]
    return [
        topic(labels, _LABELLED, kept, cut_like=theirs),
        topic(settings.dlq(labels), kept, room, cut_like=theirs),
        *rekeyed,
        topic(settings.features, _APPENDED, kept),
        Topic(settings.parts, settings.partitions, replication, (compacted, unclean, _insync(replication))),
        Topic(settings.tickets, 1, replication, (compacted, unclean, _insync(replication))),
        topic(settings.monitor_changelog, _APPENDED, *_kept(settings, retention_ms)),
    ]


def _kept(settings: Settings, labels_ms: int) -> tuple[Rule, ...]:
    """Return the rules of the monitor's changelog: what is known of an identity must outlive its window, and what is not read
    yet when that is sealed.
    """
    hours, broken = settings.monitor.retention_hours, "what is known of predictions would be forgotten"
    unread_ms = max(labels_ms, *(int(lane.retention_hours * HOUR_MS) for lane in settings.requests))
    enough = FOREVER if hours is None else int((hours + settings.monitor.grain_hours + 72) * HOUR_MS) + unread_ms
    return (
        Rule("retention.ms", str(enough), at_least=True, breaks=broken),
        Rule("retention.bytes", "-1", breaks=broken),
    )


def wanted(settings: Settings, replication: int, lanes: Mapping[str, Lane]) -> list[Topic]:
    """Return every topic as it should be; `lanes` says what is (or will be) true of each request topic."""
    longest = _longest(lane.retention_ms for lane in lanes.values())

    def topic(name: str, *rules: Rule) -> Topic:
        return Topic(name, settings.partitions, replication, (*_COMMON, *rules, _insync(replication)))

    kept = (
        Rule("message.timestamp.type", "LogAppendTime"),
        Rule("retention.ms", str(longest), at_least=True),
        Rule("retention.bytes", "-1"),
    )
    topics = []
    for lane in settings.requests:
        topics.append(topic(lane.topic, _APPENDED, Rule("retention.ms", str(int(lane.retention_hours * HOUR_MS)))))
        room = lanes[lane.topic].message_bytes + DEAD_LETTER_ROOM
        topics.append(topic(settings.dlq(lane.topic), *kept, Rule("max.message.bytes", str(room), at_least=True)))
    topics += [topic(settings.results, *kept), topic(settings.outcomes, *kept)]
    return [*topics, topic(settings.changelog, _APPENDED, *_remembered(settings.dedupe.window_ms, longest))]


def plan(topics: list[Topic], found: Mapping[str, Found]) -> Plan:
    """Return the steps from what was found to what is wanted."""
    changes: list[Change] = []
    early: list[str] = []
    begun = _begun(topics, found)
    for topic in topics:
        have = found.get(topic.name)
        if have is None:
            configs = {rule.key: rule.value for rule in topic.rules}
            text = f"partitions={topic.partitions} replication={topic.replication} {_listed(configs)}"
            changes.append(Change("create", topic.name, text, configs, topic.partitions, topic.replication))
            continue
        if have.partitions != topic.partitions:
            changes.append(Change("contradiction", topic.name, _otherwise_cut(topic, have, begun), {}))
        broken = {rule.key: rule for rule in _rules(topic, have) if not rule.holds(have.configs.get(rule.key, ""))}
        if broken:
            text = ", ".join(f"{key}: {have.configs.get(key)} -> {rule.value}" for key, rule in broken.items())
            changes.append(Change("alter", topic.name, text, {key: rule.value for key, rule in broken.items()}))
        if not begun and _APPENDED in broken.values():
            early.append(
                f"what {topic.name} holds already has its senders' time stamps; any request there will be refused "
                f"({Reason.NO_APPEND_TIME.name}): send it again after `apply`, or pass it over with `apply --from-end`"
            )
    return Plan(tuple(changes), (*early, *_notes(topics, found)))


def contradictions(settings: Settings, found: Mapping[str, Found]) -> list[str]:
    """Return which settings of which topics break the guarantee, and how; the scorer must not run with any."""
    return _contradictions(wanted(settings, 1, _as_they_are(settings, found)), found)


def monitor_contradictions(settings: Settings, found: Mapping[str, Found]) -> list[str]:
    """Return the same of the topics that only the monitor needs."""
    return _contradictions(wanted_by_monitor(settings, 1, found), found)


def counting_contradictions(settings: Settings, found: Mapping[str, Found]) -> list[str]:
    """Return the same of the topic that scorers say on what models saw; nothing where nobody counts."""
    every = wanted_by_monitor(settings, 1, found)
    return _contradictions([topic for topic in every if topic.name == settings.features], found)


def _contradictions(topics: list[Topic], found: Mapping[str, Found]) -> list[str]:
    complaints = []
    for topic in topics:
        have = found.get(topic.name)
        if have is None:
            complaints.append(f"{topic.name} does not exist")
            continue
        if have.partitions != topic.partitions:
            complaints.append(f"{topic.name}: {_otherwise_cut(topic, have, _begun(topics, found))}")
        complaints += [
            f"{topic.name}: {rule.key} is {have.configs.get(rule.key)} and must be {_least(rule)}: {rule.breaks}"
            for rule in topic.rules
            if rule.breaks and not rule.holds(have.configs.get(rule.key, ""))
        ]
    return complaints


def agreed(complaints: list[str]) -> None:
    """Raises: SetupError if there are contradictions: workers must not run."""
    if complaints:
        raise SetupError(
            "the topics contradict the guarantee:\n"
            + "\n".join(f"  {line}" for line in complaints)
            + "\n`streams topics plan` shows the whole plan, `streams topics apply` does it"
        )


def warnings(settings: Settings, found: Mapping[str, Found]) -> list[str]:
    """Return which settings are not as they should be without breaking the guarantee."""
    topics = wanted(settings, 1, _as_they_are(settings, found))
    complaints = [
        f"{topic.name}: {rule.key} is {have.configs.get(rule.key)} and should be {_least(rule)}"
        for topic in topics
        if (have := found.get(topic.name)) is not None
        for rule in _rules(topic, have)
        if not rule.breaks and not rule.holds(have.configs.get(rule.key, ""))
    ]
    return complaints + _notes([topic for topic in topics if topic.name in found], found)


def current_plan(settings: Settings) -> Plan:
    """Ask the cluster, and return what `apply` would do. Raises: SetupError."""
    admin = Admin(settings.kafka)
    found = admin.topics([*names(settings), *monitor_names(settings)])
    planned = _planned(settings, admin, found)
    missing = [tp for reads in _groups(settings) for tp in unbegun(reads, admin, found)]
    if missing:
        note = f"partitions without a first offset: {len(missing)}; each gets one, requests with a START record"
        planned = planned._replace(notes=(*planned.notes, note))
    return planned


def apply(settings: Settings, *, from_end: bool = False) -> list[str]:
    """Create and alter topics, then set the first offsets where nothing began yet; return what was done.

    Idempotent. `from_end`: begin behind what the request topics hold now, instead of at their beginning.
    Raises: SetupError: a contradiction (nothing was changed then), or the broker refuses a step; OffsetsError.
    """
    admin, every = Admin(settings.kafka), [*names(settings), *monitor_names(settings)]
    planned = _planned(settings, admin, admin.topics(every))
    if planned.contradictions:
        raise SetupError("Nothing was changed:\n" + "\n".join(f"  {line}" for line in planned.contradictions))
    if any(change.kind == "create" for change in planned.changes):
        product_ids(settings)  # the first offsets will need them: nothing is begun that could not be finished
    for change in planned.changes:
        if change.kind == "create":
            admin.create(change.topic, change.partitions, change.replication, change.configs)
        else:
            admin.alter(change.topic, change.configs)
    found, began = admin.topics(every), dict[TP, int]()
    for reads in _groups(settings):
        began |= begin_where_nothing_began(settings, reads, admin, found, from_end=from_end)
    return [*planned.lines(), *(f"begin         {tp} at offset {offset}" for tp, offset in sorted(began.items()))]


def _groups(settings: Settings) -> list[Reads]:
    return [scorer(settings), *monitor(settings)]


_COMMON = (
    Rule("cleanup.policy", "delete", breaks="compaction removes records by key, answered or not"),
    Rule("unclean.leader.election.enable", "false", breaks="an unclean leader forgets what was acknowledged"),
)
_APPENDED = Rule(
    "message.timestamp.type", "LogAppendTime", breaks="the dedupe window is measured in the broker's append times"
)
_LABELLED = Rule(
    "message.timestamp.type", "LogAppendTime", breaks="a label without a time of its own is dated by the broker"
)


def _remembered(window_ms: int, longest_ms: int) -> tuple[Rule, ...]:
    """Return the changelog's rules: an entry must outlive every request that it may have to answer.

    Such a request is appended up to a window after the first one, and may lie unread for as long as it is kept.
    """
    segment_ms = min(DAY_MS, max(HOUR_MS // 6, window_ms // 8))
    enough = FOREVER if longest_ms == FOREVER else window_ms + longest_ms
    plenty = FOREVER if longest_ms == FOREVER else enough + segment_ms
    broken = "an answer would be forgotten before its window is over, and given a second time"
    return (
        Rule("retention.ms", str(enough), at_least=True, breaks=broken),
        Rule("retention.ms", str(plenty), at_least=True),
        Rule("retention.bytes", "-1", breaks=broken),
        Rule("segment.ms", str(segment_ms)),
    )


def _insync(replication: int) -> Rule:
    return Rule("min.insync.replicas", "2" if replication >= 3 else "1", at_least=True)


def _rules(topic: Topic, have: Found) -> list[Rule]:
    """Return the rules for the topic as it exists: how many replicas must be in sync depends on how many there are."""
    return [_insync(have.replication) if rule.key == "min.insync.replicas" else rule for rule in topic.rules]


def _planned(settings: Settings, admin: Admin, found: Mapping[str, Found]) -> Plan:
    replication = 3 if admin.cluster().brokers >= 3 else 1
    lanes = {
        lane.topic: Lane(int(lane.retention_hours * HOUR_MS), message_bytes(found.get(lane.topic)))
        for lane in settings.requests
    }
    return plan([*wanted_by_monitor(settings, replication, found), *wanted(settings, replication, lanes)], found)


def _as_they_are(settings: Settings, found: Mapping[str, Found]) -> dict[str, Lane]:
    lanes = {}
    for lane in settings.requests:
        have = found.get(lane.topic)
        planned = str(int(lane.retention_hours * HOUR_MS))
        retention = planned if have is None else have.configs.get("retention.ms", planned)
        lanes[lane.topic] = Lane(int(retention), message_bytes(have))
    return lanes


def message_bytes(found: Found | None) -> int:
    """Return the largest record that a topic takes; of one that does not exist yet, what the broker's default is."""
    return MESSAGE_BYTES if found is None else int(found.configs.get("max.message.bytes", MESSAGE_BYTES))


def _longest(retentions: Iterable[int]) -> int:
    known = list(retentions)
    return FOREVER if FOREVER in known else max(known)


def _notes(topics: list[Topic], found: Mapping[str, Found]) -> list[str]:
    replications = [found[topic.name].replication if topic.name in found else topic.replication for topic in topics]
    alone = sum(replication < 3 for replication in replications)
    if not alone:
        return []
    return [
        f"{alone} of {len(topics)} topics have fewer than 3 replicas: a broker that is lost for good takes answers along, and one "
        "of Kafka 4.3 or 4.4 that is killed may tear a transaction (KAFKA-20734)"
    ]


def _begun(topics: list[Topic], found: Mapping[str, Found]) -> bool:
    """Return whether anything can have been answered: there is a changelog, which `wanted` puts last."""
    return topics[-1].name in found


def _otherwise_cut(topic: Topic, have: Found, begun: bool) -> str:
    """Say what to do about a number of partitions that is not the configuration's."""
    there = f"it has {have.partitions} {'partition' if have.partitions == 1 else 'partitions'}"
    said = f"{there}, the configuration says {topic.partitions}."
    if _LABELLED in topic.rules:
        return f"{said} Labels must lie where their predictions do; where they do not, set [labels] rekey = true"
    if topic.cut_like:
        return (
            f"{said} It is cut like {topic.cut_like}: kafka-topics.sh --alter --topic {topic.name} --partitions "
            f"{topic.partitions}, then `streams topics apply`"
        )
    if begun:
        return (
            f"{said} Partition counts are frozen with the changelog: state would not move with its requests. "
            f"Set partitions = {have.partitions}, or begin a new application id with new topics"
        )
    return (
        f"{said} A broker with auto.create.topics.enable makes a topic, with its own defaults, for the first client that "
        "names it, and one came before `apply`. There is no changelog, so nothing was answered yet: stop that client, delete "
        f"the topic (kafka-topics.sh --delete --topic {topic.name}), apply, and let it send again; or set "
        f"partitions = {have.partitions}"
    )


def _least(rule: Rule) -> str:
    return f"at least {rule.value}" if rule.at_least else rule.value


def _listed(configs: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in configs.items())
