"""Commands that say what is agreed on: `schemas`, `models`, `topics`."""

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.root import CONFIG, FLAGS, group, say
from streams.errors import UNCHECKED

schemas = group("schemas", "Contracts: check them against our rules and the registry, and register them.")
models = group("models", "Model packages: checked whole, and registered.")
topics = group("topics", "Topics as code.")


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


@models.command("register")
def models_register(
    directory: Annotated[Path, typer.Argument(help="The package: manifest.toml, artifact, contracts, golden rows.")],
    config: CONFIG,
    flags: FLAGS = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check only; register nothing.")] = False,
) -> None:
    """Check a model package whole, golden rows included, and store it; say what of it is watched.

    A version is given once and for ever: try `--dry-run` first. A feature's numbers are what its values, the missing and the
    unseen among them may differ from training in one window, as PSI, and it is no drift.

    Example: streams models register ./flights-late -c flights.toml
    """
    from streams.config import load
    from streams.models.packages import checked, register, unaccepted
    from streams.models.reference import parse
    from streams.models.store import open_store
    from streams.watching import told

    settings = load(config, flags)
    store = open_store(settings.model.store)
    found = checked(directory, store)
    if not dry_run:
        register(directory, store)
    say(
        f"{'may be registered' if dry_run else 'registered'}: {found.name} {found.version}, sha256:{found.digest.hex()}"
    )
    about, where = found.manifest, found.manifest.reference
    reference = None if where is None else parse((directory / where.file).read_bytes(), about.columns, where.file)
    for line in told(about, reference):
        say(line)
    if (found.name, found.version) != (settings.model.name, settings.model.version):
        say(f"note: [model] in {config} names {settings.model.name} {settings.model.version}, so that is what answers")
    for text in unaccepted(found.manifest, found.accepts, settings):
        say(f"note: {text}")


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
