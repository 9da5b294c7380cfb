"""Ends a stack whose owner is gone: `python -m streams.dev.guard DIRECTORY`, its standard input a pipe from the owner.

The pipe closes when the owner ends, in whatever way; no signal handler or `finally` runs after a SIGKILL.
"""

import signal
import sys
from pathlib import Path

from streams.dev import down


def main() -> None:
    """Wait for the end of standard input, then end the stack."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.buffer.read()
    directory = Path(sys.argv[1])
    if directory.is_dir():
        down(directory)


if __name__ == "__main__":
    main()
