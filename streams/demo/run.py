"""`streams demo`: set everything up, play a month or more, kill a worker in the middle, verify, report, and leave nothing running."""

import contextlib
import json
import platform
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from streams import __version__, dev
from streams.demo import by_hand
from streams.demo.live import Live, Say, wants_colour
from streams.demo.play import Play
from streams.demo.report import Found, Silence
from streams.demo.stage import MARCH, PARTITIONS, prepare
from streams.demo.truth import Monitor, come_true, labels
from streams.demo.watch import Watch
from streams.demo.workers import Workers
from streams.dev import Stack
from streams.dev.artifacts import KAFKA_VERSION, REGISTRY_VERSION
from streams.dev.ports import in_use
from streams.drift import lines, look
from streams.errors import ConfigError, SetupError
from streams.kafka import client_version
from streams.plotting import plot, usable
from streams.records import TP
from streams.verify import verify

KEPT = Path(".answeronce/demo")
"""Where `--keep` keeps everything, under the current folder."""


def run(
    *,
    json_file: Path | None,
    keep: bool,
    seed: int,
    say: Say,
    months: range = MARCH,
    picture: Path | None = None,
    flights: int | None = None,
) -> int:
    """Run the demo and return its exit code: 0 only if everything holds, else 1.

    Nothing is left running when this returns or raises, on Ctrl-C neither; except with `keep`, once everything held.

    Args:
        json_file: where the findings go, too.
        keep: leave broker, registry and workers up, in `.answeronce/demo`.
        seed: of the traffic, and of who is killed.
        say: told every line.
        months: whose flights are asked about; the model has seen January and February.
        picture: where it is drawn how right the predictions were, and how far what the model saw was from training.
        flights: send only so many of the first flights, at least 3,000.
    Raises: Stop: what is missing and how to get it, or what broke.
    """
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise ConfigError(f"--json {json_file}: there is no folder {json_file.absolute().parent}.")
    if picture is not None:
        usable(picture)
    live = Live(say, coloured=wants_colour())
    home = _kept_folder() if keep else Path(tempfile.mkdtemp(prefix="answeronce-demo-"))
    try:
        with _interruptible(), contextlib.ExitStack() as ending:
            span = "One month" if len(months) == 1 else f"{len(months)} months"
            live.heading(f"{span} of flights out of New York, two workers, and a kill -9 in the middle")
            try:
                found = _found(home, ending, live, Asked(keep, seed, months, flights, picture))
            except KeyboardInterrupt:
                live.heading("Interrupted: ending what was started ...")
                raise
            failures = found.failures()
            if json_file is not None:
                json_file.write_text(json.dumps(found.as_json(), indent=2) + "\n", "utf-8")
            stays = keep and not failures
            if stays:
                by_hand.write(home)
            live.report(found, by_hand.lines(home) if stays else ())
            if stays:
                ending.pop_all()  # what was started is not ended
    except BaseException as error:
        _leave(home, live, logs=isinstance(error, Exception) and not isinstance(error, BrokenPipeError))
        raise
    if failures or not keep:
        _leave(home, live, logs=bool(failures))
    return 1 if failures else 0


class Asked(NamedTuple):
    """What was asked for; see `run`."""

    keep: bool
    seed: int
    months: range
    flights: int | None
    picture: Path | None


def _stack(home: Path, ending: contextlib.ExitStack, live: Live, *, keep: bool) -> Stack:
    """Start broker and registry: on free ports, or, to be kept, on those of `streams dev up` where they are free."""
    if not keep:
        return ending.enter_context(Stack(home, say=live.note))
    broker, registry = (None if in_use(port) else port for port in (dev.BROKER_PORT, dev.REGISTRY_PORT))
    stack = Stack(home, broker_port=broker, registry_port=registry, say=live.note)
    stack.start()
    ending.callback(stack.stop)
    return stack


def _found(home: Path, ending: contextlib.ExitStack, live: Live, asked: Asked) -> Found:
    """Set everything up, play, and verify; whatever is started ends with `ending`. Raises: Stop."""
    begun = time.monotonic()
    stack = _stack(home, ending, live, keep=asked.keep)
    stage = prepare(home, stack.bootstrap, stack.registry_url, asked.seed, asked.months, asked.flights, live.step)
    workers = Workers(stage.config, stage.settings)
    ending.callback(workers.end)
    workers.start()
    workers.wait_ready(stage.sources)
    live.step("workers", " and ".join(f"{slot} (process {workers.pid(slot)})" for slot in workers.slots))
    watch = Watch(stage.settings)
    played = Play(stage, workers, watch, seed=asked.seed, show=live.show, tell=live.tell).run()
    live.heading("Verifying: every request, every answer ...")
    verified = verify(stage.settings, say=live.note)
    live.heading("Hours later: what came true ...")
    monitor = Monitor(stage)
    ending.callback(monitor.end)
    monitor.start()
    monitor.wait([TP(stage.settings.results, partition) for partition in range(PARTITIONS)], marked=True)
    truth = come_true(stage, labels(stage.flights, asked.seed), monitor, live.tell)
    found = Found(
        seed=asked.seed,
        seconds=time.monotonic() - begun,
        expected=stage.traffic.expected(),
        played=played,
        silence=Silence.around(played.kill, watch) if played.kill else None,
        sentences=watch.sentences,
        verified=verified,
        versions=_versions(),
        truth=truth,
    )
    if asked.picture is not None:
        plot(truth.weeks, asked.picture, "Flights out of New York, 2013", lines(look(stage.settings).verdicts))
    return found


def _kept_folder() -> Path:
    """Return the folder of `--keep`, empty. Raises: SetupError if what was kept there is still up."""
    home = KEPT.absolute()
    if any(part.up for part in dev.status(home)):
        raise SetupError(f"The demo is still up from before. End it first: {by_hand.streams()} dev down --dir {KEPT}")
    shutil.rmtree(home, ignore_errors=True)
    return home


def _leave(home: Path, live: Live, *, logs: bool) -> None:
    """Remove the demo's folder, or say which logs in it may explain what went wrong."""
    if logs and any(home.glob("*.log")):
        live.note(f"Logs and data are kept in {home}.")
    else:
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal end the block in order; a second one does not disturb its ending."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for each in previous:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _versions() -> dict[str, str]:
    return {
        "answeronce": __version__,
        "python": platform.python_version(),
        "client": client_version(),
        "kafka": KAFKA_VERSION,
        "registry": f"Apicurio {REGISTRY_VERSION}",
        "lightgbm": version("lightgbm"),
    }
