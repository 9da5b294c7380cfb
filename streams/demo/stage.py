"""Everything that the demo needs before the first request is sent: application, model, contracts, topics, traffic."""

import shutil
from calendar import month_name
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from streams import schemas_dir, topics
from streams.avro.encode import encode_one
from streams.avro.registry import framed
from streams.avro.schema import parse
from streams.config import Settings, load
from streams.demo import data, traffic
from streams.demo.traffic import Traffic
from streams.demo.train import NAME, VERSION, train
from streams.kafka.partitioner import partition_of
from streams.models.packages import load as load_model
from streams.models.packages import register as register_model
from streams.models.store import open_store
from streams.records import TP
from streams.registering import register

APP = "flights"
TOPIC = f"{APP}.requests.live"
PARTITIONS = 4
LABELS = f"{APP}.labels"
CONTRACT, LABEL_CONTRACT = "request.v1.avsc", "label.v1.avsc"
CONFIG = "flights.toml"
MARCH = range(3, 4)

Step = Callable[[str, str], None]
"""Told that a step is done: its name, and what came of it."""


class Stage(NamedTuple):
    """What is ready for the play."""

    config: Path
    settings: Settings
    traffic: Traffic
    flights: pl.DataFrame
    """The flights that are asked about."""
    label_schema: Mapping[str, Any]
    label_prefix: bytes
    """What the value of every label begins with."""

    @property
    def sources(self) -> list[TP]:
        """The partitions that the requests go to."""
        return [TP(TOPIC, partition) for partition in range(PARTITIONS)]

    @property
    def answers(self) -> list[TP]:
        """The partitions that the answers come from."""
        names = (self.settings.results, self.settings.outcomes, self.settings.dlq(TOPIC))
        return [TP(name, partition) for name in names for partition in range(PARTITIONS)]


def prepare(
    home: Path, bootstrap: str, registry_url: str, seed: int, months: range, flights: int | None, done: Step
) -> Stage:
    """Set the application up in a folder, on a running broker and registry, with the commands' own functions.

    `flights`: send only so many of these months' first flights. Takes about six seconds. Raises: Stop.
    """
    contract_file = home / CONTRACT
    for name in (CONTRACT, LABEL_CONTRACT):
        shutil.copyfile(schemas_dir() / "flights" / name, home / name)
    config = home / CONFIG
    config.write_text(_toml(bootstrap, registry_url), "utf-8")
    settings = load(config)

    trained = train(contract_file, home / "package")
    store = open_store(settings.model.store)
    register_model(trained.folder, store)
    done(
        "model",
        f"LightGBM on {trained.rows:,} flights of January and February; AUC {trained.auc:.3f} on the "
        f"{trained.held_out:,} after them",
    )
    ids = {subject: schema_id for subject, schema_id, _ in register(settings)}
    done("contracts", ", ".join(f"{subject} id {schema_id}" for subject, schema_id in sorted(ids.items())))
    topics.apply(settings)
    every = [*topics.names(settings), *topics.monitor_names(settings)]
    done("topics", f"{len(every)} topics, {every[0]}, {every[1]}, …: {PARTITIONS} partitions each")

    features = load_model(store, NAME, VERSION).manifest.features
    schema, schema_id = parse(contract_file.read_text("utf-8")).schema, ids[f"{TOPIC}-value"]
    flown = data.flights(*months)[:flights]
    asked = data.requests(flown)
    planned = traffic.march(
        asked, features, lambda one: framed(schema_id, encode_one(schema, one)), partition_of, PARTITIONS, seed
    )
    done(
        "requests",
        f"{len(asked):,} flights of {_named(months)}, and {planned.expected().total() - len(asked):,} deliberate faults: repeats, conflicts, hostile bytes",
    )
    label_schema = parse((home / LABEL_CONTRACT).read_text("utf-8")).schema
    return Stage(config, settings, planned, flown, label_schema, framed(ids[f"{LABELS}-value"], b""))


def _named(months: range) -> str:
    first, last = month_name[months[0]], month_name[months[-1]]
    return first if len(months) == 1 else f"{first} to {last}"


def _toml(bootstrap: str, registry_url: str) -> str:
    return f"""\
# The demo's application. Its requests are answered by `streams scorer run --config {CONFIG} --workers 2`.
[app]
id = "{APP}"
state_dir = "state"

[kafka]
"bootstrap.servers" = "{bootstrap}"

[schema_registry]
url = "{registry_url}"

[[requests]]
topic = "{TOPIC}"
contract = "{CONTRACT}"
partitions = {PARTITIONS}

[model]
store = "file:models"
name = "{NAME}"
version = "{VERSION}"

[labels]
topic = "{LABELS}"
contract = "{LABEL_CONTRACT}"

[monitor]
grain_hours = 24
plausible_past_hours = 200_000  # the flights are of 2013
"""
