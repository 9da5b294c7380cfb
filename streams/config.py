"""One settings tree, read once, in layers: defaults < TOML file < environment < flags; checked before anything is started.

Unknown keys are refused; client keys pass through, except those that the guarantee owns, which are refused by name.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from streams import layers
from streams.complaints import complaints
from streams.durations import HOUR_MS
from streams.errors import ConfigError
from streams.layers import Elsewhere, Given, Layer
from streams.masking import Keys

Client = dict[str, str | int | float | bool]
"""A client's own dotted keys and their values."""

OWNED: dict[str, str] = {
    "acks": "an answer counts only when all in-sync replicas have it",
    "batch.size": "it follows from the topics' max.message.bytes",
    "auto.offset.reset": "a missing offset must stop the worker, never skip or repeat requests",
    "enable.auto.commit": "offsets are committed inside the transaction",
    "enable.auto.offset.store": "offsets are committed inside the transaction",
    "delivery.report.only.error": "the frames' offsets are the state's checkpoints",
    "enable.idempotence": "transactions need it",
    "enable.partition.eof": "the source reads records only",
    "group.id": "it is `<app.id>.scorer`",
    "group.instance.id": "it is the slot's name; see --instance",
    "isolation.level": "aborted requests must not be answered",
    "heartbeat.interval.ms": "see limits.session_ms",
    "message.max.bytes": "it follows from the topics' max.message.bytes",
    "metadata.broker.list": "write it as bootstrap.servers",
    "queued.max.messages.kbytes": "see limits.queue_kbytes",
    "request.required.acks": "an answer counts only when all in-sync replicas have it",
    "group.remote.assignor": "partition i of every lane must land on one worker",
    "partition.assignment.strategy": "partition i of every lane must land on one worker",
    "retry.backoff.max.ms": "a commit that took longer than a retry is how a late request is noticed",
    "retry.backoff.ms": "a commit that took longer than a retry is how a late request is noticed",
    "session.timeout.ms": "see limits.session_ms",
    "max.poll.interval.ms": "see limits.max_poll_ms",
    "transaction.timeout.ms": "see limits.transaction_ms",
    "transactional.id": "it is the slot's name; see --instance",
}
"""Client keys that the guarantee owns, and why."""
OBJECTS = "it is an object of the client's, which a file cannot hold"
HOURS_MAX = 10_000_000
"""More than a thousand years: what is longer is a slip."""
Hours = Annotated[float, Field(ge=0.0001, le=HOURS_MAX)]


class Section(BaseModel):
    """A table of the file: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class App(Section):
    """`[app]`: the application's id, which every topic, group and transactional id starts with, and its state."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    state_dir: Path


class Requests(Section):
    """`[[requests]]`: one input topic (a lane), and the subject its schemas are registered under."""

    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
    contract: Path
    """The newest contract of the lane: what `schemas check` and `schemas register` work on."""
    subject: str = ""
    """Default: `<topic>-value` (TopicNameStrategy)."""
    partitions: Annotated[int, Field(ge=1, le=10_000)] = 4
    retention_hours: Hours = 7 * 24

    @property
    def lane_subject(self) -> str:
        """The registry subject of the lane's values."""
        return self.subject or f"{self.topic}-value"


class Labels(Section):
    """`[labels]`: the topic of what came true; without it there is nothing to monitor."""

    topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
    contract: Path
    """The newest contract of the labels."""
    subject: str = ""
    """Default: `<topic>-value` (TopicNameStrategy)."""
    field: str = ""
    """The contract's field that says what came true. Default: `[label] field` of the model's manifest."""
    horizon_hours: Hours | None = None
    """How long after its event a label counts. Default: `[label] horizon_hours` of the model's manifest."""
    absence_means: str = ""
    """`unknown`, or the class that no label within the horizon stands for. Default: the manifest's."""
    retention_hours: Hours = 7 * 24
    rekey: bool = False
    """Labels are not keyed and partitioned like requests: `monitor run` copies them, exactly once, to a topic that is."""

    @property
    def label_subject(self) -> str:
        """The registry subject of the labels' values."""
        return self.subject or f"{self.topic}-value"


