"""Whether each label that was read is copied to the keyed topic, or set aside, once. Room: pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from streams.records import TP

SHOWN = 5


def judge_copies(
    read: Mapping[TP, Collection[int]], copies: Iterable[tuple[TP, int]], *, complete: bool
) -> tuple[str, ...]:
    """Return the violations, with coordinates.

    Args:
        read: of each partition of labels, the offsets that a read_committed reader finds up to where copying stands.
        copies: origins of all copies and dead letters; there may be more by now than `read` has.
        complete: retention has removed none of them, so that a label without one is lost.
    """
    times = Counter(copies)
    found = {
        "DOUBLED": sorted(at for at, count in times.items() if count > 1),
        "LOST": sorted(
            (tp, offset) for tp, offsets in read.items() for offset in offsets if complete and (tp, offset) not in times
        ),
    }
    words = {"DOUBLED": "copied more than once", "LOST": "read, and neither copied nor set aside"}
    return tuple(
        f"{name} {len(all_of)} labels were {words[name]}: {', '.join(f'{tp}@{offset}' for tp, offset in all_of[:SHOWN])}"
        for name, all_of in found.items()
        if all_of
    )
