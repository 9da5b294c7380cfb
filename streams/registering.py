"""`streams schemas check` and `register`: the contracts, the registry, and whether a new version may go there.

Only people (and their pipelines) register. A worker looks ids up, and stops if they are not there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from streams import schemas_dir
from streams.avro.evolution import silent_changes
from streams.avro.id_cache import IdCache, Remembered
from streams.avro.json_values import load
from streams.avro.properties import check_contract
from streams.avro.registry_client import Refused, RegistryClient
from streams.avro.schema import SchemaRefused, parse
from streams.config import Settings
from streams.errors import ConfigError, SetupError, Unreachable

TIMEOUT_S = 10.0
Grade = Literal["error", "unchecked", "ok"]


class Finding(NamedTuple):
    """What was found about one contract. `unchecked`: nobody could say, because the registry did not answer."""

    subject: str
    grade: Grade
    text: str

    @property
    def is_error(self) -> bool:
        """Whether the contract must not be registered like this."""
        return self.grade == "error"

    def __str__(self) -> str:
        return f"{self.grade:9} {self.subject}: {self.text}"


class Registered(NamedTuple):
    """Where a contract lies in the registry now."""

    subject: str
    schema_id: int
    version: int


class _Entry(NamedTuple):
    subject: str
    path: Path
    level: str
    """The compatibility rule that the subject must have."""
    kind: Literal["product", "requests", "labels"]
    """A contract of requests or labels, which the user writes and workers read in columns; or one of the product's own."""


def check(settings: Settings) -> list[Finding]:
    """Judge every contract of the application: by our limits and rules, by what a change would silently mean, and by
    the registry's own compatibility rule for the subject.

    Raises: ConfigError if the registry's client refuses its settings. A registry that is down is a finding.
    """
    client = RegistryClient(settings.schema_registry, timeout_s=TIMEOUT_S, retries=0)
    findings = []
    for entry in _entries(settings):
        found = list(_own_rules(entry, settings.limits.schema_nodes))
        if not found:
            try:
                found = list(_against_registry(entry, client))
            except Unreachable as error:
                text = f"{entry.path.name} passes our own rules. {error}"
                found = [Finding(entry.subject, "unchecked", text)]
        findings += found or [Finding(entry.subject, "ok", f"{entry.path.name} may be registered.")]
    return findings


def register(settings: Settings) -> list[Registered]:
    """Register every contract of the application under its subject, with the subject's compatibility rule set first.

    Idempotent: what is registered already keeps its id and version. Lane subjects that are set to FULL_TRANSITIVE,
    which is stricter than what we ask for, keep that.
    Raises: ConfigError if `check` finds an error: nothing was registered then; Unreachable.
    """
    errors = [finding for finding in check(settings) if finding.is_error]
    if errors:
        lines = "\n".join(f"  {finding.subject}: {finding.text}" for finding in errors)
        raise ConfigError(f"Nothing was registered:\n{lines}")
    client = RegistryClient(settings.schema_registry, timeout_s=TIMEOUT_S)
    try:
        return [_register(entry, client) for entry in _entries(settings)]
    except Unreachable as error:
        raise Unreachable(f"{error} Run `streams schemas register` again; it goes on where it stopped.") from None
    except Refused as error:
        raise ConfigError(f"The registry refuses a contract: {error}") from None


def standing(settings: Settings) -> list[Finding]:
    """Say of every contract of the application whether it is registered, and under which rule. Asks; changes nothing.

    An error: workers could not start, or nobody could send a request. `unchecked` is what should be looked at.
    Raises: Unreachable; ConfigError if the registry's client refuses its settings.
    """
    client = RegistryClient(settings.schema_registry, timeout_s=TIMEOUT_S, retries=0)
    return [_standing(entry, client, settings.limits.schema_nodes) for entry in _entries(settings)]


def _standing(entry: _Entry, client: RegistryClient, nodes_max: int) -> Finding:
    """Raises: Unreachable."""
    wrong = next(_own_rules(entry, nodes_max), None)
    if wrong is not None:
        return wrong
    try:
        found = client.lookup(entry.subject, entry.path.read_text("utf-8"))
    except Refused as error:
        return Finding(entry.subject, "error", f"the registry cannot read {entry.path.name}: {error}")
    if found is None:
        if entry.kind != "product" and client.versions(entry.subject):
            text = f"{entry.path.name} is not among its versions. `streams schemas register` adds it"
            return Finding(entry.subject, "unchecked", text)
        text = f"{entry.path.name} is not registered. Run `streams schemas register`"
        return Finding(entry.subject, "error", text)
    rule = client.compatibility(entry.subject) or client.compatibility(None) or "NONE"
    said = f"{entry.path.name} is id {found[0]}, version {found[1]}, rule {rule}"
    if rule not in (entry.level, "FULL_TRANSITIVE"):
        return Finding(entry.subject, "unchecked", f"{said}; `streams schemas register` sets {entry.level}")
    return Finding(entry.subject, "ok", said)


def cache_dir(settings: Settings) -> Path:
    """Return the folder in which this application remembers schema ids."""
    return settings.app.state_dir / "registry"