class Monitor(Section):
    """`[monitor]`: how predictions are counted."""

    grain_hours: Hours = 1
    """How long the finest windows are; longer ones are sums of them."""
    retention_hours: Hours | None = None
    """How long after its end a window is revised, by the broker's clock; then its state is freed, and older predictions are
    only counted as such. Default: for ever."""
    port: Annotated[int, Field(ge=1, le=65_280)] | None = None
    """Like `[metrics] port`, of the monitor's workers."""
    plausible_past_hours: Annotated[float, Field(ge=0, le=HOURS_MAX)] = 30 * 24
    """A request's event may be so much older than its append time; what is older still is counted apart, in no window."""
    plausible_future_hours: Annotated[float, Field(ge=0, le=HOURS_MAX)] = 1
    """And so much younger."""
    drift_hours: Hours | None = None
    """How long the windows are that are compared with training. Default: as long as the blocks of the model's reference."""
    false_ticket_windows: Annotated[float, Field(ge=10, allow_inf_nan=False)] = 1_000
    """How many windows there are, in the mean, until a model version gets a ticket although nothing is wrong."""

    @property
    def grain_ms(self) -> int:
        """The length of the finest windows in milliseconds."""
        return int(self.grain_hours * HOUR_MS)

    @property
    def drift_ms(self) -> int | None:
        """The length of the windows that are compared with training, in milliseconds; None: that of the reference's blocks."""
        return None if self.drift_hours is None else int(self.drift_hours * HOUR_MS)


class Model(Section):
    """`[model]`: the store of packages, and which one answers."""

    store: str
    name: str
    version: str


class Dedupe(Section):
    """`[dedupe]`: for how long an identity is remembered, and how large a remembered answer may be."""

    window_hours: Hours = 7 * 24
    answer_bytes: Annotated[int, Field(ge=0, le=65_536)] = 1024

    @property
    def window_ms(self) -> int:
        """The window in milliseconds of broker append time."""
        return int(self.window_hours * HOUR_MS)


class BatchLimits(Section):
    """`[batch]`: when a batch closes: by count, or by age."""

    records: Annotated[int, Field(ge=1, le=100_000)] = 20_000
    age_ms: Annotated[int, Field(ge=1, le=1_000)] = 10


class Limits(Section):
    """`[limits]`: bounds on time and size."""

    session_ms: Annotated[int, Field(ge=1_000, le=60_000)] = 6_000
    transaction_ms: Annotated[int, Field(ge=2_000, le=10_000)] = 10_000
    max_poll_ms: Annotated[int, Field(ge=5_000, le=300_000)] = 30_000
    turn_ms: Annotated[int, Field(ge=1_000, le=300_000)] = 25_000
    """The watchdog: a turn of the loop that takes longer ends the process."""
    slow_commit_ms: Annotated[int, Field(ge=1, le=75)] = 75
    """A commit answered later than this may have been retried by the client, which waits 80 ms at least: the producer is
    renewed before the next."""
    key_bytes: Annotated[int, Field(ge=1, le=4_096)] = 512
    """The longest record key, request id and tenant."""
    schema_nodes: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    queue_kbytes: Annotated[int, Field(ge=1_024)] = 32_768
    """The most the consumer prefetches, in KiB."""

    @model_validator(mode="after")
    def _ordered(self) -> "Limits":
        if self.session_ms > self.max_poll_ms:
            raise ValueError(
                f"session_ms ({self.session_ms}) must not be above max_poll_ms ({self.max_poll_ms}): the client refuses that"
            )
        if not self.turn_ms < self.max_poll_ms:
            raise ValueError(
                f"turn_ms ({self.turn_ms}) must be below max_poll_ms ({self.max_poll_ms}): "
                "the watchdog must act before the group evicts the worker"
            )
        return self


class Metrics(Section):
    """`[metrics]`: where each worker serves `/metrics`, `/livez` and `/readyz`; without a port, nowhere."""

    host: str = "127.0.0.1"
    """The address to listen on; `0.0.0.0` or `::` for probes and scrapers from elsewhere."""
    port: Annotated[int, Field(ge=1, le=65_280)] | None = None
    """Of the first worker; each of the others takes the next."""


