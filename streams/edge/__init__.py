"""Where things leave the application for people and their systems: at least once, on values that may be repeated.

Built on Faust, which is kept to what it is good at: one agent, no table, no topic of its own, and offsets that are committed
by hand.
"""

from importlib import import_module

from streams.errors import SetupError


def usable() -> None:
    """Raises: SetupError without Faust, or without what it reads lz4 with, which our producers may be told to use."""
    for module, library in (("faust", "faust-streaming"), ("cramjam", "cramjam")):
        try:
            import_module(
                module
            )  # `find_spec` fails once Faust is imported: it puts a module without a spec in its place
        except ImportError:
            raise SetupError(f"delivering tickets needs {library}: pip install 'answeronce[tickets]'") from None
