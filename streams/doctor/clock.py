"""How far the broker's clock and ours are apart, from records that the broker stamped between two looks at ours. Pure."""

from collections.abc import Sequence

from streams.doctor.findings import Finding
from streams.kafka.trial import Written
from streams.records import NO_APPEND_TIME

APART_MS_MAX = 1_000
"""Further apart, times that this machine writes and the broker's are not comparable."""


def judge(written: Sequence[Written]) -> Finding:
    """Return what the stamps say; the quickest answer is the most exact. A difference is a warning, never more.

    What lies between our two looks is no difference; what is known is known to within the time between them.
    """
    told = [one for one in written if one.append_ms != NO_APPEND_TIME]
    if not told:
        return Finding("skipped", "clock", "no topic that could be written to keeps the broker's time")
    one = min(told, key=lambda one: one.answered_ms - one.asked_ms)
    exact, ahead = one.answered_ms - one.asked_ms, one.append_ms - one.answered_ms
    apart = max(ahead, one.asked_ms - one.append_ms, 0)
    if apart <= APART_MS_MAX:
        return Finding("ok", "clock", f"the broker's and this machine's agree within {apart + exact} ms")
    text = (
        f"the broker's is {apart:,} ms {'ahead of' if ahead > 0 else 'behind'} this machine's (known to {exact} ms). Answers "
        "depend on the broker's only; synchronise both, or event times and logs will not fit"
    )
    return Finding("warn", "clock", text)