class Settings(Section):
    """The whole configuration."""

    app: App
    kafka: Annotated[Client, AfterValidator(Keys)]
    schema_registry: Annotated[Client, AfterValidator(Keys)]
    requests: Annotated[tuple[Requests, ...], Field(min_length=1)]
    model: Model
    dedupe: Dedupe = Dedupe()
    batch: BatchLimits = BatchLimits()
    limits: Limits = Limits()
    metrics: Metrics = Metrics()
    labels: Labels | None = None
    monitor: Monitor = Monitor()

    @field_validator("kafka")
    @classmethod
    def _not_owned(cls, value: Client) -> Client:
        for key in value:
            why = OBJECTS if key.endswith("_cb") or key in ("logger", "default.topic.config") else OWNED.get(key)
            if why:
                raise PydanticCustomError("owned", "`{key}` is not yours to set: {why}", {"key": key, "why": why})
        if value.get("group.protocol", "classic") not in ("classic", "consumer"):
            raise ValueError('`"group.protocol"` is "classic" or "consumer"')
        if "bootstrap.servers" not in value:
            raise ValueError('`"bootstrap.servers"` is missing, for example "127.0.0.1:19092"')
        return value

    @field_validator("schema_registry")
    @classmethod
    def _has_url(cls, value: Client) -> Client:
        if "url" not in value:
            raise ValueError("`url` is missing, for example http://127.0.0.1:18081/apis/ccompat/v7")
        return value

    @model_validator(mode="after")
    def _lanes_agree(self) -> "Settings":
        topics = [lane.topic for lane in self.requests]
        if len(set(topics)) != len(topics):
            raise ValueError("two [[requests]] name the same topic")
        if len({lane.partitions for lane in self.requests}) != 1:
            raise ValueError(
                "all [[requests]] need the same number of partitions: partition i of every lane shares one store"
            )
        given = topics if self.labels is None else [*topics, self.labels.topic]
        own = {self.results, self.outcomes, self.changelog, self.features, self.parts, self.tickets}
        own |= {self.monitor_changelog, self.labels_keyed, self.rekey_changelog}
        own |= {self.dlq(topic) for topic in (*given, self.labels_keyed)}
        for topic in topics:
            if topic in own:
                raise ValueError(f"[[requests]] topic {topic} is one of the application's own topics")
        if self.labels is not None and self.labels.topic in {*own, *topics}:
            raise ValueError(f"[labels] topic {self.labels.topic} is one of the application's other topics")
        return self

    @property
    def results(self) -> str:
        """The topic of predictions."""
        return f"{self.app.id}.results"

    @property
    def outcomes(self) -> str:
        """The topic of everything that got no new prediction."""
        return f"{self.app.id}.outcomes"

    @property
    def changelog(self) -> str:
        """The changelog of the dedupe store."""
        return f"{self.app.id}.dedupe.changelog"

    @property
    def parts(self) -> str:
        """The topic that windows of predictions and labels are published to."""
        return f"{self.app.id}.performance.parts"

    @property
    def features(self) -> str:
        """The topic that says what the model saw."""
        return f"{self.app.id}.features"

    @property
    def tickets(self) -> str:
        """The topic of tickets."""
        return f"{self.app.id}.tickets"

    @property
    def monitor_changelog(self) -> str:
        """The changelog of the monitor's state."""
        return f"{self.app.id}.monitor.changelog"

    @property
    def labels_keyed(self) -> str:
        """The topic of labels that are keyed by request, where their senders do not key them so."""
        return f"{self.app.id}.labels.keyed"

    @property
    def labels_read(self) -> str:
        """The topic of labels that the monitor reads; empty where there are none."""
        if self.labels is None:
            return ""
        return self.labels_keyed if self.labels.rekey else self.labels.topic

    @property
    def rekey_changelog(self) -> str:
        """The changelog that says how far labels were copied."""
        return f"{self.app.id}.rekey.changelog"

    @property
    def group(self) -> str:
        """The scorer's consumer group."""
        return f"{self.app.id}.scorer"

    @property
    def monitor_group(self) -> str:
        """The monitor's consumer group."""
        return f"{self.app.id}.monitor"

    @property
    def rekey_group(self) -> str:
        """The consumer group of those that copy labels."""
        return f"{self.app.id}.rekey"

    @property
    def partitions(self) -> int:
        """The number of partitions of every topic that is keyed by request."""
        return self.requests[0].partitions

    def dlq(self, topic: str) -> str:
        """Return the dead-letter topic of a lane."""
        return f"{topic}.dlq"


CLIENTS = ("kafka", "schema_registry")
"""The sections whose keys are a client's own."""
LISTS = ("requests",)
"""The sections that are lists of tables."""


