"""A real Kafka broker and a real schema registry, as child processes on loopback."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.dev import apicurio, artifacts, broker, state
from streams.dev.artifacts import KAFKA_VERSION, REGISTRY_VERSION
from streams.dev.folders import Say, create, locked, require_room
from streams.dev.java import Java, find_java
from streams.dev.logs import keep_previous, last_words, log_file, obituary
from streams.dev.ports import HOST, free_ports, require_free
from streams.dev.processes import Child
from streams.errors import ConfigError, SetupError
from streams.kafka.ready import wait_until_serving

START_SECONDS = 90.0
STOP_SECONDS = 20.0


def silent(line: str) -> None:
    """Say nothing."""


class Stack:
    """One broker and, unless left out, one registry, with their data in `directory`.

    As a context manager it always ends its children, even if this process is killed: a guard process sees to that.
    With `start` alone they outlive this process, and `streams.dev.down(directory)` ends them.
    Ports that are not given are chosen free. Not thread-safe.
    """

    def __init__(
        self,
        directory: Path,
        *,
        broker_port: int | None = None,
        registry_port: int | None = None,
        registry: bool = True,
        broker_settings: Callable[[dict[str, str]], dict[str, str]] = dict,
        say: Say = silent,
    ) -> None:
        """`broker_settings` makes the broker's settings from ours (`broker.properties`): a further listener, for instance."""
        given = [port for port in (broker_port, registry_port) if port is not None]
        if len(set(given)) != len(given) or not all(0 < port < 65_536 for port in given):
            raise ConfigError(f"The ports {given} must differ, and lie between 1 and 65535.")
        self.directory = directory.absolute()
        chosen = free_ports(4, but_not=frozenset(given))
        self._broker_port = chosen[0] if broker_port is None else broker_port
        self._registry_port = chosen[1] if registry_port is None else registry_port
        self._controller_port, self._management_port = chosen[2:]
        self._with_registry = registry
        self._broker_settings = broker_settings
        self._say = say
        self._children: dict[str, Child] = {}
        self._recorded: dict[str, state.Recorded] = {}
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """What `bootstrap.servers` is set to."""
        return f"{HOST}:{self._broker_port}"

    @property
    def registry_url(self) -> str:
        """What `schema.registry.url` is set to: the registry's Confluent-compatible API."""
        return apicurio.url(self._registry_port)

    def start(self) -> None:
        """Start both children at once, and return when both serve; on any failure neither is left running.

        Raises: SetupError: Java, Maven, memory or disk is missing, a port is in use, a stack runs here already,
        or a child ended, with its last lines.
        """
        create(self.directory)
        with locked(self.directory / "lock", self._say):
            self.start_locked()

    def start_locked(self) -> None:
        """Start, for a caller that holds the directory's lock."""
        if any(child.child().alive() for child in state.read(self.directory).values()):
            raise SetupError(f"A stack runs in {self.directory} already. `streams dev down` ends it.")
        began = time.monotonic()
        try:
            java = self._prepare()
            if self._with_registry:
                self._spawn_registry(java)
            self._spawn_broker(java)
            self._await_broker()
            if self._with_registry:
                self._await_registry()
        except OSError as error:
            self._end_all()
            raise SetupError(f"The stack could not be started in {self.directory}: {error}.") from error
        except BaseException:
            self._end_all()
            raise
        self._say(f"Ready after {time.monotonic() - began:.1f} s.")

    def stop(self) -> None:
        """End both children, the hard way if they do not end within 20 s, and forget them; their data stays."""
        if self.directory.is_dir():
            with locked(self.directory / "lock", self._say):
                self._end_all()

    def start_broker(self) -> None:
        """Start a broker that was stopped or killed: same port, same data. Returns when it serves."""
        self._spawn_broker(find_java())
        self._await_broker()

    def stop_broker(self) -> None:
        """End the broker in order, as SIGTERM does."""
        self._end("broker", STOP_SECONDS)

    def kill_broker(self) -> None:
        """End the broker with SIGKILL."""
        self._end("broker", 0.0)

    def start_registry(self) -> None:
        """Start a registry that was stopped or killed: same port, same data. Returns when it serves."""
        self._spawn_registry(find_java())
        self._await_registry()

    def stop_registry(self) -> None:
        """End the registry in order, as SIGTERM does."""
        self._end("registry", STOP_SECONDS)

    def kill_registry(self) -> None:
        """End the registry with SIGKILL."""
        self._end("registry", 0.0)

    def start_missing(self) -> None:
        """Start whatever of the stack does not run; a test that failed half-way may have left it so."""
        runs = {name for name, child in self._children.items() if child.alive()}
        if "registry" not in runs and self._with_registry:
            self.start_registry()
        if "broker" not in runs:
            self.start_broker()

    def pid(self, name: str) -> int:
        """Return the pid of the running `broker` or `registry`. Raises: KeyError if it does not run."""
        return self._children[name].pid

    def __enter__(self) -> Self:
        create(self.directory)
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "streams.dev.guard", self.directory],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self.start()
        except BaseException:
            self._dismiss_guard()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.stop()
        finally:
            self._dismiss_guard()

    def _dismiss_guard(self) -> None:
        """Let the guard see that this process lets go; it ends what is left, normally nothing."""
        if self._guard is not None:
            self._guard.communicate(timeout=STOP_SECONDS * 3)
            self._guard = None

    def _prepare(self) -> Java:
        """Check all that can be checked, and fetch what is missing, before anything is started."""
        require_free(self._broker_port, "the broker", "--broker-port")
        if self._with_registry:
            require_free(self._registry_port, "the registry", "--registry-port")
        require_room(self.directory)
        java = find_java()
        artifacts.provide(artifacts.BROKER, java.program, self._say)
        names = f"Apache Kafka {KAFKA_VERSION} on {self.bootstrap}"
        if self._with_registry:
            artifacts.provide(artifacts.REGISTRY, java.program, self._say)
            names += f" and Apicurio Registry {REGISTRY_VERSION} on {self.registry_url}"
        self._say(f"Starting {names}, on Java {java.major} ...")
        return java

    def _spawn_broker(self, java: Java) -> None:
        archives = artifacts.provide(artifacts.BROKER, java.program, self._say)
        folder = self._folder("broker")
        settings = self._broker_settings(broker.properties(self._broker_port, self._controller_port))
        (folder / "server.properties").write_text(broker.properties_text(settings), "utf-8")
        broker.format_storage(java.program, archives, folder)
        self._spawn("broker", broker.command(java.program, archives, folder), {}, self.bootstrap, KAFKA_VERSION)

    def _spawn_registry(self, java: Java) -> None:
        archives = artifacts.provide(artifacts.REGISTRY, java.program, self._say)
        folder = self._folder("registry")
        environ = apicurio.environment(self._registry_port, self._management_port)
        command = apicurio.command(java.program, archives, folder)
        self._spawn("registry", command, environ, self.registry_url, REGISTRY_VERSION)

    def _folder(self, name: str) -> Path:
        """Return the child's own folder; its `tmp` is where Java unpacks native libraries."""
        folder = self.directory / name
        shutil.rmtree(folder / "tmp", ignore_errors=True)  # a killed child leaves its libraries behind
        (folder / "tmp").mkdir(parents=True)
        return folder

    def _spawn(self, name: str, command: Sequence[str], environ: Mapping[str, str], address: str, version: str) -> None:
        if name in self._children and self._children[name].alive():
            raise SetupError(f"The {name} runs already, as process {self._children[name].pid}.")
        log = log_file(self.directory, name)
        keep_previous(log)
        # Nothing of the caller's environment but what any program needs: settings in it would change the stack.
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TZ") if key in os.environ}
        child = Child.spawn(command, cwd=self.directory / name, environ={**inherited, **environ}, log=log)
        self._children[name] = child
        self._recorded[name] = state.Recorded(child.pid, child.started, address, version)
        state.write(self.directory, self._recorded)

    def _await_broker(self) -> None:
        try:
            wait_until_serving(self.bootstrap, START_SECONDS, self._still_there("broker"))
        except SetupError as error:
            if not self._children["broker"].alive():
                raise
            raise SetupError(f"{error} {last_words(log_file(self.directory, 'broker'))}") from None

    def _await_registry(self) -> None:
        still_there = self._still_there("registry")
        deadline = time.monotonic() + START_SECONDS
        while (wrong := apicurio.unready(self._management_port)) is not None:
            still_there()
            if time.monotonic() > deadline:
                raise SetupError(
                    f"The registry is not ready after {START_SECONDS:.0f} s ({wrong}). "
                    + last_words(log_file(self.directory, "registry"))
                )
            time.sleep(0.05)

    def _still_there(self, name: str) -> Callable[[], None]:
        """Return a check that raises, with the child's last words, once it has ended."""
        child, log = self._children[name], log_file(self.directory, name)

        def check() -> None:
            if not child.alive():
                raise SetupError(obituary(name, child.returncode, log))

        return check

    def _end(self, name: str, patience_s: float) -> None:
        if child := self._children.pop(name, None):
            child.end(patience_s)
        self._recorded.pop(name, None)
        state.write(self.directory, self._recorded)

    def _end_all(self) -> None:
        for name in list(self._children):
            self._end(name, STOP_SECONDS)
