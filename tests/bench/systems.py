"""What is measured: a system that reads one request topic and writes one topic of results, keyed by request id."""

import json
import threading
from pathlib import Path
from typing import Protocol

from streams import __version__, schemas_dir, topics
from streams.config import load
from streams.demo.train import train
from streams.dev import Stack
from streams.kafka.admin import Admin
from streams.models.packages import register as register_model
from streams.models.store import open_store
from streams.records import TP
from streams.registering import register
from streams.verify import verify
from tests.integration.application import Application

PARTITIONS = 4
CONTRACT = schemas_dir() / "flights" / "request.v1.avsc"


class System(Protocol):
    """One of the systems that do the job, begun anew for every measurement."""

    @property
    def label(self) -> str:
        """What it is called in results."""

    @property
    def requests(self) -> str:
        """The topic that it reads."""

    @property
    def results(self) -> str:
        """The topic that it writes, keyed by request id."""

    def begin(self) -> list[int]:
        """Start it; return the pids of its processes."""

    def end(self) -> None:
        """Stop it in order."""

    def complaints(self) -> list[str]:
        """Return what is wrong with its answers, beyond their number; it has ended."""

    def about(self) -> dict[str, str]:
        """Return its version, and what of its settings is not the default or matters."""


class Ours(Application):
    """answeronce: the flights contract, and the demo's model of 100 trees with 31 leaves."""

    label = "answeronce"

    def __init__(self, stack: Stack, home: Path, name: str, requests: str, workers: int = 1) -> None:
        home.mkdir(parents=True)
        self.stack, self.name, self.home, self.sent = stack, name, home, 0
        self.requests, self.lanes, self.count = requests, [requests], workers
        self.config = home / f"{name}.toml"
        self.config.write_text(
            f'[app]\nid = "{name}"\nstate_dir = "state"\n[kafka]\n"bootstrap.servers" = "{stack.bootstrap}"\n'
            f'[schema_registry]\nurl = "{stack.registry_url}"\n'
            f'[[requests]]\ntopic = "{requests}"\ncontract = "{CONTRACT}"\npartitions = {PARTITIONS}\n'
            f'[model]\nstore = "file:store"\nname = "flights-late"\nversion = "1"\n'
        )
        self.settings = load(self.config)
        self.results = self.settings.results
        self.package = train(CONTRACT, home / "package").folder
        found = {subject: schema_id for subject, schema_id, _ in register(self.settings)}
        self.schema, self.schema_id = json.loads(CONTRACT.read_text()), found[f"{requests}-value"]
        register_model(self.package, open_store(self.settings.model.store))
        topics.apply(self.settings)
        self.admin, self.workers, self.over = Admin(self.settings.kafka), [], threading.Event()

    def begin(self) -> list[int]:
        """Start the workers; nobody restarts them."""
        return [self.start(f"b-{number:02d}").pid for number in range(self.count)]

    def end(self) -> None:
        """Stop the workers in order."""
        self.stop()

    def complaints(self) -> list[str]:
        """Return what `streams verify` finds."""
        report = verify(self.settings)
        return [] if report.exit_code == 0 else report.lines()

    def about(self) -> dict[str, str]:
        """Return its version, and the settings that matter."""
        batch = f"at most {self.settings.batch.records:,} requests or {self.settings.batch.age_ms} ms"
        return {"version": __version__, "batch": batch}


def ends(admin: Admin, topic: str) -> int:
    """Return how many offsets a topic has, markers of transactions included."""
    return sum(admin.offsets([TP(topic, partition) for partition in range(PARTITIONS)], "latest").values())
