"""Commands that work, and tell of the work: `scorer`, `monitor`, `performance`."""

import json
import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from streams.cli.root import CONFIG, FLAGS, OUTPUT, group, say

WORKERS = Annotated[int, typer.Option(min=1, max=256, help="Processes; about one a core.")]
INSTANCE = Annotated[
    str | None, typer.Option(help="This host's name in slots. Default: $POD_NAME, else one kept in state_dir.")
]
SPAN = Annotated[float | None, typer.Option(help="Hours that are taken together. Default: [monitor] grain_hours.")]
AS_OF = Annotated[
    str | None,
    typer.Option(
        help="Judge what is pending, expired and mature as of this moment of event time, 2026-11-28T12:00Z. Default: the end "
        "of the newest window.",
    ),
]
NOTHING_PUBLISHED = "Nothing is published yet with this grain and horizon. Does `streams monitor run` run?"
scorer = group("scorer", "The scorer: requests in, exactly one answer out.")
monitor = group("monitor", "Predictions and what came true.")
performance = group("performance", "How right the predictions were.")


@scorer.command("run")
def scorer_run(
    config: CONFIG,
    flags: FLAGS = None,
    workers: WORKERS = 1,
    instance: INSTANCE = None,
) -> None:
    """Answer requests until stopped.

    Ctrl-C or SIGTERM finishes the batch and hands over; a second one ends it at once.

    Example: streams scorer run -c flights.toml --workers 2
    """
    from streams.assembly import preflight
    from streams.config import load
    from streams.logs import to_stderr

    to_stderr()
    settings = load(config, flags)
    for warning in preflight(settings):
        say(f"warning: {warning}")
    _supervise("scorer", settings.app.state_dir, config, flags, workers, instance)


def _supervise(
    kind: Literal["scorer", "monitor"],
    state_dir: Path,
    config: Path,
    flags: list[str] | None,
    workers: int,
    instance: str | None,
    *,
    rekey: bool = False,
) -> None:
    from streams.slots import instance as instance_name
    from streams.slots import slots_dir
    from streams.supervisor import Supervisor, worker_command

    name = instance_name(state_dir, instance, dict(os.environ))
    kinds: dict[str, str] = {f"{name}-{number:02d}": kind for number in range(workers)}
    if rekey:  # one is enough: it only copies; its number is the next, and so is its port
        kinds[f"{name}-rekey-{workers:02d}"] = "rekeyer"
    commands = {slot: worker_command(config, slot, flags, kind=one) for slot, one in kinds.items()}
    helpers = {slot for slot, one in kinds.items() if one != kind}
    raise typer.Exit(Supervisor(commands, slots_dir(state_dir, kind), helpers=helpers).run())


@monitor.command("run")
def monitor_run(config: CONFIG, flags: FLAGS = None, workers: WORKERS = 1, instance: INSTANCE = None) -> None:
    """Join labels with the predictions that they judge, and count, until stopped.

    It reads results and labels in a group of its own, with the scorer's guarantees, and publishes windows of counts;
    `streams performance show` tells what they say.

    Example: streams monitor run -c flights.toml
    """
    from streams.config import load
    from streams.logs import to_stderr
    from streams.monitor_assembly import preflight

    to_stderr()
    settings = load(config, flags)
    preflight(settings)
    rekey = settings.labels is not None and settings.labels.rekey
    _supervise("monitor", settings.app.state_dir, config, flags, workers, instance, rekey=rekey)


@performance.command("show")
def performance_show(
    config: CONFIG,
    flags: FLAGS = None,
    span: SPAN = None,
    as_of: AS_OF = None,
    output: OUTPUT = "table",
) -> None:
    """Tell how right the predictions were, by model version and span of their event time.

    n = labelled + pending + expired. Figures of a span that is not mature can be far off: labels that come soon are not like
    those that come late. An interval is from how the windows of the span differ, where there are several, else from sampling
    alone; ± is DeLong's standard error.

    Example: streams performance show -c flights.toml --span 24
    """
    from streams.config import load
    from streams.monitor.telling import as_json, table
    from streams.performance import performance as told

    lines = told(load(config, flags), span, _as_of(as_of))
    if output == "json":
        say(json.dumps([as_json(line) for line in lines], indent=2))
        return
    for line in table(lines) if lines else [NOTHING_PUBLISHED]:
        say(line)


@performance.command("plot")
def performance_plot(
    config: CONFIG,
    file: Annotated[Path, typer.Argument(help="What to write: .svg, .png or .pdf.", show_default=False)],
    flags: FLAGS = None,
    span: SPAN = None,
    as_of: AS_OF = None,
) -> None:
    """Draw how right the predictions were over time, with intervals, and how many labels there are. Needs matplotlib.

    Spans that are not mature are hollow, and the first span of each version is marked. Beneath, a row a feature shows how far
    what the model saw was from training, window by window, and when a ticket was open.

    Example: streams performance plot -c flights.toml --span 168 flights.svg
    """
    from streams.config import load
    from streams.drift import lines as features
    from streams.drift import look
    from streams.performance import performance as told
    from streams.plotting import plot, usable

    usable(file)
    settings = load(config, flags)
    lines = told(settings, span, _as_of(as_of))
    if not lines:
        say(NOTHING_PUBLISHED)
        raise typer.Exit(1)
    found = look(settings).verdicts
    plot(lines, file, settings.app.id, features(found))
    say(f"wrote {file}")
    for one in found:
        if one.why is not None:
            say(f"{one.subject.model} {one.subject.version}: its features are not watched: {one.why}")


@performance.command("serve")
def performance_serve(
    config: CONFIG,
    flags: FLAGS = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The port to listen on.")] = 9400,
) -> None:
    """Serve the newest window of each model, and the newest that is mature, to Prometheus, until stopped.

    It follows what is published and committed; run one for an application. `streams metrics` lists what it says.

    Example: streams performance serve -c flights.toml --port 9400
    """
    import signal
    import threading

    from streams.config import load
    from streams.performance_serving import run

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    settings = load(config, flags)
    say(f"serving http://{host}:{port}/metrics")
    run(settings, host, port, stopping)


def _as_of(said: str | None) -> int | None:
    from datetime import UTC, datetime

    from streams.errors import ConfigError

    if said is None:
        return None
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        raise ConfigError(f"--as-of {said}: a moment is written like 2026-11-28T12:00Z") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
