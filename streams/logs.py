"""Where our own log lines go: one line an event, on standard error, so that standard output stays for answers."""

import sys

import structlog


def to_stderr() -> None:
    """Send log lines to standard error, whichever stream that is at the moment of writing.

    A logger that kept the stream of its first line would write into a closed one wherever a caller swaps streams
    (a test that captures output, a host that re-opens its log).
    """
    structlog.configure(logger_factory=lambda *_: structlog.WriteLogger(sys.stderr))
