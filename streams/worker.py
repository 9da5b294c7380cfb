"""One slot's worker process: wires the real edges to the loop, arms the watchdog, and ends with the right code.

Run by the supervisor as `python -m streams.worker scorer|monitor|rekeyer CONFIG SLOT [SECTION.KEY=VALUE ...]`. Imports are made here, late, because a restart after
a crash waits for them.
"""

import contextlib
import faulthandler
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from streams.config import Settings, load
from streams.errors import Fenced, Stop
from streams.logs import to_stderr
from streams.reasons import Reason
from streams.records import Detail
from streams.slots import Slot, slots_dir
from streams.suspects import heard

if TYPE_CHECKING:
    from streams.ports import Source

log = structlog.get_logger()

JOIN_S, LISTEN_S = 2.0, 0.1
"""How long a worker that begins may take from its first look at the transaction coordinator to its place in the group; and
how often one that was fenced looks whether that was it."""
UNNEEDED = "pandas", "sklearn", "dask", "pyarrow", "matplotlib"
"""What LightGBM imports for other users where it is installed, as beside a training script: a restart after a crash would wait
half a second and more for it."""
GARBAGE_TURNS = 100
"""Reference cycles are looked for between turns, and so often. By itself the collector would walk through every batch
again and again while it is worked on: a tenth of the worker's time, for nothing."""


def run(kind: str, settings: Settings, slot: Slot, stopping: threading.Event) -> None:
    """Work until asked to stop, then hand the partitions over. Raises: Stop."""
    from streams import assembly

    assemble, port = assembly.assemble, settings.metrics.port
    if kind != "scorer":
        from streams import monitor_assembly

        assemble = monitor_assembly.assemble if kind == "monitor" else monitor_assembly.assemble_rekeyer
        port = settings.monitor.port
    meter = assembly.observe(settings, slot, port)

    def watch(seconds: float) -> None:
        # a Python thread would wait for the GIL, which C code may hold for ever; this one is C itself
        faulthandler.dump_traceback_later(seconds, exit=True)
        meter.progressed()

    parts, suspects = assemble(settings, slot, meter), heard(os.environ)
    for tp, offset in suspects.condemned:
        parts.fold.refuse(tp, offset, Reason.POISON_PILL, Detail())
    loop = parts.loop(watch, stopping.wait, suspects.trial)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for turn in count(1):
            if stopping.is_set():
                break
            loop.turn()
            meter.sample(loop, parts.edges.sink)
            if turn % GARBAGE_TURNS == 0:
                gc.collect()
        log.info("stopping", slot=slot.name)
        parts.edges.source.close()
    except Fenced:
        seconds = settings.limits.session_ms / 4_000 + JOIN_S
        watch(2 * seconds)  # armed for a transaction, it could end the process in the middle
        _listen(parts.edges.source, seconds, stopping.wait)
        raise
    finally:
        faulthandler.cancel_dump_traceback_later()


def _listen(source: "Source", seconds: float, wait: Callable[[float], bool]) -> None:
    """Listen to the group for a heartbeat and a little: who has taken the transactional id takes the place there, too, and
    then this worker must not come back. Raises: SlotTaken.
    """
    for _ in range(int(seconds / LISTEN_S)):
        source.keep_alive()
        if wait(LISTEN_S):
            return


def main(kind: str, config: Path, name: str, flags: Sequence[str] = ()) -> int:
    """Run one slot's worker; return its exit code."""
    to_stderr()
    for unneeded in UNNEEDED:
        sys.modules.setdefault(unneeded, None)  # type: ignore[arg-type]  # an import of it fails, as if it were not there
    structlog.contextvars.bind_contextvars(slot=name)
    stopping = threading.Event()

    # Python's handlers run when the main thread comes back from C code, and a second signal may be delivered to a thread where
    # nobody notices it; the byte is written whichever thread has it
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    threading.Thread(target=_heed, args=(heard, stopping), daemon=True).start()
    threading.Thread(target=_follow_supervisor, daemon=True).start()
    try:
        settings = load(config, flags)
        run(kind, settings, Slot(slots_dir(settings.app.state_dir, kind), name), stopping)
    except Stop as reason:
        log.error("worker stops", code=reason.code, reason=str(reason))
        return reason.code
    except Exception:
        # a fault of ours; the interpreter's own end would wait for client threads, with the watchdog off
        log.exception("worker stops", code=1)
        return 1
    return 0


def _heed(heard: int, stopping: threading.Event) -> None:
    """First signal: let the loop finish its batch and hand over. Second: end now; the log has everything."""
    os.read(heard, 1)
    stopping.set()
    os._exit(128 + os.read(heard, 1)[0])


def _follow_supervisor() -> None:
    """End with the supervisor: our standard input is its pipe, and it ends when the supervisor does."""
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    os._exit(9)


if __name__ == "__main__":
    code = main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4:])
    sys.stderr.flush()
    # not sys.exit: client threads may still wait for a broker that is gone
    os._exit(code)
