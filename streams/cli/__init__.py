"""The command line: nouns and verbs, help with examples, errors in one paragraph, exit codes that mean something."""

from collections.abc import Callable
from typing import Any

import typer

from streams.cli import beginning, contracts, proving, running, tickets
from streams.cli.root import EXIT_CODES, app
from streams.errors import Stop

__all__ = ["EXIT_CODES", "app", "beginning", "contracts", "main", "proving", "running", "tickets"]


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
