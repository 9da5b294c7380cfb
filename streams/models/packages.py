"""Packages of models: checked as a whole, registered under their digest, verified before each load.

A package is a folder: `manifest.toml` and the files that it names. It is read into memory once; what was hashed is
what is checked, and what was checked is what is loaded, so nobody can change a file in between. The same checks run at
`models register` and at every load, where they are the warm-up, too.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from streams.avro.acceptance import judge
from streams.avro.id_cache import Remembered
from streams.avro.schema import parse
from streams.config import Settings
from streams.contracts import Contract, Decoded, Reading
from streams.errors import ConfigError, SetupError
from streams.models import golden, manifest, reference
from streams.models.features import Features
from streams.models.lightgbm import LightGbm
from streams.models.manifest import Manifest
from streams.models.onnx import OnnxGraph
from streams.models.scorer import Scorer, Unscorable
from streams.models.store import Files, Store, digest, read
from streams.ports import Answer, Cells, Refusals
from streams.reasons import Reason
from streams.records import Bools, Detail, Floats, Ints

FLAVORS: dict[str, Callable[[bytes, Manifest], Scorer]] = {"lightgbm": LightGbm, "onnx": OnnxGraph}
"""Who loads an artifact; the libraries behind them are imported when one is loaded."""


class Loaded:
    """A model that passed every check; it is a `ports.Model`."""

    manifest: Manifest
    name: str
    version: str
    digest: bytes
    """SHA-256 of the package, 32 bytes."""
    accepts: tuple[Contract, ...]
    drop_extra_fields: bool
    row_deterministic: bool
    cells: Cells | None

    def __init__(self, files: Files) -> None:
        """Run every check on a package.

        Raises: ConfigError that names the file and what is wrong with it; SetupError where a library is missing.
        """
        about = self.manifest = manifest.parse(_content(files, manifest.FILE))
        self.name, self.version, self.digest = about.name, about.version, digest(files)
        contracts = {each.contract: _contract(files, each.contract) for each in about.accepts}
        self.accepts = tuple(contracts.values())
        _one_identity(contracts)
        self.drop_extra_fields = about.extra_fields == "drop"
        self._features = Features(about.features, self.accepts)
        self._scorer = FLAVORS[about.flavor](_content(files, about.artifact), about)
        self.row_deterministic = self._scorer.row_deterministic
        seen = _reference(files, about)
        self.cells = None if seen is None else seen.cells(about.columns)
        rows = golden.parse(_content(files, about.golden.file), about)
        golden.check(rows, contracts, self.features, self._scorer, about)

    def features(self, decoded: Decoded, accepted: Contract, rows: Ints) -> tuple[Floats, Refusals]:
        """Return the matrix (len(rows), columns) of the given rows, and which of them the model refuses.

        The refusals' keys are positions in `rows`. Raises: KeyError for a contract that the model does not accept.
        """
        matrix, refusals = self._features.matrix(decoded, accepted, rows)
        if self._scorer.largest == np.finfo(np.float64).max:
            return matrix, refusals
        beyond = np.isfinite(matrix) & (np.abs(matrix) > self._scorer.largest)
        if not beyond.any():
            return matrix, refusals
        return matrix, Refusals({**self._unrepresentable(matrix, beyond), **refusals.rows})

    def _unrepresentable(self, matrix: Floats, beyond: Bools) -> dict[int, tuple[Reason, Detail]]:
        """Refuse rows with a number that the artifact's inputs would turn into infinity."""
        rule = f"{-self._scorer.largest!r} to {self._scorer.largest!r}"
        found = {}
        for row in np.flatnonzero(beyond.any(axis=1)).tolist():
            column = int(beyond[row].argmax())
            detail = Detail(self.manifest.columns[column].source, repr(float(matrix[row, column])), rule=rule)
            found[row] = (Reason.NOT_REPRESENTABLE, detail)
        return found

    def score(self, matrix: Floats) -> Floats:
        """Return what the model says of each row: shape (rows,), or (rows, classes) of a multiclass model.

        A row that the artifact cannot score is nan, and the rows beside it are scored without it.
        """
        try:
            return self._scorer.score(matrix)
        except Unscorable:
            if len(matrix) == 1:
                several = self.manifest.task == "multiclass"
                return np.full((1, len(self.manifest.output.classes)) if several else 1, np.nan)
            half = len(matrix) // 2
            return np.concatenate([self.score(matrix[:half]), self.score(matrix[half:])])

    def answer(self, scores: Floats) -> Answer:
        """Return what scores say: a threshold picks one of two classes, of more the first of the most probable ones."""
        output = self.manifest.output
        names = [name.encode() for name in output.classes]
        match self.manifest.task:
            case "binary":
                negative, positive = names
                labels = [positive if picked else negative for picked in (scores >= output.threshold).tolist()]
                return Answer(score=scores, label=labels)
            case "multiclass":
                return Answer(scores=scores, label=[names[at] for at in scores.argmax(axis=1).tolist()])
            case "regression":
                return Answer(value=scores)


