"""What `deploy/` says of the program is what the program does."""

from configparser import RawConfigParser
from pathlib import Path

from streams.config import Limits
from streams.errors import Fenced
from streams.supervisor import FINAL, GRACE_S

UNIT = Path(__file__).parent.parent / "deploy" / "answeronce@.service"


def test_the_unit_restarts_what_a_restart_can_cure() -> None:
    """systemd and the supervisor agree on which exit codes are for a person, and the end is not cut short."""
    unit = RawConfigParser(comment_prefixes="#")
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's keys have capitals
    unit.read_string(UNIT.read_text())
    service = unit["Service"]
    # a supervisor ends with Fenced only when another host has fought for its slots again and again
    assert FINAL | {Fenced.code} == {int(code) for code in service["RestartPreventExitStatus"].split()}
    assert ("on-failure", "SIGTERM", "mixed") == (service["Restart"], service["KillSignal"], service["KillMode"])
    assert max(GRACE_S, Limits().turn_ms / 1000) + 10 < int(service["TimeoutStopSec"])
    # more than five starts in ten seconds, and systemd gives up: an outage must not be the end
    assert int(service["RestartSec"]) * 5 > 10
