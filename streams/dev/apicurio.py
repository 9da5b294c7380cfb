"""How the local schema registry is set up: Apicurio on loopback, its data in an H2 file."""

import urllib.error
import urllib.request
from pathlib import Path

from streams.dev.ports import HOST

OPTIONS = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
)


def environment(port: int, management_port: int) -> dict[str, str]:
    """Return the registry's settings, as the environment variables that it reads.

    The database's path is relative to the working directory, so no character of the folder's name can break it.
    `WRITE_DELAY=0`: without it H2 answers half a second before it writes, and a kill loses an acknowledged schema.
    """
    return {
        "QUARKUS_HTTP_HOST": HOST,
        "QUARKUS_HTTP_PORT": str(port),
        "QUARKUS_MANAGEMENT_HOST": HOST,
        "QUARKUS_MANAGEMENT_PORT": str(management_port),
        "APICURIO_STORAGE_KIND": "sql",
        "APICURIO_STORAGE_SQL_KIND": "h2",
        "APICURIO_DATASOURCE_URL": "jdbc:h2:file:./registry;WRITE_DELAY=0",
    }


def command(java: Path, archives: Path, folder: Path) -> list[str]:
    """Return the command that runs the registry; its working directory must be `folder`."""
    return [str(java), *OPTIONS, f"-Djava.io.tmpdir={folder / 'tmp'}", "-jar", str(archives / "quarkus-run.jar")]


def url(port: int) -> str:
    """Return the address of the Confluent-compatible API: what `schema.registry.url` is set to."""
    return f"http://{HOST}:{port}/apis/ccompat/v7"


def unready(management_port: int) -> str | None:
    """Ask the health endpoint once; return None if the registry can serve, else what is wrong."""
    address = f"http://{HOST}:{management_port}/health/ready"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy cannot reach our loopback
    try:
        with direct.open(address, timeout=5.0):
            return None
    except (urllib.error.URLError, OSError) as error:
        return str(error)
