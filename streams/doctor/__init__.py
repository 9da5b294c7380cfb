"""`streams doctor`: everything that a worker will need, tried before any does; beside running workers too.

It disturbs nobody, and leaves nothing that anybody could see:

- It joins no group. Consumers are assigned partitions by hand and commit nothing, so no rebalance can come of them.
- Its transactional id is its own, so it fences no worker.
- What it writes it aborts: one record without a value a topic, which no `read_committed` reader sees; the scorer, `verify` and a
  restore are such. Until the abort, a few milliseconds later, such readers wait at that record. If the doctor is killed
  in between, the broker aborts after `limits.transaction_ms`.
- It writes no offsets, not even to abort them: workers that recover would have to wait for these. What the broker says of
  this user's rights is believed there.
- On the disk it makes one file, and removes it; it makes no folder.

Not promised: that a worker will start. What changes the minute after is not known, and of each topic one partition is
written to.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from streams.doctor.checks import CHECKS, Case
from streams.doctor.findings import Finding, exit_code
from streams.errors import Stop

__all__ = ["Finding", "examine", "exit_code"]


def examine(config: Path, flags: Sequence[str] | None = None) -> Iterator[Finding]:
    """Yield what each check finds, in order; one that needs what has failed is skipped."""
    case, failed = Case(config, flags), set[str]()
    for check in CHECKS:
        if not check.wanted(case):
            continue
        missing = [need for need in check.needs if need in failed]
        if missing:
            failed.add(check.name)
            yield Finding("skipped", check.name, f"needs {' and '.join(missing)}")
            continue
        try:
            for finding in check.look(case):
                if finding.grade == "FAIL":
                    failed.add(check.name)
                yield finding
        except Stop as reason:
            failed.add(check.name)
            yield Finding("FAIL", check.name, str(reason), reason.code)
        except Exception as fault:  # noqa: BLE001  the other checks are to be made all the same
            failed.add(check.name)
            yield Finding("FAIL", check.name, f"the check itself failed, which is a fault of ours: {fault!r}", 1)
