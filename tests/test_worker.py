"""What a worker's process is, before it reaches a broker."""

import subprocess
import sys

LOOK = """
from streams.models.lightgbm import require
require()
sys.exit(any(name.startswith("pandas.") for name in sys.modules))
"""
BEGIN = """
import sys
from pathlib import Path
from streams import worker
"""


def ends(script: str) -> int:
    """Return how a process ends that has a supervisor."""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) as process:
        return process.wait(60)


def test_a_restart_waits_for_no_library_that_a_worker_does_not_use() -> None:
    """LightGBM imports pandas where it is installed, as here for the demo's data; in other processes it still does."""
    assert ends(f"{BEGIN}assert worker.main('scorer', Path('missing.toml'), 't-00') == 2{LOOK}") == 0
    assert ends(f"{BEGIN}{LOOK}") == 1
