"""What a child process said, and what its last words mean for its user."""

from pathlib import Path

ADVICE = {
    "No space left on device": "The disk is full: free some space, then start again. What was acknowledged is kept.",
    "Address already in use": "Another program took the port meanwhile: start again, or choose other ports.",
    "Database may be already in use": "Another registry uses this folder's database: end it, or choose another --dir.",
    "insufficient memory": "The machine has too little free memory: the broker needs 0.5 GiB, the registry 0.3 GiB.",
    "OutOfMemoryError": "Its heap is full, which the local stack's work should not do: start again.",
}

_TAIL_BYTES = 1 << 16


def log_file(directory: Path, name: str) -> Path:
    """Return where the output of `broker` or `registry` goes."""
    return directory / f"{name}.log"


def keep_previous(log: Path) -> None:
    """Set the log of the run before aside, so that the log holds one run only."""
    if log.exists():
        log.replace(log.with_suffix(".previous.log"))


def last_lines(log: Path, count: int = 15) -> str:
    """Return the end of a log, indented, without the frames of Java's stack traces, which would fill it."""
    lines = [line for line in _tail(log).splitlines() if not line.lstrip().startswith(("at ", "... "))]
    return "\n".join(f"    {line}" for line in lines[-count:]) or "    (it wrote nothing)"


def obituary(name: str, returncode: int | None, log: Path) -> str:
    """Return what there is to say about a child that ended by itself: its last lines, and what they mean."""
    words = _tail(log)
    advice = [advice for sign, advice in ADVICE.items() if sign in words] or [f"All it said is in {log}."]
    code = "" if returncode is None else f", exit code {returncode}"
    return f"The {name} ended by itself{code}. Its last lines:\n{last_lines(log)}\n{' '.join(advice)}"


def _tail(log: Path) -> str:
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
        return file.read().decode("utf-8", errors="replace")
