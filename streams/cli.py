"""The command line: nouns and verbs, help with examples, errors in one paragraph, exit codes that mean something."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from streams import __version__
from streams.errors import UNCHECKED, Stop

CONFIG = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        help="The application's TOML file. $STREAMS__SECTION__KEY overrides it, -X both.",
        show_default=False,
    ),
]
FLAGS = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        "-X",
        metavar="SECTION.KEY=VALUE",
        help="Override one setting, for example -X batch.records=500; may be repeated.",
        show_default=False,
    ),
]
WORKERS = Annotated[int, typer.Option(min=1, max=256, help="Processes; about one a core.")]
INSTANCE = Annotated[
    str | None, typer.Option(help="This host's name in slots. Default: $POD_NAME, else one kept in state_dir.")
]
SPAN = Annotated[float | None, typer.Option(help="Hours that are taken together. Default: [monitor] grain_hours.")]
JSON_FILE = Annotated[Path | None, typer.Option("--json", help="Also write the result to this file, as JSON.")]

NOTHING_PUBLISHED = "Nothing is published yet. Does `streams monitor run` run?"
EXIT_CODES = """Exit codes: 0 done and right · 1 a violation or a failure · 2 wrong usage or configuration ·
3 verify, schemas check: nothing wrong, but a part could not be checked · 4 something is missing or contradicts the guarantee ·
5 offsets disagree, a person must decide · 6 the slot is taken · 7 an outcome is unknown, restart · 8 no answer from broker or registry ·
9 the local state failed, restart · 10 fenced again and again by a worker of the same name"""

app = typer.Typer(
    name="streams",
    help="Every request on a Kafka topic answered exactly once: with a prediction, or with a refusal that says why.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _group(name: str, help_text: str) -> typer.Typer:
    group = typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(group, name=name)
    return group


dev = _group("dev", "A real broker and a real schema registry on this machine, without Docker.")
schemas = _group("schemas", "Contracts: check them against our rules and the registry, and register them.")
models = _group("models", "Model packages: checked whole, and registered.")
topics = _group("topics", "Topics as code.")
configs = _group("config", "The settings: what is in force, and where it was given.")
scorer = _group("scorer", "The scorer: requests in, exactly one answer out.")
monitor = _group("monitor", "Predictions and what came true.")
performance = _group("performance", "How right the predictions were.")


def say(line: str = "") -> None:
    """Print a line for people."""
    typer.echo(line)


def _version(value: bool) -> None:
    if value:
        from streams.kafka import client_version

        say(f"answeronce {__version__}, {client_version()}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the versions and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


# --- init


@app.command()
def init(
    name: Annotated[str, typer.Argument(metavar="APP", help="The application's id: lower-case letters, digits, . _ -")],
    directory: Annotated[Path | None, typer.Option("--dir", help="The folder to write. Default: ./APP")] = None,
) -> None:
    """Write a folder to start from: configuration, contract, model package, scripts, and what to do in which order.

    It works as it is, and is meant to be edited. Nothing that is there already is overwritten.

    Example: streams init loans
    """
    from streams.init import write

    for line in write(name, directory or Path(name)):
        say(line)


# --- dev

DIR = Annotated[Path | None, typer.Option("--dir", help="Where data and logs live. Default: .answeronce/dev")]


@dev.command("up")
def dev_up(
    directory: DIR = None,
    broker_port: Annotated[int | None, typer.Option(help="Port of the broker. Default: 19092")] = None,
    registry_port: Annotated[int | None, typer.Option(help="Port of the registry. Default: 18081")] = None,
) -> None:
    """Start broker and registry; they stay up until `streams dev down`.

    Needs Maven on the first run (the jars are then cached) and Java 21 or newer (or the `dev-stack` extra).

    Example: streams dev up --broker-port 19192
    """
    from streams import dev as stack

    running = stack.up(
        directory or stack.DEFAULT_DIRECTORY,
        broker_port or stack.BROKER_PORT,
        registry_port or stack.REGISTRY_PORT,
        say=say,
    )
    say(f"bootstrap.servers = {running.bootstrap}")
    say(f"schema registry   = {running.registry_url}")


@dev.command("down")
def dev_down(directory: DIR = None) -> None:
    """End broker and registry; their data stays."""
    from streams import dev as stack

    ran = stack.down(directory or stack.DEFAULT_DIRECTORY, say=say)
    say("Down." if ran else "Nothing was running.")


@dev.command("status")
def dev_status(directory: DIR = None) -> None:
    """Say what runs and how to reach it. Exit code 1 if not everything is up."""
    from streams import dev as stack

    parts = stack.status(directory or stack.DEFAULT_DIRECTORY)
    for part in parts:
        say(
            f"{part.name:9} {'up' if part.up else 'down':5} {part.address}  pid {part.pid}  {part.version}  log {part.log}"
        )
    if not parts:
        say("Nothing is up here. `streams dev up` starts it, on the data of the last time if there is any.")
    if not parts or not all(part.up for part in parts):
        raise typer.Exit(1)


# --- config


@configs.command("show")
def config_show(
    config: CONFIG,
    flags: FLAGS = None,
    output: Annotated[Literal["toml", "json"], typer.Option(help="For people, or for programs.")] = "toml",
) -> None:
    """Show every setting that is in force, and where it was given. Secrets are masked.

    Defaults < the file < $STREAMS__SECTION__KEY < -X section.key=value. In [kafka] and [schema_registry] a further __ of a
    variable is a dot, and a key that ends in _file or _env is read from there:
    STREAMS__KAFKA__SASL__PASSWORD_FILE=/run/secrets/kafka.

    Example: streams config show -c flights.toml -X batch.records=500
    """
    from streams.config import effective
    from streams.showing import as_json, as_toml

    found = effective(config, flags)
    if output == "json":
        say(json.dumps(as_json(found), indent=2))
    else:
        for line in as_toml(found):
            say(line)


# --- schemas


@schemas.command("check")
def schemas_check(config: CONFIG, flags: FLAGS = None) -> None:
    """Check every contract: our rules, then the registry's. Changes nothing.

    Our limits and rules come first, then what a change would silently mean, then the registry's compatibility answer. Exit
    code 1: a contract must not be registered like this. 3: nothing wrong, but the registry could not say.

    Example: streams schemas check -c flights.toml
    """
    from streams.config import load
    from streams.registering import check

    findings = check(load(config, flags))
    for finding in findings:
        say(str(finding))
    if any(finding.is_error for finding in findings):
        raise typer.Exit(1)
    if any(finding.grade == "unchecked" for finding in findings):
        raise typer.Exit(UNCHECKED)


@schemas.command("register")
def schemas_register(config: CONFIG, flags: FLAGS = None) -> None:
    """Register every contract under its subject. Doing it again changes nothing; workers never do it.

    Example: streams schemas register -c flights.toml
    """
    from streams.config import load
    from streams.registering import register

    for subject, schema_id, version in register(load(config, flags)):
        say(f"{subject}  id {schema_id}  version {version}")


# --- models


@models.command("register")
def models_register(
    directory: Annotated[Path, typer.Argument(help="The package: manifest.toml, artifact, contracts, golden rows.")],
    config: CONFIG,
    flags: FLAGS = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only; register nothing.")] = False,
) -> None:
    """Check a model package whole, golden rows included, and store it.

    A version is given once and for ever: try `--dry-run` first.

    Example: streams models register ./flights-late -c flights.toml
    """
    from streams.config import load
    from streams.models.packages import checked, register, unaccepted
    from streams.models.store import open_store

    settings = load(config, flags)
    store = open_store(settings.model.store)
    found = checked(directory, store)
    if not dry_run:
        register(directory, store)
    say(
        f"{'may be registered' if dry_run else 'registered'}: {found.name} {found.version}, sha256:{found.digest.hex()}"
    )
    if (found.name, found.version) != (settings.model.name, settings.model.version):
        say(f"note: [model] in {config} names {settings.model.name} {settings.model.version}, so that is what answers")
    for text in unaccepted(found, settings):
        say(f"note: {text}")


# --- topics


@topics.command("plan")
def topics_plan(config: CONFIG, flags: FLAGS = None) -> None:
    """Show what `apply` would do. Exit code 4 if something contradicts the guarantee and cannot be altered.

    Example: streams topics plan -c flights.toml
    """
    from streams.config import load
    from streams.topics import current_plan

    planned = current_plan(load(config, flags))
    for line in planned.lines():
        say(line)
    if planned.contradictions:
        raise typer.Exit(4)


@topics.command("apply")
def topics_apply(
    config: CONFIG,
    flags: FLAGS = None,
    from_end: Annotated[
        bool, typer.Option("--from-end", help="Start behind what the request topics hold now.")
    ] = False,
) -> None:
    """Create and alter the application's topics, and set the group's first offsets with a START record.

    Offsets are set only where the group is empty and the partition never had any. Doing it again changes nothing.

    Example: streams topics apply -c flights.toml
    """
    from streams.config import load
    from streams.topics import apply

    for line in apply(load(config, flags), from_end=from_end):
        say(line)


# --- scorer


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
    raise typer.Exit(Supervisor(commands, slots_dir(state_dir, kind)).run())


# --- monitor and performance


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
    output: Annotated[Literal["table", "json"], typer.Option(help="For people, or for programs.")] = "table",
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

    lines = told(load(config, flags), span)
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
) -> None:
    """Draw how right the predictions were over time, with intervals, and how many labels there are. Needs matplotlib.

    Spans that are not mature are hollow, and the first span of each version is marked.

    Example: streams performance plot -c flights.toml --span 168 flights.svg
    """
    from streams.config import load
    from streams.performance import performance as told
    from streams.plotting import plot

    settings = load(config, flags)
    lines = told(settings, span)
    if not lines:
        say(NOTHING_PUBLISHED)
        raise typer.Exit(1)
    plot(lines, file, settings.app.id)
    say(f"wrote {file}")


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


# --- doctor, verify and demo


@app.command()
def doctor(config: CONFIG, flags: FLAGS = None, json_file: JSON_FILE = None) -> None:
    """Try everything that a worker will need, and say what to do where it fails.

    Configuration, disk, model, registry, broker, topics, permissions, clock, offsets. Harmless beside running workers: it
    joins no group, and what it writes it aborts. Exit code 0: all is well, warnings included; else the first failure's.

    Example: streams doctor -c flights.toml
    """
    from streams.doctor import examine, exit_code

    findings = []
    for finding in examine(config, flags):
        findings.append(finding)
        say(str(finding))
    if json_file:
        _write_json(json_file, [finding._asdict() for finding in findings])
    raise typer.Exit(exit_code(findings))


@app.command()
def verify(
    config: CONFIG,
    flags: FLAGS = None,
    json_file: JSON_FILE = None,
    at_rest: Annotated[
        bool,
        typer.Option(
            "--at-rest", help="No worker runs, no producer is at work: nothing may be unanswered, no transaction open."
        ),
    ] = False,
) -> None:
    """Check exactly-once on the topics themselves. Changes nothing.

    Reads every request and every answer up to the offsets that are committed now, beside running workers if need be. Exit code 0: all checked and right. 1: a violation, with coordinates. 3: nothing wrong, but retention has removed a part.

    Example: streams verify -c flights.toml
    """
    from streams.config import load
    from streams.verify import verify as check

    settings = load(config, flags)
    report = check(settings, say=lambda line: typer.echo(line, err=True), at_rest=at_rest)
    found, codes = report.as_json(), {report.exit_code}
    for line in report.lines():
        say(line)
    if settings.labels is not None:
        from streams.monitor_assembly import Subject
        from streams.verify.monitoring import verify_labels

        labels = verify_labels(settings, Subject(settings).rules)
        found["labels"] = labels.as_json()
        codes.add(labels.exit_code)
        for line in ("", *labels.lines()):
            say(line)
    if json_file:
        _write_json(json_file, found)
    raise typer.Exit(1 if 1 in codes else max(codes))


@app.command("metrics")
def list_metrics() -> None:
    """List every metric that is exposed: name, kind, labels, meaning.

    A worker serves them on /metrics, beside /livez and /readyz, if the config has a `[metrics]` section with a port.

    Example: streams metrics
    """
    from streams.metrics.catalogue import Metric
    from streams.metrics.performance import PerformanceMetric

    for metric in Metric:
        say(f"{metric}{{{','.join(metric.labels)}}}" if metric.labels else metric)
        say(f"    {metric.kind}, {metric.unit}. {metric.meaning}")
    say("")
    say("Of `streams performance serve`; window is `newest` or `mature`:")
    for told in PerformanceMetric:
        say(f"{told}{{{','.join(told.labels)}}}")
        say(f"    gauge. {told.meaning}")


@app.command()
def demo(
    json_file: JSON_FILE = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the stack up and say how to produce and consume.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the traffic.")] = 7,
    months: Annotated[
        str, typer.Option(metavar="FIRST[-LAST]", help="Of 2013, 3 to 12; the model has seen 1 and 2.")
    ] = "3",
    plot: Annotated[
        Path | None, typer.Option(help="Draw how right the predictions were: .svg, .png or .pdf. Needs matplotlib.")
    ] = None,
) -> None:
    """Score a month of real flights, kill a worker, prove the count.

    Two workers, one of them killed with -9 in the middle; then every request and every answer is counted, and what came true.

    Example: streams demo --months 3-12 --plot year.svg
    """
    from streams.demo import require

    require()  # before the import, which needs it all
    from streams.demo.run import run

    spanned = _months(months)
    raise typer.Exit(run(json_file=json_file, keep=keep, seed=seed, say=say, months=spanned, picture=plot))


def _months(said: str) -> range:
    from streams.errors import ConfigError

    first, _, last = said.partition("-")
    try:
        months = range(int(first), int(last or first) + 1)
    except ValueError:
        months = range(0)
    if not months or months[0] < 3 or months[-1] > 12:
        raise ConfigError(f"--months {said}: a month from 3 to 12, or two joined by -, as in 3-12")
    return months


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit code (and exit with it, as a console script)."""
    return _guarded(lambda: app(args=arguments, standalone_mode=False))


def _guarded(call: Callable[[], Any]) -> int:
    try:
        code = call()
    except Stop as reason:
        typer.echo(f"error: {reason}", err=True)
        return reason.code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()  # wrong usage: the parser's own message
        return int(getattr(error, "exit_code", 2))
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
