"""A broker that asks for a password and denies by default: what a user needs, and how a wrong password is told."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # re-exported without saying so
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from streams.cli import main
from streams.config import load
from streams.dev import Stack
from streams.dev.ports import HOST, free_ports
from streams.doctor import examine
from streams.errors import Unreachable
from streams.verify import verify
from tests.integration.application import QUICK, Application

USER, PASSWORD, WRONG = "loans-scorer", "the-right-canary", "the-wrong-canary"
RIGHTS = {
    ResourceType.TOPIC: [AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE_CONFIGS],
    ResourceType.GROUP: [AclOperation.READ],
    ResourceType.TRANSACTIONAL_ID: [AclOperation.WRITE],
}
"""What a worker needs on everything whose name begins with the application's id; each implies Describe."""


class Guarded(Stack):
    """A broker with a second listener, where users log in and have no right that they were not given."""

    def __init__(self, folder: Path, registry_url: str) -> None:
        (self.login_port,) = free_ports(1, but_not=frozenset())
        self._registry = registry_url
        super().__init__(folder, registry=False, broker_settings=self._with_logins)

    @property
    def registry_url(self) -> str:
        """The registry of the session."""
        return self._registry

    def _with_logins(self, settings: dict[str, str]) -> dict[str, str]:
        listener = f",LOGIN://{HOST}:{self.login_port}"
        module = "org.apache.kafka.common.security.plain.PlainLoginModule"
        return settings | {
            "listeners": settings["listeners"] + listener,
            "advertised.listeners": settings["advertised.listeners"] + listener,
            "listener.security.protocol.map": settings["listener.security.protocol.map"] + ",LOGIN:SASL_PLAINTEXT",
            "listener.name.login.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.login.plain.sasl.jaas.config": f'{module} required user_{USER}="{PASSWORD}";',
            "allow.everyone.if.no.acl.found": "false",
            "super.users": "User:ANONYMOUS",
        }


@pytest.fixture(scope="module")
def guarded(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """The broker; it starts in about six seconds."""
    with Guarded(tmp_path_factory.mktemp("guarded"), stack.registry_url) as guarded:
        yield guarded


def login(guarded: Guarded) -> list[str]:
    """Return the flags that a user logs in with, but for the password."""
    return [
        f"kafka.bootstrap.servers={HOST}:{guarded.login_port}",
        "kafka.security.protocol=SASL_PLAINTEXT",
        "kafka.sasl.mechanism=PLAIN",
        f"kafka.sasl.username={USER}",
    ]


def grant(app: Application) -> None:
    """Give the user what a worker needs, by the prefix that all names of an application have."""
    client = AdminClient({"bootstrap.servers": app.stack.bootstrap})
    bindings = [
        AclBinding(kind, app.name, ResourcePatternType.PREFIXED, f"User:{USER}", "*", right, AclPermissionType.ALLOW)
        for kind, rights in RIGHTS.items()
        for right in rights
    ]
    for future in client.create_acls(bindings).values():
        future.result(10)


def test_a_user_with_the_prefix_s_rights_can_do_all_that_a_worker_must(
    guarded: Guarded, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor, workers and verify, under a password from a file; flags and environment reach the workers, too."""
    app = Application(guarded, unique, tmp_path, more=QUICK)
    grant(app)
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    monkeypatch.setenv("STREAMS__KAFKA__SASL__PASSWORD_FILE", str(tmp_path / "password"))
    flags = login(guarded)
    assert [] == [str(found) for found in examine(app.config, flags) if found.grade in ("FAIL", "skipped")]

    command = [sys.executable, "-m", "streams.cli", "scorer", "run", "-c", str(app.config)]
    command += [word for flag in flags for word in ("-X", flag)]
    with (tmp_path / "run.log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)
    try:
        app.ask(f"r{number}" for number in range(100))
        app.drained()
    finally:
        running.send_signal(signal.SIGTERM)
        code = running.wait(30)
    said = (tmp_path / "run.log").read_text()
    assert 0 == code, said
    report = verify(load(app.config, flags))
    assert 0 == report.exit_code, "\n".join(report.lines())
    assert {"SCORED": 100} == dict(app.kinds())
    assert PASSWORD not in said
    assert f"{HOST}:{guarded.login_port}" not in app.config.read_text()


def test_a_wrong_password_is_told_and_not_shown(
    guarded: Guarded, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The line says that the broker refuses the credentials; no password is in anything that was printed."""
    app = Application(guarded, unique, tmp_path)
    monkeypatch.setenv("STREAMS__KAFKA__SASL__PASSWORD", WRONG)
    arguments = ["doctor", "-c", str(app.config), *(word for flag in login(guarded) for word in ("-X", flag))]
    assert Unreachable.code == main(arguments)
    said = "".join(capfd.readouterr())
    assert "FAIL    broker" in said
    assert "refuses this client's credentials" in said
    assert "canary" not in said
