"""The tests of the tests, on the real broker: each defect passes a hundred requests, and dies of its attack, by name.

More of them are in `tests/scenarios/test_mutants.py`, where no broker is needed; those that have an attack of their own
are beside it: state-before-commit and unknown-is-aborted in `test_kills`, late-endtxn-accepted in `test_endtxn`,
restore-ends-at-lso in `test_state`.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.errors import SlotTaken
from tests.faults.attack import Feeder, arm, frozen, taken
from tests.faults.oracle import judge
from tests.faults.test_moves import come_and_go
from tests.integration.application import Application, until

Attack = Callable[[Application, str], None]


def kill_and_lose_the_state(app: Application, mutant: str) -> None:
    """A worker dies with its transaction open, and its disk is gone."""
    app.supervise(1, mutant=f"{mutant}marks,points")
    feeder = Feeder(app, 3_000, 1_500, 1)
    arm(app, "offsets-sent", "freeze")
    pid = frozen(app, 30)
    shutil.rmtree(app.settings.app.state_dir / "s-00" / "store")
    os.kill(pid, signal.SIGKILL)
    feeder.done()
    with contextlib.suppress(AssertionError):
        app.drained(8 if mutant else 60)


def kill_in_the_middle(app: Application, mutant: str) -> None:
    """A worker dies with a batch in its hands."""
    app.supervise(1, mutant=f"{mutant}marks,points")
    feeder = Feeder(app, 3_000, 1_500, 1)
    arm(app, "decided", "nap")  # meanwhile the client does what it does by itself
    until(lambda: taken(app, "decided"), 30, what="a batch in hand")
    feeder.done()
    with contextlib.suppress(AssertionError):
        app.drained(8 if mutant else 60)


def freeze_and_wake(app: Application, mutant: str) -> None:
    """A worker freezes with a batch in its hands, another takes over, and the first wakes."""
    app.supervise(1, instance="z", mutant=f"{mutant}marks,points")
    feeder = Feeder(app, 6_000, 1_000, 1)
    arm(app, "decided", "freeze")
    zombie = frozen(app)
    app.start("t-00", "marks")
    until(lambda: feeder.sent - app.lag() > 4_000, 30, what="the takeover")
    os.kill(zombie, signal.SIGCONT)
    feeder.done()
    with contextlib.suppress(AssertionError):
        app.drained(8 if mutant else 60)


def move(app: Application, mutant: str) -> None:
    """Workers come and go."""
    come_and_go(app, f"{mutant}marks", patience_s=3 if mutant else 60)


CASES = [
    ("auto-commit", kill_in_the_middle, {"OFFSETS_WENT_FORWARD", "LOST"}),
    ("restore-reads-uncommitted", kill_and_lose_the_state, {"OFFSETS_WENT_BACK", "STATE_DIVERGED", "LOST"}),
    ("never-joined", freeze_and_wake, {"DOUBLED", "ZOMBIE"}),
    ("epoch-after-consume", move, {"TWICE_SCORED", "DOUBLED", "ANSWER_DIFFERS", "STATE_DIVERGED"}),
]


@pytest.mark.parametrize(("mutant", "attack", "names"), CASES, ids=[case[0] for case in CASES])
def test_a_mutant_dies(waiting: Application, mutant: str, attack: Attack, names: set[str], seed: int) -> None:
    """A hundred requests in peace are answered as they should be; under its attack the judge, or the next worker, names it."""
    app = waiting
    smoke = app.start("smoke-00", mutant)
    until(lambda: "recovered" in app.log("smoke-00"), 30, what="the assignment")
    app.ask(f"p{number}" for number in range(100))
    app.drained()
    smoke.terminate()
    assert 0 == smoke.wait(15)
    assert {"SCORED": 100} == dict(app.kinds())
    attack(app, f"{mutant},")
    found = set(judge(app, seed).violations)
    said = "".join(path.read_text() for path in app.home.glob("*.log"))
    found |= {name for name in ("OFFSETS_WENT_BACK", "OFFSETS_WENT_FORWARD") if name in said}
    assert found & names, f"it survives: {found}"


@pytest.mark.parametrize("attack", [kill_in_the_middle, kill_and_lose_the_state], ids=["kill", "lose"])
def test_the_product_survives(waiting: Application, attack: Attack, seed: int) -> None:
    """The same attacks, without a defect; those of the other two are `test_zombies` and `test_churn`."""
    attack(waiting, "")
    judge(waiting, seed).right()


@pytest.mark.parametrize("mutant", [False, True], ids=["product", "mutant"])
def test_two_hosts_with_one_instance(application: Application, mutant: bool) -> None:
    """The second takes the slot, and the first stays down; started again for ever, they would fence each other for ever."""
    app = application
    other = app.home / "other.toml"
    other.write_text(app.config.read_text().replace('state_dir = "state"', 'state_dir = "elsewhere"'))
    hosts = [host(app, app.config, "state", mutant)]
    app.ask(f"r{number}" for number in range(100))
    app.drained()
    hosts.append(host(app, other, "elsewhere", mutant))
    feeder = Feeder(app, 4_000, 500, 1)
    logs = [app.home / "state.log", app.home / "elsewhere.log"]

    def starts() -> int:
        return sum(log.read_text().count("worker started") for log in logs)

    if mutant:
        until(lambda: starts() >= 10, 60, what="the fight for the slot")
    else:
        assert SlotTaken.code == hosts[0].wait(40)
        feeder.done()
        app.drained()
        assert (None, 2) == (hosts[1].poll(), starts())


def host(app: Application, config: Path, folder: str, mutant: bool) -> subprocess.Popen[bytes]:
    """Start a supervisor with one slot, as another host with the same instance would."""
    script = "import sys; from pathlib import Path; from streams import supervisor\n"
    if mutant:
        script += f"supervisor.FINAL -= {{ {SlotTaken.code} }}\n"
    script += f"commands = {{'s-00': supervisor.worker_command(Path({str(config)!r}), 's-00')}}\n"
    script += f"sys.exit(supervisor.Supervisor(commands, Path({str(app.home / folder)!r})).run())"
    log = (app.home / f"{folder}.log").open("ab")
    process = subprocess.Popen([sys.executable, "-c", script], stdout=log, stderr=log)
    app.workers.append(process)
    return process