class Effective(NamedTuple):
    """The settings, and what the layers gave; what they did not give is a default."""

    settings: Settings
    given: Layer


def load(path: Path, flags: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of a TOML file, with the environment and the flags over it.

    Relative paths are taken from the file's folder, whichever layer gave them. `flags`: `section.key=value`.
    Raises: ConfigError that names the file, variable or flag, the key, and what is wrong with it; values of secrets are
    never shown.
    """
    return effective(path, flags, environment).settings


def effective(path: Path, flags: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> Effective:
    """Return the settings and where each was given; see `load`."""
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file. `streams init APP` writes a whole application to start from"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    base = path.resolve().parent
    given = {
        section: {key: _read(f"[{section}] {key}", one, base, environment) for key, one in table.items()}
        for section, table in _layered(tree, environment, flags or ()).items()
    }
    values = {section: {key: one.value for key, one in table.items()} for section, table in given.items()}
    values |= {section: value for section, value in tree.items() if not isinstance(value, dict)}
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        found = complaints(error, Settings, origin=lambda at: _origin(given, at))
        lines = "".join(f"\n  {complaint}" for complaint in found)
        raise ConfigError(f"{path} is not a valid configuration:{lines}") from None
    return Effective(_anchored(settings, base), given)


def _layered(tree: Mapping[str, Any], environment: Mapping[str, str], flags: Sequence[str]) -> Layer:
    """Return what file, environment and flags give together, except for what is no table. Raises: ConfigError."""
    over = layers.merged([layers.of_environment(environment, CLIENTS), layers.of_flags(flags, CLIENTS)])
    for section in LISTS:
        for one in over.get(section, {}).values():
            raise ConfigError(f"{one.source}: [[{section}]] is a list of tables, which only the file can give")
    return layers.merged([layers.of_file(tree, CLIENTS), over])


def _read(key: str, given: Given, base: Path, environment: Mapping[str, str]) -> Given:
    """Return the value itself where it was given as a file's or a variable's name. Raises: ConfigError."""
    if not isinstance(given.value, Elsewhere):
        return given
    kind, where = given.value
    try:
        value = environment.get(where, "") if kind == "env" else (base / where).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        raise ConfigError(f"{key} is to be read from the file {base / where} ({given.source}): {why}") from None
    value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        what = f"the variable {where}" if kind == "env" else f"the file {base / where}"
        raise ConfigError(f"{key} is to be read from {what} ({given.source}), and there is nothing in it")
    return Given(value, f"env {where}" if kind == "env" else f"file {base / where}", secret=True)


def _origin(given: Layer, at: tuple[int | str, ...]) -> str:
    """Return, for a complaint about a place, which variable or flag gave it; nothing where it was the file."""
    section, *keys = map(str, at) if at else ("",)
    table = given.get(section, {})
    if not keys and section not in Settings.model_fields:
        found = {one.source for one in table.values()}
    else:
        found = {table[".".join(keys)].source} if ".".join(keys) in table else set()
    sources = ", ".join(sorted(found - {layers.FILE}))
    return f" ({sources})" if sources else ""


def _located(keys: Client, base: Path) -> Client:
    """Return a client's keys; a path that is relative is the file's own if it is there, else the client's to understand."""
    return Keys(
        {
            key: str(base / value)
            if key.endswith(".location") and isinstance(value, str) and value and os.path.exists(base / value)
            else value
            for key, value in keys.items()
        }
    )


def _anchored(settings: Settings, base: Path) -> Settings:
    app = settings.app.model_copy(update={"state_dir": base / settings.app.state_dir})
    lanes = tuple(lane.model_copy(update={"contract": base / lane.contract}) for lane in settings.requests)
    labels = settings.labels
    if labels is not None:
        labels = labels.model_copy(update={"contract": base / labels.contract})
    store = settings.model.store
    if store.startswith("file:") and not store.startswith("file:///"):
        store = (base / store.removeprefix("file:").removeprefix("//")).resolve().as_uri()
    return settings.model_copy(
        update={
            "app": app,
            "kafka": _located(settings.kafka, base),
            "schema_registry": _located(settings.schema_registry, base),
            "requests": lanes,
            "labels": labels,
            "model": settings.model.model_copy(update={"store": store}),
        }
    )
