"""What all commands share: the root, options, how things are said."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from streams import __version__
from streams.errors import SetupError

CONFIG = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        help="The application's TOML file. $STREAMS__SECTION__KEY overrides it, -X both.",
        show_default=False,
    ),
]
OUTPUT = Annotated[Literal["table", "json"], typer.Option(help="For people, or for programs.")]
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
JSON_FILE = Annotated[Path | None, typer.Option("--json", help="Also write the result to this file, as JSON.")]

EXIT_CODES = """Exit codes: 0 done and right · 1 a violation or a failure · 2 wrong usage or configuration ·
3 verify, schemas check: nothing wrong, but a part could not be checked · 4 something is missing or contradicts the guarantee ·
5 offsets disagree, a person must decide · 6 the slot is taken · 7 an outcome is unknown, restart · 8 no answer from broker or registry ·
9 the local state failed, restart · 10 fenced again and again by a worker of the same name ·
128+n a worker was ended by signal n again and again · 130 interrupted"""

app = typer.Typer(
    name="streams",
    help="Every request on a Kafka topic answered exactly once: with a prediction, or with a refusal that says why.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def group(name: str, help_text: str) -> typer.Typer:
    """Return a noun, whose verbs are to be added."""
    noun = typer.Typer(help=help_text, no_args_is_help=True, rich_markup_mode=None)
    app.add_typer(noun, name=name)
    return noun


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


def write_json(path: Path, value: Any) -> None:
    """Write a result for programs. Raises: SetupError if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=2) + "\n")
    except OSError as error:
        raise SetupError(f"--json: {path} cannot be written: {error.strerror}") from None
