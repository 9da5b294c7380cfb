"""What the whole suite shares: one real stack, started when the first test asks for it, and names that do not collide.

A test that asks for `stack`, `bootstrap` or `registry_url` is marked `kafka` by that alone: `-m 'not kafka'` leaves
out all that need Java.
"""

import contextlib
import os
import random
import re
import shutil
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from hypothesis import settings

from streams.dev import Stack, artifacts
from streams.dev.java import find_java
from streams.errors import SetupError
from tests.faults.proxy import Proxy

# No deadline: a shared machine stalls, and a stall is not a finding. A failure prints how to reproduce it.
settings.register_profile("answeronce", deadline=None, print_blob=True)
settings.load_profile("answeronce")


@pytest.fixture
def seed() -> int:
    """Return the seed of what is random in a test: new in every run, printed with a failure, set by ANSWERONCE_SEED."""
    chosen = int(os.environ.get("ANSWERONCE_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"ANSWERONCE_SEED={chosen}")
    return chosen


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that needs the stack, directly or through another fixture, before `-m` selects."""
    for item in items:
        if isinstance(item, pytest.Function) and "stack" in item.fixturenames:
            item.add_marker(pytest.mark.kafka)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch what the stack needs before the first test's time limit runs; the first fetch may take minutes."""
    if session.config.option.collectonly or not any(item.get_closest_marker("kafka") for item in session.items):
        return
    with contextlib.suppress(SetupError):  # the fixture meets the same error, and reports it
        java = find_java()
        for artifact in (artifacts.BROKER, artifacts.REGISTRY):
            artifacts.provide(artifact, java.program, print)


SOONER = {
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "3000",
    "group.consumer.min.heartbeat.interval.ms": "200",
    "group.consumer.heartbeat.interval.ms": "500",
}
"""Under the consumer protocol it is the broker that says when a member is missed: 45 s by default."""


@pytest.fixture(scope="session")
def session_proxy() -> Iterator[Proxy]:
    """The proxy before the session's broker."""
    proxy = Proxy()
    yield proxy
    proxy.close()


@pytest.fixture
def proxy(session_proxy: Proxy) -> Iterator[Proxy]:
    """The proxy before the session's broker; it does no harm any more after the test."""
    yield session_proxy
    session_proxy.clear()


@pytest.fixture(scope="session")
def stack(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, session_proxy: Proxy
) -> Iterator[Stack]:
    """One broker and one registry for the whole session, on free ports; ended even if the session is killed."""
    began, folder = time.monotonic(), tmp_path_factory.mktemp("stack")
    with Stack(folder, broker_settings=lambda settings: session_proxy.settings(settings) | SOONER) as stack:
        capture = request.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            print(f"\n[the stack started in {time.monotonic() - began:.1f} s: {stack.bootstrap}]")
        yield stack
    shutil.rmtree(folder / "broker" / "data", ignore_errors=True)  # pytest keeps three sessions; the logs suffice


@pytest.fixture(autouse=True)
def _stack_stays_whole(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test that stopped or killed a part of the stack, and failed before it started it again, do that.

    The test's topics are deleted: a broker that is killed looks through all that it has when it starts again.
    """
    stack: Stack | None = request.getfixturevalue("stack") if "stack" in request.fixturenames else None
    mine: str | None = request.getfixturevalue("unique") if "unique" in request.fixturenames else None
    yield
    if stack is not None:
        stack.start_missing()
        if mine is not None:
            _delete_topics(stack.bootstrap, mine)


def _delete_topics(bootstrap: str, begin: str) -> None:
    """Delete what begins so; a broker that does not answer now has them until the end."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    with contextlib.suppress(KafkaException):
        found = [name for name in admin.list_topics(timeout=10).topics if name.startswith(begin)]
        for future in (admin.delete_topics(found) if found else {}).values():
            future.result()


@pytest.fixture
def bootstrap(stack: Stack) -> str:
    """What `bootstrap.servers` is set to."""
    return stack.bootstrap


@pytest.fixture
def registry_url(stack: Stack) -> str:
    """What `schema.registry.url` is set to."""
    return stack.registry_url


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> str:
    """Return a name that no other test has, for topics, groups, subjects and application ids: lower case, at most 48."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_")).strip("-")
    return f"{words[:39].rstrip('-')}-{uuid4().hex[:8]}"