def product_ids(settings: Settings) -> dict[str, int]:
    """Return the schema ids that everything that is the product's own is written with, by the schema's name.

    Looks up and never registers. A lookup that succeeded once is remembered on disk and serves while the registry is down.
    Raises: SetupError if they are not registered; Unreachable if the registry is down and was never asked from here.
    """
    client = RegistryClient(settings.schema_registry, timeout_s=TIMEOUT_S, retries=1)
    cache = IdCache(cache_dir(settings), client.servers)
    return {entry.path.stem: _product_id(entry, client, cache) for entry in _products(settings)}


def _product_id(entry: _Entry, client: RegistryClient, cache: IdCache) -> int:
    text = entry.path.read_text("utf-8")
    try:
        found = client.lookup(entry.subject, text)
    except Unreachable as error:
        for schema_id, known in cache.load():
            if entry.subject in known.subjects and known.text == text:
                return schema_id
        raise Unreachable(
            f"The id of {entry.path.name} under subject {entry.subject} was never looked up from here. {error}"
        ) from None
    except Refused as error:
        raise SetupError(
            f"The registry cannot read {entry.path.name}, which is ours: {error}. Is it an Avro registry?"
        ) from None
    if found is None:
        raise SetupError(
            f"{entry.path.name} is not registered under subject {entry.subject}. Run `streams schemas register`."
        )
    cache.store(found[0], Remembered(text, "AVRO", False, frozenset({entry.subject})))
    return found[0]


def _entries(settings: Settings) -> Iterator[_Entry]:
    yield from _products(settings)
    lanes = {(lane.lane_subject, lane.contract) for lane in settings.requests}
    for subject, path in sorted(lanes):
        yield _Entry(subject, path, "BACKWARD_TRANSITIVE", "requests")
    if settings.labels is not None:
        yield _Entry(settings.labels.label_subject, settings.labels.contract, "BACKWARD_TRANSITIVE", "labels")


def _products(settings: Settings) -> Iterator[_Entry]:
    products = {"result": settings.results, "outcome": settings.outcomes}
    if settings.labels is not None:
        products |= {
            "performance_part": settings.parts,
            "feature_counts": settings.features,
            "ticket": settings.tickets,
        }
    for name, topic in products.items():
        yield _Entry(f"{topic}-value", schemas_dir() / f"{name}.avsc", "FULL_TRANSITIVE", "product")


def _own_rules(entry: _Entry, nodes_max: int) -> Iterator[Finding]:
    try:
        text = entry.path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        yield Finding(
            entry.subject, "error", f"{entry.path}: {why}. `contract` is relative to the configuration's folder"
        )
        return
    try:
        if entry.kind != "product":
            complaints = check_contract(parse(text, nodes_max=nodes_max), labels=entry.kind == "labels")
            yield from (Finding(entry.subject, "error", f"{entry.path.name}: {complaint}") for complaint in complaints)
        else:
            load(text)
    except SchemaRefused as error:
        yield Finding(entry.subject, "error", f"{entry.path.name}: {error}")


def _against_registry(entry: _Entry, client: RegistryClient) -> Iterator[Finding]:
    """Raises: Unreachable."""
    text = entry.path.read_text("utf-8")
    versions = client.versions(entry.subject)
    for number, old in enumerate(versions, 1):
        try:
            changes = silent_changes(old, text)
        except SchemaRefused as error:
            changes = [f"It cannot be compared: {error}"]
        for change in changes:
            yield Finding(
                entry.subject, "error", f"{entry.path.name} against version {number} of {len(versions)}: {change}"
            )
    if not versions:
        return
    rule = client.compatibility(entry.subject) or client.compatibility(None) or "NONE"
    try:
        compatible, known = client.compatible(entry.subject, text), client.lookup(entry.subject, text) is not None
    except Refused as error:
        yield Finding(entry.subject, "error", f"{entry.path.name}: the registry does not read it: {error}")
        return
    if not compatible:
        yield Finding(
            entry.subject,
            "error",
            f"{entry.path.name} is not compatible with what is registered, says the registry (rule {rule}). "
            "New fields need a default; fields that others read must stay.",
        )
    elif rule == "NONE" and not known:
        yield Finding(
            entry.subject,
            "unchecked",
            f"{entry.path.name} passes our rules; the registry compares nothing under this subject (NONE). "
            f"`streams schemas register` sets {entry.level} first, and may then be refused.",
        )


def _register(entry: _Entry, client: RegistryClient) -> Registered:
    """Raises: Unreachable, Refused."""
    text = entry.path.read_text("utf-8")
    if client.compatibility(entry.subject) not in (entry.level, "FULL_TRANSITIVE"):
        client.set_compatibility(entry.subject, entry.level)
    found = client.lookup(entry.subject, text)
    if found is None:
        client.register(entry.subject, text)
        found = client.lookup(entry.subject, text)
    if found is None:
        raise Unreachable(
            f"{entry.path.name} was registered under {entry.subject}, and the registry does not show it yet."
        )
    return Registered(entry.subject, *found)
