"""Applications under attack; their processes end with the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.dev import Stack
from tests.integration.application import QUICK, Application


@pytest.fixture
def application(stack: Stack, unique: str, tmp_path: Path) -> Iterator[Application]:
    """A fresh application of four partitions and small batches; its processes end with the test."""
    app = Application(stack, unique, tmp_path, partitions=4, more=f"{QUICK}[batch]\nrecords = 500\n")
    yield app
    app.stop()


@pytest.fixture
def waiting(stack: Stack, unique: str, tmp_path: Path) -> Iterator[Application]:
    """An application whose polls last long, so that rebalances happen inside them."""
    app = Application(stack, unique, tmp_path, partitions=4, more=f"{QUICK}[batch]\nage_ms = 150\n")
    yield app
    app.stop()
