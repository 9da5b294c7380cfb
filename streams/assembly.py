"""Real edges, put together for one application: what `scorer run` checks first, and what a worker runs on."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

