"""What a retention lets go: identities that nothing can change any more, and the windows that are sealed. Room: pure; it asks the store."""

from collections import Counter
from collections.abc import Iterator, Sequence

from streams.durations import HOUR_MS
from streams.monitor.joining import SLACK_MS
from streams.monitor.labels import Known, decode
from streams.monitor.state import (
    FREE,
    PUBLISHED,
    ROW,
    decode_published,
    free_key,
    is_tally,
    parse_free,
)
from streams.monitor.windows import Rules, parse_window
from streams.ports import Store

Changes = dict[bytes, bytes]
"""What a step changes of one partition's state, by key; an empty value takes the key away."""


def with_changes(store: Store, partition: int, keys: Sequence[bytes], changes: Changes) -> Iterator[bytes | None]:
    """Return values as they are once the changes are made."""
    for key, value in zip(keys, store.get(partition, keys), strict=True):
        yield (changes[key] or None) if key in changes else value


def free_ms(known: Known, now_ms: int, rules: Rules) -> int:
    """Return from when on an identity may be freed: when its window is, or, of labels alone, when theirs would be.

    There is a retention.
    """
    sealed_ms = rules.sealed_ms(now_ms if known.prediction is None else known.prediction.event_ms)
    assert sealed_ms is not None, "there is a retention"
    return sealed_ms + SLACK_MS


class Sweep:
    """Frees a little with each step, in the order in which things become due."""

    def __init__(self, store: Store, rules: Rules) -> None:
        self._store, self._rules = store, rules
        self._swept: dict[int, int] = {}
        """Of each partition, the hour in which sealed windows were last looked for."""

    def assigned(self) -> None:
        """Forget what was looked for: the state is another one."""
        self._swept = {}

    def free(self, partition: int, now_ms: int, limit: int, changes: Changes, fates: Counter[str]) -> None:
        """Free identities whose time has come, and the windows that nothing can change any more; not too many at a time.

        The time is the clock before the batch: what the batch was let into cannot be freed by it.
        """
        due: list[tuple[bytes, bytes]] = []
        for key, _ in self._store.scan(partition, FREE):
            at_ms, identity = parse_free(key)
            if at_ms > now_ms or len(due) >= limit:
                break
            due.append((key, identity))
        values = with_changes(self._store, partition, [identity for _, identity in due], changes)
        for (key, identity), value in zip(due, values, strict=True):
            changes[key] = b""
            if not value:
                continue
            known = decode(value)
            again_ms = free_ms(known, now_ms, self._rules)
            if again_ms > now_ms and known.prediction is not None:
                changes[free_key(again_ms, identity)] = b"\1"
                continue
            changes[identity] = b""
            if known.prediction is None:
                fates["labels.early"] -= len(known.labels)
                fates["labels.unmatched"] += len(known.labels)
        if len(due) < limit:
            self._free_windows(partition, now_ms, changes)

    def _free_windows(self, partition: int, now_ms: int, changes: Changes) -> None:
        """Free the rows of windows that are sealed, and published; what is published of them stays."""
        hour = now_ms // HOUR_MS
        if self._swept.get(partition) == hour:
            return
        self._swept[partition] = hour
        for mark, value in self._store.scan(partition, PUBLISHED):
            window = mark[1:]
            event_ms = parse_window(window)[0].number * self._rules.grain_ms
            if is_tally(window) or not self._rules.is_sealed(event_ms, now_ms - SLACK_MS - HOUR_MS):
                continue
            if decode_published(changes.get(mark, value)).dirty:
                self._swept.pop(partition, None)  # it is looked for again, once it is published
                continue
            changes[mark] = b""
            changes |= {key: b"" for key, _ in self._store.scan(partition, ROW + window)}
