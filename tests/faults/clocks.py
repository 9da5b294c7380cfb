"""Brokers whose time of day is wrong, by a library that is loaded before the C library (`clock.c`).

libfaketime 0.9.10 will not do: it stands before the condition variables, too, and a broker hangs in them.
"""

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from streams.dev import broker

HOUR_S, DAY_S = 3_600, 86_400
COMPILER = shutil.which("cc")
needs_compiler = pytest.mark.skipif(not COMPILER and "CI" not in os.environ, reason="needs a C compiler: cc")


class Clock:
    """The time of day of those processes that have its environment: so many seconds wrong."""

    def __init__(self, file: Path, wrong_s: int = 0) -> None:
        self._file = file
        file.write_bytes(bytes(8))
        self.jump(wrong_s)

    def jump(self, wrong_s: int) -> None:
        """Be so wrong from now on."""
        self.wrong_s = wrong_s
        with self._file.open("r+b", buffering=0) as file:
            file.write(struct.pack("q", wrong_s))

    @property
    def environ(self) -> Mapping[str, str]:
        """What a process must begin with."""
        library, source = self._file.with_suffix(".so"), Path(__file__).with_name("clock.c")
        if not library.exists():
            subprocess.run([COMPILER or "cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        return {"LD_PRELOAD": str(library), "WRONG_CLOCK": str(self._file)}


@contextmanager
def wrong_clocks(clocks: Mapping[Path, Clock]) -> Iterator[None]:
    """Give brokers that are started meanwhile clocks of their own, by the folder of their stack."""
    command = broker.command

    def with_clock(java: Path, archives: Path, folder: Path) -> list[str]:
        environ = clocks[folder.parent].environ if folder.parent in clocks else {}
        named = [f"{key}={value}" for key, value in environ.items()]
        return ["/usr/bin/env", *named, *command(java, archives, folder)]

    with patch.object(broker, "command", with_clock):
        yield
