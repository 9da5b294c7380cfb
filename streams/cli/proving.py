"""Commands that try and prove: `doctor`, `verify`, `metrics`, `demo`."""

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.root import CONFIG, FLAGS, JSON_FILE, app, say, write_json


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
        write_json(json_file, [finding._asdict() for finding in findings])
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

    Reads every request and every answer up to the offsets that are committed now, beside running workers if need be. Exit code 0: all checked and right. 1: a violation, with coordinates. 3: nothing wrong, but a part cannot be checked: retention has removed it, or labels were counted by other rules.

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
        from streams.monitored import Subject
        from streams.verify.monitoring import verify_labels

        labels = verify_labels(settings, Subject(settings).rules)
        found["labels"] = labels.as_json()
        codes.add(labels.exit_code)
        for line in ("", *labels.lines()):
            say(line)
    if json_file:
        write_json(json_file, found)
    raise typer.Exit(1 if 1 in codes else max(codes))


@app.command("metrics")
def list_metrics() -> None:
    """List every metric that is exposed: name, kind, labels, meaning.

    A worker serves them on /metrics, beside /livez and /readyz, if the config has a `[metrics]` section with a port.

    Example: streams metrics
    """
    from streams.metrics.catalogue import Metric
    from streams.metrics.drift import DriftMetric
    from streams.metrics.performance import PerformanceMetric

    for metric in Metric:
        say(f"{metric}{{{','.join(metric.labels)}}}" if metric.labels else metric)
        say(f"    {metric.kind}, {metric.unit}. {metric.meaning}")
    say("")
    say("Of `streams performance serve`; window is `newest` or `mature`:")
    for told in (*PerformanceMetric, *DriftMetric):
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
