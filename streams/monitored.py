"""What is monitored: an application's predictions and labels, by its settings and its model."""

from streams.avro.schema import SchemaRefused, parse
from streams.config import Labels, Settings
from streams.contracts import Contract
from streams.durations import HOUR_MS
from streams.errors import ConfigError
from streams.models.manifest import Manifest
from streams.models.packages import describe
from streams.models.store import open_store
from streams.monitor.reading import key_roles, unmet
from streams.monitor.tasks import Binary, Multiclass, Regression, Task
from streams.monitor.windows import Rules


class Subject:
    """What the application's predictions and labels are, by its settings and its model.

    Raises: ConfigError, SetupError where they do not say enough, or contradict each other.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings, self.labels = settings, _labels(settings)
        model = settings.model
        self.manifest, accepts, self.reference = describe(open_store(model.store), model.name, model.version)
        self.task = task_of(self.manifest)
        self.key = key_roles(accepts[0])  # all contracts of a package agree on it
        self.contract = _contract(self.labels, settings.limits.schema_nodes)
        if why := unmet(self.contract, accepts[0], rekey=self.labels.rekey):
            raise ConfigError(f"[labels] contract {self.labels.contract.name}: {why}")
        rekey, tenant = self.labels.rekey, self.contract.role("tenant")
        self.tombstones = self.key == ("request_id",) and tenant is None and not rekey
        """A label's key is the identity, so that a record without a value can withdraw it."""
        said = self.manifest.label
        self.truth = self.labels.field or (said.field if said else "")
        self.horizon_hours = self.labels.horizon_hours or (said.horizon_hours if said else None)
        absence = self.labels.absence_means or (said.absence_means if said else "unknown")
        self.absence = None if absence == "unknown" else absence.encode()
        if not self.truth or self.contract.field(self.truth) is None:
            fields = ", ".join(field.name for field in self.contract.fields)
            raise ConfigError(
                f"[labels] field: {f'{self.labels.contract.name} has no field {self.truth}' if self.truth else 'it is missing'}. "
                f"Which of these says what came true: {fields}?"
            )
        if self.horizon_hours is None:
            raise ConfigError("[labels] horizon_hours is missing: how long after its event does a label count?")
        hours = settings.monitor.retention_hours
        if hours is not None and hours < self.horizon_hours:
            raise ConfigError(
                f"[monitor] retention_hours ({hours:g}) is less than the horizon ({self.horizon_hours:g} h): labels that still "
                "count would find their windows sealed"
            )
        kept_ms = None if hours is None else int(hours * HOUR_MS)
        self.rules = Rules(self.task, settings.monitor.grain_ms, int(self.horizon_hours * HOUR_MS), kept_ms)


def task_of(manifest: Manifest) -> Task:
    """Return what is counted of a model's predictions."""
    classes = tuple(name.encode() for name in manifest.output.classes)
    if manifest.task == "binary":
        return Binary(*classes)
    return Multiclass(classes) if manifest.task == "multiclass" else Regression()


def _labels(settings: Settings) -> Labels:
    if settings.labels is None:
        raise ConfigError(
            "there is no [labels] section, so there is nothing to monitor. It names the topic of what came true and its "
            'contract: topic = "APP.labels", contract = "label.v1.avsc"'
        )
    return settings.labels


def _contract(labels: Labels, nodes_max: int) -> Contract:
    try:
        return parse(labels.contract.read_text("utf-8"), nodes_max=nodes_max)
    except (OSError, UnicodeDecodeError, SchemaRefused) as error:
        raise ConfigError(f"[labels] contract {labels.contract}: {error}") from None
