"""The broker's and the registry's Java archives: fetched once with Maven, checked, and kept in a cache.

An artifact's folder appears in the cache by one rename, with an inventory of its files written last. A folder without
an inventory, or whose files do not match it, is not used: it is fetched again.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from streams.dev.folders import Say, create, locked, require_room
from streams.errors import SetupError

KAFKA_VERSION = "4.2.2"
"""Not the newest: since 4.3.0 a coordinator that comes back takes a partition without a leader for one that was deleted, and
calls a transaction complete whose markers it never wrote there (KAFKA-20734). Of 12 kills of a single broker that was committing,
5 met it in 4.4.0, and all partitions hung for good in the end; none in 4.2.2 (`make chaos PART=markers`)."""
REGISTRY_VERSION = "3.3.3"
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy-dependencies"
INVENTORY = "inventory.json"

FETCH_SECONDS = 900.0


class Coordinate(NamedTuple):
    """A Maven coordinate; `alone` leaves out what it depends on."""

    group: str
    name: str
    version: str
    kind: str = "jar"
    classifier: str = ""
    alone: bool = False


class Artifact(NamedTuple):
    """What is fetched together, and the files without which it would be useless."""

    name: str
    coordinates: tuple[Coordinate, ...]
    needed: tuple[str, ...]


BROKER = Artifact(
    f"kafka-{KAFKA_VERSION}",
    (
        Coordinate("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
        # Kafka logs to slf4j 1.7 and brings no binding; this one writes to standard error.
        Coordinate("org.slf4j", "slf4j-simple", "1.7.36"),
    ),
    (f"kafka_2.13-{KAFKA_VERSION}.jar", f"kafka-server-{KAFKA_VERSION}.jar", "slf4j-simple-1.7.36.jar"),
)
REGISTRY = Artifact(
    f"apicurio-registry-{REGISTRY_VERSION}",
    # The archive holds all it needs: its Maven dependencies would be fetched a second time.
    (Coordinate("io.apicurio", "apicurio-registry-app", REGISTRY_VERSION, "tar.gz", "all", alone=True),),
    ("quarkus-run.jar",),
)


def cache_folder(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Return where fetched artifacts are kept: `$ANSWERONCE_CACHE`, else the platform's cache folder."""
    if chosen := environ.get("ANSWERONCE_CACHE"):
        return Path(chosen).expanduser().absolute()
    if shared := environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "answeronce"
    home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    return home / ("Library/Caches" if platform == "darwin" else ".cache") / "answeronce"


def pom(artifact: Artifact) -> str:
    """Return the Maven project whose runtime dependencies are the artifact's files."""
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0">\n'
        "  <modelVersion>4.0.0</modelVersion>\n"
        f"  <groupId>answeronce.dev</groupId><artifactId>{artifact.name}</artifactId><version>1</version>\n"
        "  <packaging>pom</packaging>\n"
        f"  <dependencies>\n{''.join(map(_dependency, artifact.coordinates))}  </dependencies>\n"
        "</project>\n"
    )


def _dependency(of: Coordinate) -> str:
    text = f"<groupId>{of.group}</groupId><artifactId>{of.name}</artifactId><version>{of.version}</version>"
    text += f"<type>{of.kind}</type>"
    if of.classifier:
        text += f"<classifier>{of.classifier}</classifier>"
    if of.alone:
        everything = "<exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion>"
        text += f"<exclusions>{everything}</exclusions>"
    return f"    <dependency>{text}</dependency>\n"


def provide(artifact: Artifact, java: Path, say: Say, cache: Path | None = None) -> Path:
    """Return the folder of the artifact's files, fetching them with Maven the first time.

    `java` runs Maven where the system has none of its own. Two processes that ask at once fetch once.
    Raises: SetupError if Maven is missing or fails, if the disk is full, or if what came is not the artifact.
    """
    cache = cache or cache_folder()
    folder = cache / artifact.name
    if intact(folder):
        return folder
    create(cache)
    with locked(cache / f"{artifact.name}.lock", say):
        if not intact(folder):  # another process may have fetched it while this one waited
            require_room(cache)
            say(f"Fetching {artifact.name} with Maven, once, into {folder} ...")
            _fetch(artifact, folder, java)
    return folder


def intact(folder: Path) -> bool:
    """Return whether the folder holds every file of its inventory, at its size."""
    try:
        inventory: dict[str, int] = json.loads((folder / INVENTORY).read_text("utf-8"))
        return all((folder / name).stat().st_size == size for name, size in inventory.items())
    except (OSError, ValueError, AttributeError):
        return False


def _fetch(artifact: Artifact, folder: Path, java: Path) -> None:
    """Fetch beside the final place, check, take inventory, and move into place in one rename."""
    with tempfile.TemporaryDirectory(prefix=f".{artifact.name}-", dir=folder.parent) as scratch:
        project, files = Path(scratch) / "pom.xml", Path(scratch) / "files"
        project.write_text(pom(artifact), "utf-8")
        _run_maven(artifact, project, files, java)
        _unpack(files)
        if missing := [name for name in artifact.needed if not (files / name).is_file()]:
            raise SetupError(
                f"Maven fetched {artifact.name}, but not {', '.join(missing)}. "
                "If a mirror is set in ~/.m2/settings.xml, check that it serves Maven Central unchanged."
            )
        inventory = {str(file.relative_to(files)): file.stat().st_size for file in files.rglob("*") if file.is_file()}
        (files / INVENTORY).write_text(json.dumps(inventory), "utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        files.rename(folder)


def _run_maven(artifact: Artifact, project: Path, files: Path, java: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise SetupError(
            f"Maven is needed once, to fetch {artifact.name}, and no `mvn` is on the PATH. Install it: "
            "`apt-get install maven`, `brew install maven`, or https://maven.apache.org/download.cgi; then run this again."
        )
    environ = dict(os.environ)
    if not environ.get("JAVA_HOME") and not shutil.which("java"):
        environ["JAVA_HOME"] = str(java.parent.parent)
    command = [maven, "-q", "-B", "--strict-checksums", "-f", str(project), DEPENDENCY_PLUGIN]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={files}"]
    try:
        ended = subprocess.run(
            command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise SetupError(
            f"Maven did not fetch {artifact.name} within {FETCH_SECONDS:.0f} s. What it has is kept: run this again."
        ) from None
    if ended.returncode != 0:
        said = "\n".join((ended.stdout + ended.stderr).strip().splitlines()[-15:])
        raise SetupError(
            f"Maven could not fetch {artifact.name} (exit code {ended.returncode}):\n{said}\n"
            "It needs Maven Central, or a mirror of it in ~/.m2/settings.xml. What it has is kept: run this again."
        )


def _unpack(files: Path) -> None:
    """Replace archives by what they hold."""
    # Python has filters since 3.11.4; Debian 12's is 3.11.2
    safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    for archive in files.glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            tar.extractall(files, **safely)  # type: ignore[arg-type]  # of a dictionary only the values' type is known
        archive.unlink()
