"""Applications under attack; their processes end with the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.dev import Stack
from tests.faults.results import Result, keep, line
from tests.integration.application import QUICK, Application


@pytest.fixture
def application(stack: Stack, unique: str, tmp_path: Path) -> Iterator[Application]:
    """A fresh application of four partitions and small batches; its processes end with the test."""
    app = Application(stack, unique, tmp_path, partitions=4, more=f"{QUICK}[batch]\nrecords = 500\n")
    yield app
    app.stop()


@pytest.fixture
def twelve(stack: Stack, unique: str, tmp_path: Path) -> Iterator[Application]:
    """A fresh application of twelve partitions."""
    app = Application(stack, unique, tmp_path, partitions=12, more=f"{QUICK}[batch]\nrecords = 500\n")
    yield app
    app.stop()


@pytest.fixture
def waiting(stack: Stack, unique: str, tmp_path: Path) -> Iterator[Application]:
    """An application whose polls last long, so that rebalances happen inside them."""
    app = Application(stack, unique, tmp_path, partitions=4, more=f"{QUICK}[batch]\nage_ms = 150\n")
    yield app
    app.stop()


@pytest.fixture
def result(
    request: pytest.FixtureRequest, seed: int, capsys: pytest.CaptureFixture[str]
) -> Callable[[str, str, str, str], None]:
    """Return what takes (claim, load, faults, result) of a test when it is over."""
    part = request.node.path.stem.removeprefix("test_")

    def say(claim: str, load: str, faults: str, outcome: str) -> None:
        found = Result(part, request.node.originalname, claim, load, faults, outcome, seed)
        keep(found)
        with capsys.disabled():
            print(line(found))

    return say
