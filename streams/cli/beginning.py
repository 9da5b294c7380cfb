"""Commands to begin with: `init`, `dev`, `config`."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from streams.cli.root import CONFIG, FLAGS, app, group, say

dev = group("dev", "A real broker and a real schema registry on this machine, without Docker.")
configs = group("config", "The settings: what is in force, and where it was given.")


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