def checked(folder: Path, store: Store) -> Loaded:
    """Return the model of a package's folder that `register` would take; nothing is changed.

    Raises: ConfigError, SetupError; see `register`.
    """
    model = _checked(read(folder), str(folder))
    store.refuse_other(model.name, model.version, model.digest.hex())
    return model


def register(folder: Path, store: Store) -> bytes:
    """Check a package's folder and put it in the store under its name and version; return its digest (32 bytes).

    The same content again changes nothing. Raises: ConfigError for what is wrong with the package, and for a version
    that is taken by other content; SetupError where the store or a library cannot be used.
    """
    files = read(folder)
    model = _checked(files, str(folder))
    store.put(model.digest.hex(), files)
    _verified(store, model.digest.hex())
    store.claim(model.name, model.version, model.digest.hex())
    return model.digest


def load(store: Store, name: str, version: str) -> Loaded:
    """Return a registered model, its digest verified and its golden rows answered.

    Raises: ConfigError where there is no such model; SetupError where the store's copy is not what was registered.
    """
    model = _checked(_verified(store, store.find(name, version)), f"model {name} {version} in {store}")
    if (model.name, model.version) != (name, version):
        raise SetupError(f"model store {store}: {name} {version} stands for a package of {model.name} {model.version}")
    return model


def describe(store: Store, name: str, version: str) -> "Described":
    """Return what a registered package says of itself; no model is loaded.

    Raises: ConfigError where there is no such model; SetupError where the store's copy is not what was registered.
    """
    files = _verified(store, store.find(name, version))
    about = manifest.parse(_content(files, manifest.FILE))
    return Described(about, tuple(_contract(files, each.contract) for each in about.accepts), _reference(files, about))


def unaccepted(about: Manifest, accepts: tuple[Contract, ...], settings: Settings) -> list[str]:
    """Return a sentence for each lane whose own contract a model does not accept: what is written with it is refused.

    A contract that cannot be read is passed over: `streams schemas check` says so, and workers do not need the file.
    """
    found = []
    for lane in settings.requests:
        try:
            entry = Remembered(lane.contract.read_text("utf-8"), "AVRO", False, frozenset())
        except (OSError, UnicodeDecodeError):
            continue
        reading = judge(
            entry,
            accepts=accepts,
            drop_extra_fields=about.extra_fields == "drop",
            nodes_max=settings.limits.schema_nodes,
        )
        if isinstance(reading, Reading) and reading.accepted is None:
            found.append(
                f"model {about.name} {about.version} does not accept {lane.contract.name}, the contract of {lane.topic}: "
                f"each request written with it will be refused ({Reason.NOT_ACCEPTED.name}). Put that contract into the "
                "package, under [[accepts]], and register it as a new version"
            )
    return found


def _checked(files: Files, where: str) -> Loaded:
    try:
        return Loaded(files)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _verified(store: Store, registered: str) -> Files:
    files = store.get(registered)
    if digest(files).hex() != registered:
        raise SetupError(
            f"model store {store}: the files of package {registered} were changed or damaged. "
            "Remove that package's folder and run `streams models register` again"
        )
    return files


def _one_identity(contracts: Mapping[str, Contract]) -> None:
    """Raises: ConfigError if accepted contracts name requests differently.

    One request could then lie under two keys, in two partitions whose states do not know each other, and be scored twice.
    """
    naming = {
        path: (it.key, [f and f.name for f in (it.role("request_id"), it.role("tenant"))])
        for path, it in contracts.items()
    }
    (first, expected), *others = naming.items()
    for path, found in others:
        if found != expected:
            raise ConfigError(
                f"{first} and {path} differ in the record's key, or in the fields that are request_id and tenant: a retry under "
                "the other contract would be scored a second time. Accept contracts that name requests alike"
            )


class Described(NamedTuple):
    """What a package says of itself."""

    manifest: Manifest
    accepts: tuple[Contract, ...]
    reference: reference.Hashed | None


def _reference(files: Files, about: Manifest) -> reference.Hashed | None:
    if about.reference is None:
        return None
    content = _content(files, about.reference.file)
    return reference.Hashed(reference.parse(content, about.columns, about.reference.file), sha256(content).digest())


def _content(files: Files, path: str) -> bytes:
    try:
        return files[path]
    except KeyError:
        there = sorted(files)
        some = ", ".join(there[:8]) + (f", … {len(there)} in all" if len(there) > 8 else "") or "none"
        raise ConfigError(f"the package has no file `{path}`; it has {some}") from None


def _contract(files: Files, path: str) -> Contract:
    try:
        return parse(_content(files, path).decode("utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not a contract that can be read: {error}") from None
