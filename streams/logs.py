"""Where our own log lines go: one line an event, on standard error, so that standard output stays for answers."""

import os
import sys

import structlog


def to_stderr() -> None:
    """Send log lines to standard error, whichever stream that is at the moment of writing; no traceback shows a value.

    A logger that kept the stream of its first line would write into a closed one wherever a caller swaps streams
    (a test that captures output, a host that re-opens its log).
    structlog's own tracebacks show every local variable: passwords among them, and what is in requests.
    """
    *before, _ = structlog.get_config()["processors"]
    colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    last = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*before, last], logger_factory=lambda *_: structlog.WriteLogger(sys.stderr))
