"""Child processes that may outlive the command that started them: known by pid *and* start time, ended by both."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_STEP_SECONDS = 0.02


class Child:
    """One child process. A pid alone names nobody for long: the start time tells a recycled pid from ours."""

    def __init__(self, pid: int, started: str, own: "subprocess.Popen[bytes] | None" = None) -> None:
        self.pid = pid
        self.started = started
        self._own = own

    @classmethod
    def spawn(cls, command: Sequence[str], *, cwd: Path, environ: Mapping[str, str], log: Path) -> "Child":
        """Start a process in a session of its own, so that Ctrl-C in the terminal does not reach it.

        Its output is appended to `log`; it reads nothing, and sees no environment but `environ`.
        """
        with log.open("ab") as output:
            own = subprocess.Popen(
                command,
                cwd=cwd,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        # Not yet waited for, so it still has its entry even if it has already ended.
        return cls(own.pid, start_mark(own.pid) or "", own)

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs, and for a child of an earlier command."""
        return self._own.poll() if self._own else None

    def alive(self) -> bool:
        """Return whether this very process still runs."""
        if self._own is not None:
            return self._own.poll() is None
        return start_mark(self.pid) == self.started

    def kill(self) -> None:
        """End the process with SIGKILL, and wait until it is gone."""
        self.end(patience_s=0.0)

    def freeze(self) -> None:
        """Stop the process where it is, until `thaw`; one that is frozen can be killed."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._signal(signal.SIGCONT)

    def end(self, patience_s: float) -> None:
        """End the process with SIGTERM, after `patience_s` seconds with SIGKILL; return when it is gone.

        Does nothing if it is gone already, or if its pid names another process by now.
        """
        if patience_s > 0 and self._signal(signal.SIGTERM):
            self.thaw()  # a stopped process would not see the other
            if self._gone_within(patience_s):
                return
        if self._signal(signal.SIGKILL) and not self._gone_within(10.0):
            raise TimeoutError(f"process {self.pid} survives SIGKILL: it hangs in the kernel, perhaps on its disk")

    def _signal(self, number: signal.Signals) -> bool:
        """Send a signal if the process is still this one; return whether it was."""
        if not self.alive():
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_STEP_SECONDS)
        return True


def start_mark(pid: int) -> str | None:
    """Return what tells this process from any other that ever has its pid; None if it does not run (any more)."""
    if Path("/proc/self/stat").exists():
        return _start_mark_proc(pid)
    return _start_mark_ps(pid)


def _start_mark_proc(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # See proc_pid_stat(5); the name in brackets may itself hold spaces and brackets.
    state, *fields = stat.rpartition(")")[2].split()
    threads, started_ticks = int(fields[16]), fields[18]
    if state in "ZX" and threads <= 1:
        return None  # ended, only not yet waited for. While other threads still end, so do its files, ports and locks
    return f"{boot}/{started_ticks}"


def _start_mark_ps(pid: int) -> str | None:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    same_for_all = {**os.environ, "LC_ALL": "C", "TZ": "UTC0"}  # whoever asks must be told the same start time
    answer = subprocess.run(command, capture_output=True, text=True, env=same_for_all, check=False)
    state, _, started = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()
