"""Clocks that are wrong: what a process takes for the time of day, by libfaketime."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from streams.dev import broker

HOUR_S, DAY_S = 3_600, 86_400
FOUND = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
needs_libfaketime = pytest.mark.skipif(
    not FOUND and "CI" not in os.environ, reason="needs libfaketime, which Debian and Ubuntu have as a package"
)


class Clock:
    """The time of day of those processes that have its environment: so many seconds wrong."""

    def __init__(self, file: Path, wrong_s: int = 0) -> None:
        self._file, self._wrong_s = file, wrong_s
        self.jump(wrong_s)

    def jump(self, wrong_s: int) -> int:
        """Be so wrong from now on; return by how much it jumped."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{wrong_s:+d}")
        new.rename(self._file)
        jumped, self._wrong_s = wrong_s - self._wrong_s, wrong_s
        return jumped

    @property
    def environ(self) -> Mapping[str, str]:
        """What a process must begin with. Waiting goes by the monotonic clock, which is let alone."""
        return {
            "LD_PRELOAD": str(FOUND[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@contextmanager
def wrong_clocks(clocks: Mapping[Path, Clock]) -> Iterator[None]:
    """Give brokers that are started meanwhile clocks of their own, by the folder of their stack."""
    command = broker.command

    def with_clock(java: Path, archives: Path, folder: Path) -> list[str]:
        clock = clocks.get(folder.parent)
        environ = clock.environ if clock else {}
        return [
            "/usr/bin/env",
            *(f"{key}={value}" for key, value in environ.items()),
            *command(java, archives, folder),
        ]

    with patch.object(broker, "command", with_clock):
        yield
