"""What an attack found, said once it is over; `make chaos` also keeps it, in `RESULTS.md`."""

import json
import os
from pathlib import Path
from typing import NamedTuple

KEPT_IN = "ANSWERONCE_RESULTS"
"""Name of the file to which results are appended, as lines of JSON; unset: nothing is kept."""


class Result(NamedTuple):
    """One row of `RESULTS.md`."""

    part: str
    test: str
    claim: str
    load: str
    faults: str
    result: str
    seed: int


def line(result: Result) -> str:
    """Return a result for people."""
    return f"[{result.test}: {result.load}; {result.faults}: {result.result}; seed {result.seed}]"


def keep(result: Result) -> None:
    """Append a result to the file that the environment names."""
    if KEPT_IN in os.environ:
        with Path(os.environ[KEPT_IN]).open("a") as kept:
            kept.write(json.dumps(result._asdict()) + "\n")
