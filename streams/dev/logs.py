"""What a child process said, and what its last words mean for its user."""

from pathlib import Path

ADVICE = {
    "No space left on device": "The disk is full: free some space, then start again. What was acknowledged is kept.",
    "Address already in use": "Another program took the port meanwhile: start again, or choose other ports.",
    "Database may be already in use": "Another registry uses this folder's database: end it, or choose another --dir.",
    "File corrupted": "The registry's database is damaged: delete the folder `registry`, and register schemas again.",
    "insufficient memory": "The machine has too little free memory: the broker needs 0.5 GiB, the registry 0.3 GiB.",
    "OutOfMemoryError": "Its heap is full, which the local stack's work should not do: start again.",
}

_TAIL_BYTES = 1 << 16
_LINES = 15
_WIDTH = 400


def log_file(directory: Path, name: str) -> Path:
    """Return where the output of `broker` or `registry` goes."""
    return directory / f"{name}.log"


def keep_previous(log: Path) -> None:
    """Set the log of the run before aside, so that the log holds one run only."""
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))


def obituary(name: str, returncode: int | None, log: Path) -> str:
    """Return what there is to say about a child that ended by itself."""
    code = "" if returncode is None else f", exit code {returncode}"
    return f"The {name} ended by itself{code}. {last_words(log)}"


def last_words(log: Path) -> str:
    """Return the last lines of a log, each cut to a readable length, and what they mean.

    The frames of Java's stack traces are left out: they would fill it.
    """
    tail = _tail(log)
    lines = [line for line in tail.splitlines() if not line.lstrip().startswith(("at ", "... "))][-_LINES:]
    quoted = "\n".join(f"    {line[:_WIDTH]}" for line in lines) or "    (it wrote nothing)"
    advice = [advice for sign, advice in ADVICE.items() if sign in tail] or [f"All it said is in {log}."]
    return f"Its last lines:\n{quoted}\n{' '.join(advice)}"


def _tail(log: Path) -> str:
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return file.read().decode("utf-8", errors="replace")
