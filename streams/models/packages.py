"""Packages of models: checked as a whole, addressed by their digest, kept in a store that every worker can reach.

A package is a folder: `manifest.toml` and the files that it names. It is read into memory once; what was hashed is
what is checked, and what was checked is what is loaded, so nobody can change a file in between. The same checks run at
`models register` and at every load.
"""

import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from streams.contracts import Contract, Decoded
from streams.errors import ConfigError, SetupError
from streams.models import golden, manifest, reference
from streams.models.features import Features
from streams.models.lightgbm import LightGbm
from streams.models.manifest import Manifest
from streams.models.store import Store
from streams.ports import Refusals
from streams.records import Floats, Ints

Files: TypeAlias = Mapping[str, bytes]
"""A package in memory: relative path, with `/`, to content."""
Parse: TypeAlias = Callable[[str], Contract]
"""JSON text of a schema to its contract; raises ValueError with a sentence (`avro.schema.parse`)."""

PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*", re.ASCII)
"""Names that every file system spells alike; no `..`, nothing hidden, nothing absolute."""
FILES_MAX = 1_000
BYTES_MAX = 512 * 1024 * 1024
"""Of all files together: a package is held in memory while it is checked."""


class Loaded:
    """A model of the store, checked and warmed up; it is a `ports.Model`."""

    def __init__(self, files: Files, parse: Parse) -> None:
        """Run every check on a package.

        Raises: ConfigError that names the file and what is wrong with it; SetupError where a library is missing.
        """
        self.manifest: Manifest = manifest.parse(_file(files, manifest.FILE))
        self.name = self.manifest.name
        self.version = self.manifest.version
        self.digest = digest(files)
        contracts = {each.contract: _contract(files, each.contract, parse) for each in self.manifest.accepts}
        self.accepts = tuple(contracts.values())
        self.drop_extra_fields = self.manifest.extra_fields == "drop"
        self._features = Features(self.manifest.features, self.accepts)
        self._scorer = LightGbm(_file(files, self.manifest.artifact), self.manifest)
        self.row_deterministic = self._scorer.row_deterministic
        if self.manifest.reference:
            where = self.manifest.reference.file
            reference.parse(_file(files, where), self.manifest.features, where)
        where = self.manifest.golden.file
        rows = golden.parse(_file(files, where), list(contracts), where)
        golden.check(rows, contracts, self._features, self.score, self.manifest.golden.tolerance, where)

    def features(self, decoded: Decoded, accepted: Contract, rows: Ints) -> tuple[Floats, Refusals]:
        """Return the matrix (len(rows), features) of the given rows, and which of them the model refuses.

        The refusals' keys are positions in `rows`. Raises: KeyError for a contract that the model does not accept.
        """
        return self._features.matrix(decoded, accepted, rows)

    def score(self, matrix: Floats) -> Floats:
        """Return the score of each row: the probability of `manifest.output.positive`."""
        return self._scorer.score(matrix)


def register(folder: Path, store: Store, parse: Parse) -> bytes:
    """Check a package's folder and put it in the store under its name and version; return its digest (32 bytes).

    The same content again changes nothing. Raises: ConfigError for what is wrong with the package, and for a version
    that is taken by other content; SetupError where the store or a library cannot be used.
    """
    files = read(folder)
    model = Loaded(files, parse)
    store.put(model.digest.hex(), files)
    store.claim(model.name, model.version, model.digest.hex())
    return model.digest


def load(store: Store, name: str, version: str, parse: Parse) -> Loaded:
    """Return a registered model, its digest verified and its golden rows answered.

    Raises: ConfigError where there is no such model; SetupError where the store's copy is not what was registered.
    """
    registered = store.find(name, version)
    files = store.get(registered)
    if digest(files).hex() != registered:
        raise SetupError(
            f"model {name} {version}: the store's files are not those that were registered as {registered}: "
            f"somebody changed or damaged them. Remove that package from {store} and run `streams models register` again"
        )
    model = Loaded(files, parse)
    if (model.name, model.version) != (name, version):
        raise SetupError(f"model {name} {version}: the store {store} answers with {model.name} {model.version}")
    return model


def digest(files: Files) -> bytes:
    """Return the SHA-256 of a package, 32 bytes.

    Hashed are, for each file in order of its path: the path's length and bytes, the content's length and bytes;
    lengths as 8 bytes, big-endian. File modes and times do not count.
    """
    whole = hashlib.sha256()
    for path in sorted(files):
        for part in (path.encode(), files[path]):
            whole.update(len(part).to_bytes(8, "big"))
            whole.update(part)
    return whole.digest()


def read(folder: Path) -> dict[str, bytes]:
    """Return the files of a package's folder.

    Raises: ConfigError for links, devices, names outside PATH, and more than FILES_MAX files or BYTES_MAX bytes.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder. A package is a folder with a {manifest.FILE}")
    files: dict[str, bytes] = {}
    left = BYTES_MAX
    for at, _, names in os.walk(folder, onerror=_unreadable):
        for name in sorted(names) + [each for each in _ if (Path(at) / each).is_symlink()]:
            path = Path(at) / name
            relative = path.relative_to(folder).as_posix()
            if not PATH.fullmatch(relative):
                raise ConfigError(f"{path}: a package's file names are letters, digits, `.`, `_` and `-`; rename it")
            if not stat.S_ISREG(path.lstat().st_mode):
                raise ConfigError(f"{path} is a link or no ordinary file; a package holds its files itself")
            left -= path.stat().st_size
            if left < 0 or len(files) == FILES_MAX:
                raise ConfigError(f"{folder} is larger than a package may be: {BYTES_MAX} bytes in {FILES_MAX} files")
            files[relative] = path.read_bytes()
    return files
