"""What a cluster has, and changing it: topics, their settings, offsets. Returns values; never decides anything."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Literal, NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AclOperation,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from streams.config import Client
from streams.errors import SetupError, Unreachable
from streams.headers import topic_id_bytes
from streams.kafka.made import SOON, made
from streams.kafka.outsider import outsider
from streams.records import TP

_VISIBLE_S = 10.0
_STALE_S = 0.5
_MOVING = (
    KafkaError._NOENT,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)
"""A partition or a group has no leader at this moment: it was just created, or leadership moves. Another try helps."""


class Found(NamedTuple):
    """A topic as the cluster has it."""

    topic_id: bytes
    """16 bytes; they change when the topic is deleted and created again."""
    partitions: int
    replication: int
    """Replicas of its first partition."""
    configs: Mapping[str, str]
    """Every setting, including the defaults."""


class Cluster(NamedTuple):
    """Who answered."""

    cluster_id: str
    brokers: int
    """How many are up."""


class Admin:
    """One cluster's administration. Every call waits for its answer.

    Raises (every method): SetupError, which names the call, the broker's words, and what to do; Unreachable (which is
    one) where there was no answer.
    """

    def __init__(self, client: Client, timeout_s: float = 10.0, pending_s: float = 20.0) -> None:
        """Take the client's own keys; `pending_s` bounds the wait for pending transactions.

        A worker that died leaves its transaction open for up to 10 s, and the broker looks for such every 10 s.
        """
        self._servers = client["bootstrap.servers"]
        self._client = client
        self._timeout_s = timeout_s
        self._pending_s = pending_s
        self._outsiders: dict[str, Consumer] = {}
        self._last_error = ""
        self._refused = False
        self._admin = self._fresh()

    def cluster(self) -> Cluster:
        """Return the cluster's id and the number of brokers that are up."""
        found = self._await("describing the cluster", self._admin.describe_cluster(request_timeout=self._timeout_s))
        return Cluster(found.cluster_id or "", len(found.nodes or []))

    def topics(self, names: Iterable[str]) -> dict[str, Found]:
        """Return those of the named topics that exist."""
        wanted = sorted(set(names))
        if not wanted:
            return {}
        described = {}
        for name, future in self._admin.describe_topics(
            TopicCollection(wanted), request_timeout=self._timeout_s
        ).items():
            topic = self._await(f"describing topic {name}", future, {KafkaError.UNKNOWN_TOPIC_OR_PART})
            if topic is not None:
                described[name] = topic
        return {
            name: Found(
                topic_id_bytes(str(described[name].topic_id)),
                len(described[name].partitions),
                len(described[name].partitions[0].replicas),
                configs,
            )
            for name, configs in self._configs(described).items()
        }

    def create(self, name: str, partitions: int, replication: int, configs: Mapping[str, str]) -> None:
        """Create a topic and wait until it can be described; one that exists already is left alone."""
        topic = NewTopic(name, num_partitions=partitions, replication_factor=replication, config=dict(configs))
        futures = self._admin.create_topics([topic], request_timeout=self._timeout_s)
        self._await(f"creating topic {name}", futures[name], {KafkaError.TOPIC_ALREADY_EXISTS})
        deadline = time.monotonic() + _VISIBLE_S
        while name not in self.topics([name]):
            if time.monotonic() > deadline:
                raise SetupError(
                    f"Topic {name} was created, but no broker shows it after {_VISIBLE_S:.0f} s. Try again."
                )
            time.sleep(0.05)
        self.offsets([TP(name, partition) for partition in range(partitions)], "latest")  # every leader serves

    def alter(self, name: str, configs: Mapping[str, str]) -> None:
        """Set some of a topic's settings and leave the others as they are."""
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in configs.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        for future in self._admin.incremental_alter_configs([resource], request_timeout=self._timeout_s).values():
            self._await(f"altering topic {name}", future)

    def offsets(self, tps: Sequence[TP], which: Literal["earliest", "latest", "stable"]) -> dict[TP, int]:
        """Return each partition's log start, its end as a read_uncommitted reader sees it (open transactions count), or its
        last stable offset: where the first open transaction begins, else the end.
        """
        if not tps:
            return {}
        spec = getattr(OffsetSpec, "earliest" if which == "earliest" else "latest")()
        isolation = IsolationLevel.READ_COMMITTED if which == "stable" else IsolationLevel.READ_UNCOMMITTED
        asked = {TopicPartition(tp.topic, tp.partition): spec for tp in tps}
        offsets: dict[TP, int] = {}
        deadline = time.monotonic() + _VISIBLE_S
        stale = time.monotonic() + _STALE_S
        while asked:
            moving = _MOVING if time.monotonic() < deadline else ()
            found_by = self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=self._timeout_s)
            for tp, future in found_by.items():
                what = f"the {which} offset of {tp.topic}[{tp.partition}]"
                found = self._await(what, future, moving)
                if found is not None and found.offset >= 0:
                    offsets[TP(tp.topic, tp.partition)] = found.offset
                elif not moving:
                    # no error, and no offset (-1001): the client was answered by a leader that is none any more
                    raise Unreachable(
                        f"Kafka at {self._servers}, {what}: none was given. {self._question()} See [kafka]."
                    )
            asked = {at: spec for at in asked if (at.topic, at.partition) not in offsets}
            if asked:
                time.sleep(0.05)
            if asked and time.monotonic() > stale:
                self._admin = self._fresh()  # the old one goes on asking with the leader's epoch that it knows
                stale = time.monotonic() + _STALE_S
        return offsets

    def committed(self, group: str, tps: Sequence[TP]) -> dict[TP, int | None]:
        """Return the group's committed offsets, waiting for pending transactions; None where there is none."""
        if not tps:
            return {}
        # not the admin client's own call: librdkafka #5040, it ends the process where a coordinator moves
        if group not in self._outsiders:
            self._outsiders[group] = outsider(self._client, group)
        asked = [TopicPartition(tp.topic, tp.partition) for tp in tps]
        deadline = time.monotonic() + self._pending_s
        while True:
            try:
                found = self._outsiders[group].committed(asked, max(0.0, deadline - time.monotonic()))
            except KafkaException as error:
                if time.monotonic() < deadline and _code(error) in _MOVING:
                    time.sleep(0.05)
                    continue
                raise self._not_to_be_had(group, asked, error) from None
            wrong = [at.error for at in found if at.error is not None]
            if wrong:
                raise self._not_to_be_had(group, asked, KafkaException(wrong[0]))
            return {TP(at.topic, at.partition): at.offset if at.offset >= 0 else None for at in found}

    def _not_to_be_had(self, group: str, asked: list[TopicPartition], error: KafkaException) -> SetupError:
        text = (
            f"Kafka at {self._servers}, the committed offsets of group {group} for {asked[0].topic}: {_words(error)}."
        )
        if _unanswered(error):
            return Unreachable(
                f"{text} Is the broker up, or does a transaction hang? (kafka-transactions.sh find-hanging)"
            )
        return SetupError(f"{text}{_advice(error)}")

    def group_is_empty(self, group: str) -> bool:
        """Return whether the group has no member; a group that never was is empty."""
        answer = self._group(group)
        return answer is None or not answer.members

    def may_read(self, group: str) -> bool:
        """Return whether the broker says that this user may join the group and commit its offsets."""
        answer = self._group(group)
        return answer is None or AclOperation.READ in (answer.authorized_operations or ())

    def assigned(self, group: str) -> dict[str, frozenset[TP]]:
        """Return what each member of a group was assigned, by its instance id, or by its client id if it has none."""
        answer = self._group(group)
        return {
            member.group_instance_id or member.client_id: frozenset(
                TP(tp.topic, tp.partition) for tp in member.assignment.topic_partitions or ()
            )
            for member in (() if answer is None else answer.members)
        }

    def delete_records(self, before: Mapping[TP, int]) -> None:
        """Delete every record below the given offset of each partition."""
        if not before:
            return
        asked = [TopicPartition(tp.topic, tp.partition, offset) for tp, offset in before.items()]
        futures = self._admin.delete_records(asked, request_timeout=self._timeout_s)
        for tp, future in futures.items():
            self._await(f"deleting records of {tp.topic}[{tp.partition}]", future)

    def _group(self, group: str) -> Any:
        """Return the group's description, or None if there is no such group."""

        def ask() -> "Future[Any]":
            return self._admin.describe_consumer_groups(
                [group], include_authorized_operations=True, request_timeout=self._timeout_s
            )[group]

        return self._repeat(f"describing group {group}", ask, {KafkaError.GROUP_ID_NOT_FOUND})

    def _configs(self, names: Iterable[str]) -> dict[str, Mapping[str, str]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        if not resources:
            return {}
        futures = self._admin.describe_configs(resources, request_timeout=self._timeout_s)
        found: dict[str, Mapping[str, str]] = {}
        for resource, future in futures.items():
            # another broker may answer than the one that knew the topic, and know it later
            entries = self._await(f"the settings of topic {resource.name}", future, {KafkaError.UNKNOWN_TOPIC_OR_PART})
            if entries is not None:
                found[resource.name] = {key: entry.value or "" for key, entry in entries.items()}
        return found

    def _repeat(self, what: str, ask: "Callable[[], Future[Any]]", absent: Collection[int] = ()) -> Any:
        """Ask until it is no longer a matter of a moment; return the answer, or None as `_await` does."""
        deadline = time.monotonic() + _VISIBLE_S
        while True:
            future = ask()
            try:
                return future.result(self._timeout_s + 5.0)
            except (KafkaException, TimeoutError) as error:
                if time.monotonic() > deadline or _code(error) not in _MOVING:
                    return self._await(what, future, absent)
            time.sleep(0.05)

    def _await(self, what: str, future: "Future[Any]", absent: Collection[int] = ()) -> Any:
        """Return the future's value, or None if the broker answered with one of the codes in `absent`."""
        try:
            return future.result(self._timeout_s + 5.0)
        except (KafkaException, TimeoutError) as error:
            if _code(error) in absent:
                return None
            self._admin.poll(0)  # only this serves `error_cb`
            last = f" The client says: {self._last_error}." if self._last_error else ""
            text = f"Kafka at {self._servers}, {what}: {_words(error)}.{last}"
            if _unanswered(error):
                raise Unreachable(f"{text} {self._question()} See [kafka].") from None
            raise SetupError(f"{text}{_advice(error)}") from None

    def _fresh(self) -> AdminClient:
        return made(AdminClient, {**SOON, **self._client, "error_cb": self._remember})

    def _remember(self, error: KafkaError) -> None:
        self._last_error = error.str()
        self._refused = self._refused or error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL)

    def _question(self) -> str:
        if self._refused:
            return "It refuses this client's credentials or certificates (or the client the broker's)."
        if "security.protocol" not in self._client:
            return "Is the broker running, and reachable at this address? If it asks for TLS or a login, set security.protocol."
        return "Is the broker running, and reachable at this address?"


def _code(error: BaseException | None) -> int | None:
    return error.args[0].code() if isinstance(error, KafkaException) else None


def _words(error: Exception) -> str:
    if isinstance(error, KafkaException) and error.args and isinstance(error.args[0], KafkaError):
        return f"{error.args[0].str()} ({error.args[0].name()})"
    return str(error) or type(error).__name__


def _unanswered(error: Exception) -> bool:
    """Whether the broker did not answer, or says that another try may help."""
    if not isinstance(error, KafkaException):
        return True
    cause = error.args[0]
    return bool(cause.name().startswith("_") or cause.retriable() or cause.code() in _MOVING)


def _advice(error: Exception) -> str:
    if isinstance(error, KafkaException) and "AUTHORIZATION" in error.args[0].name():
        return " Allow this user to do it, or use another in [kafka]."
    return ""
