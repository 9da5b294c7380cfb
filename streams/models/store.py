"""Where packages are kept: content under its digest, names beside it, neither ever changed.

    packages/<digest>/…              the files of a package
    names/<name>/<version>/digest    which package a name and version stand for

Both are folders that appear whole or not at all: they are written beside their place and renamed into it, and a rename
onto a folder that is there fails. So two who register at once cannot mix, on any file system that workers may share.
"""

import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, Protocol, TypeAlias
from urllib.parse import unquote, urlsplit

from streams.errors import ConfigError, SetupError
from streams.models.manifest import NAME

Files: TypeAlias = Mapping[str, bytes]
"""A package in memory: relative path, with `/`, to content."""

PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*", re.ASCII)
"""Names that every file system spells alike; no `..`, nothing hidden, nothing absolute."""
FILES_MAX = 1_000
BYTES_MAX = 512 * 1024 * 1024
"""Of all files together: a package is held in memory while it is checked."""


class Store(Protocol):
    """A store of packages that every worker can reach. Raises SetupError where it cannot be used."""

    def put(self, digest: str, files: Files) -> None:
        """Keep a package under its digest; one that is there is left alone."""

    def get(self, digest: str) -> Files:
        """Return a package's files. Whether they have this digest is for the caller to check."""

    def claim(self, name: str, version: str, digest: str) -> None:
        """Let a name and version stand for a package, for ever. Raises: ConfigError if they stand for another."""

    def refuse_other(self, name: str, version: str, digest: str) -> None:
        """Change nothing. Raises: ConfigError if a name and version stand for another package."""

    def find(self, name: str, version: str) -> str:
        """Return the digest that a name and version stand for. Raises: ConfigError if they stand for none."""


def open_store(url: str) -> Store:
    """Return the store at a URL. Raises: ConfigError unless it is `file:///…`."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ConfigError(
            f"model store {url}: only a folder is supported so far, that all workers share: file:///mnt/models, or file:models beside the configuration"
        )
    return FileStore(Path(unquote(parts.path)))


class FileStore:
    """A store in a folder: a disk, or a file system that is mounted wherever workers run."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return self.root.as_uri()

    def put(self, digest: str, files: Files) -> None:
        """Keep a package under its digest; one that is there is left alone."""
        self._publish(self.root / "packages" / digest, files)

    def get(self, digest: str) -> Files:
        """Return a package's files. Whether they have this digest is for the caller to check."""
        try:
            return read(self.root / "packages" / digest)
        except ConfigError as error:
            raise SetupError(
                f"model store {self}: package {digest} cannot be read: {error}. May this user read there? Else register it again"
            ) from None

    def claim(self, name: str, version: str, digest: str) -> None:
        """Let a name and version stand for a package, for ever. Raises: ConfigError if they stand for another."""
        self._publish(self._entry(name, version), {"digest": digest.encode() + b"\n"})
        self.refuse_other(name, version, digest)

    def refuse_other(self, name: str, version: str, digest: str) -> None:
        """Change nothing. Raises: ConfigError if a name and version stand for another package."""
        if self._entry(name, version).exists() and (taken := self.find(name, version)) != digest:
            raise ConfigError(
                f"model {name} {version} is registered with other content ({taken}) and is never changed: "
                "give the package a new `version` in its manifest, and name that one under [model]"
            )

    def find(self, name: str, version: str) -> str:
        """Return the digest that a name and version stand for. Raises: ConfigError if they stand for none."""
        try:
            found = (self._entry(name, version) / "digest").read_text("ascii").strip()
        except FileNotFoundError:
            known = ", ".join(self._known()) or "none"
            raise ConfigError(
                f"model {name} {version} is not in {self}. Registered are: {known}. See `streams models register`"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise SetupError(
                f"model store {self}: {name} {version} cannot be read: {error}. May this user read there?"
            ) from None
        if not re.fullmatch(r"[0-9a-f]{64}", found):
            raise SetupError(
                f"model store {self}: the entry of {name} {version} is damaged: it holds no digest. Delete it, and register the package again"
            )
        return found

    def _entry(self, name: str, version: str) -> Path:
        if not re.fullmatch(NAME, name) or not re.fullmatch(NAME, version):
            raise ConfigError(f"model {name!r} {version!r}: names and versions look like {NAME}")
        return self.root / "names" / name / version

    def _known(self) -> list[str]:
        entries = (entry.parts for entry in self.root.glob("names/*/[!.]*/digest"))
        return sorted(f"{parts[-3]} {parts[-2]}" for parts in entries)

    def _publish(self, target: Path, files: Files) -> None:
        """Let a folder appear with all its files, unless it is there."""
        if target.exists():
            return
        beside = target.parent / f".new-{secrets.token_hex(8)}"
        try:
            for path, content in files.items():
                _write(beside / path, content)
            try:
                beside.rename(target)
            except OSError as error:  # somebody else was first; the caller looks at what is there
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            _sync(target.parent)
        except OSError as error:
            raise SetupError(
                f"model store {self}: cannot write {target}: {error}. May this user write there, and is there room?"
            ) from None
        finally:
            shutil.rmtree(beside, ignore_errors=True)


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

    Raises: ConfigError for links, devices, names outside PATH, more than FILES_MAX files or BYTES_MAX bytes, and
    whatever cannot be read.
    """
    files: dict[str, bytes] = {}
    left = BYTES_MAX
    try:
        for at, folders, names in os.walk(folder, onerror=_fail):
            for path in (Path(at, name) for name in (*folders, *names)):
                about = path.lstat()
                if stat.S_ISDIR(about.st_mode):
                    continue
                relative = path.relative_to(folder).as_posix()
                if not PATH.fullmatch(relative):
                    raise ConfigError(f"{path}: names in a package are letters, digits, `.`, `_` and `-`; rename it")
                if not stat.S_ISREG(about.st_mode):
                    raise ConfigError(f"{path} is a link or no ordinary file; a package holds its files itself")
                left -= about.st_size
                if left < 0 or len(files) == FILES_MAX:
                    raise ConfigError(f"{folder} is more than a package may be: {BYTES_MAX} bytes, {FILES_MAX} files")
                files[relative] = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror or error}") from None
    return files


def _fail(error: OSError) -> NoReturn:
    """Turn a folder that cannot be listed into an error: `os.walk` would skip it, and with it a part of the package."""
    raise error


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
