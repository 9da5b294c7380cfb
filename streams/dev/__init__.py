"""`streams dev`: a real broker and a real schema registry on loopback, without Docker.

    with Stack(folder) as stack:                 # tests, the demo: ends with the block
        ... stack.bootstrap, stack.registry_url

    up(DEFAULT_DIRECTORY, say=print)             # `streams dev up`: stays until `down`

Nothing here is for production: one node, no replicas, no security, loopback only.
"""

from pathlib import Path
from shlex import quote
from typing import NamedTuple

from streams.dev import state
from streams.dev.folders import Say, create, locked
from streams.dev.logs import log_file
from streams.dev.stack import STOP_SECONDS, Stack, silent

__all__ = ["BROKER_PORT", "DEFAULT_DIRECTORY", "REGISTRY_PORT", "Part", "Running", "Stack", "down", "status", "up"]

DEFAULT_DIRECTORY = Path(".answeronce/dev")
"""Where `streams dev up` keeps its data, under the current folder."""
BROKER_PORT = 19092
REGISTRY_PORT = 18081


class Running(NamedTuple):
    """How to reach a stack that is up."""

    directory: Path
    bootstrap: str
    registry_url: str | None
    """None if it was started without a registry."""


class Part(NamedTuple):
    """One recorded child of a stack, and whether it still runs."""

    name: str
    up: bool
    pid: int
    address: str
    version: str
    log: Path


def up(
    directory: Path = DEFAULT_DIRECTORY,
    broker_port: int = BROKER_PORT,
    registry_port: int = REGISTRY_PORT,
    *,
    registry: bool = True,
    say: Say = silent,
) -> Running:
    """Start a stack that stays up when this process ends; one that is up already is left as it is.

    If only a part of it still runs, that part is ended first and all is started anew, on the same data.
    Raises: SetupError, ConfigError; see `Stack.start`.
    """
    directory = directory.absolute()
    create(directory)
    with locked(directory / "lock", say):
        parts = status(directory)
        if parts and all(part.up for part in parts):
            where = "" if directory == DEFAULT_DIRECTORY.absolute() else f" --dir {quote(str(directory))}"
            say(f"Already up in {directory}, on the ports it was started with; `streams dev down{where}` ends it.")
            return _running(directory, parts)
        for part in _down(directory):
            say(f"Ended the {part.name} (process {part.pid}), which was still up beside what had died.")
        stack = Stack(directory, broker_port=broker_port, registry_port=registry_port, registry=registry, say=say)
        stack.start_locked()
        return _running(directory, status(directory))


def down(directory: Path = DEFAULT_DIRECTORY, say: Say = silent) -> bool:
    """End the stack of this directory; return whether anything ran. Its data stays: deleting the directory frees it.

    Only processes that the stack itself recorded are ended, and none that merely has the pid of one.
    """
    directory = directory.absolute()
    if not directory.is_dir():
        return False
    with locked(directory / "lock", say):
        ended = _down(directory)
    for part in ended:
        say(f"Ended the {part.name} (process {part.pid}).")
    return bool(ended)


def status(directory: Path = DEFAULT_DIRECTORY) -> tuple[Part, ...]:
    """Return the children that the stack of this directory recorded; none if it was never up, or is down."""
    directory = directory.absolute()
    return tuple(
        Part(name, child.child().alive(), child.pid, child.address, child.version, log_file(directory, name))
        for name, child in state.read(directory).items()
    )


def _down(directory: Path) -> list[Part]:
    ended = [part for part in status(directory) if part.up]
    for child in state.read(directory).values():
        child.child().end(STOP_SECONDS)
    state.write(directory, {})
    return ended


def _running(directory: Path, parts: tuple[Part, ...]) -> Running:
    addresses = {part.name: part.address for part in parts}
    return Running(directory, addresses["broker"], addresses.get("registry"))
