"""What of a model will be watched, told before it has seen anything: by `models register` and by `doctor`."""

from collections.abc import Iterator, Sequence

from streams.config import Settings
from streams.durations import HOUR_MS
from streams.models.manifest import Manifest
from streams.models.reference import Hashed, Reference
from streams.monitor.drift.watch import Statistic, Watch, four_digits, watches
from streams.monitor.state import Subject
from streams.monitor.summary import Published
from streams.monitor.verdicts import Asked, Package, verdicts
from streams.monitor.windows import Rules
from streams.monitored import task_of

FEATURES_MAX, NAMES_MAX = 20, 5
"""So many features are told a line each; and so many are named in a sentence."""
UNWATCHED = (
    "its features are not watched: the package has no [reference], so nobody will be told when what the model sees is not what it "
    "was trained on"
)


def told(about: Manifest, reference: Reference | None) -> Iterator[str]:
    """Yield what is watched of a package: a line a feature, with the PSI that is no drift in windows as long as the reference's
    blocks; then whether its risk is.
    """
    if reference is None:
        yield f"note: {UNWATCHED}"
    else:
        found, block = watches(about.columns, reference), reference.blocks[0]
        hours = (block.end_ms - block.start_ms) / HOUR_MS
        yield f"what it sees is compared with training, in windows of {hours:g} h; up to this PSI it is no drift:"
        width = max(len(watch.name) for watch in found[:FEATURES_MAX])
        for watch in found[:FEATURES_MAX]:
            yield f"  {watch.name.ljust(width)}  {_tolerances(watch)}"
        if len(found) > FEATURES_MAX:
            rest = found[FEATURES_MAX:]
            untested = sum(watch.why is not None for watch in rest)
            yield f"  … and {len(rest)} more{f', {untested} of them not tested' if untested else ''}"
    if about.risk is not None:
        yield f"its {about.risk.metric} may be {four_digits(about.risk.allowed)}; a ticket says when it is more"
    elif about.task != "regression":
        yield "note: how often it is wrong is not watched: [risk] in the manifest would say how often it may be"


def _tolerances(watch: Watch) -> str:
    """Return a feature's tolerances, or why it has none."""
    return f"not tested: {watch.why}" if watch.why else "  ".join(map(_tolerance, watch.statistics)).rstrip()


def _tolerance(statistic: Statistic) -> str:
    if statistic.ladder is None:
        return f"{statistic.name} not tested: {statistic.why}"
    return f"{statistic.name} {four_digits(statistic.ladder.tolerance):7}"


def judged(settings: Settings, about: Manifest, reference: Hashed | None) -> tuple[bool, str]:
    """Return whether every feature of a package is watched with these settings, or none is meant to be; and a sentence about it,
    with the reason of the first that is not.
    """
    if reference is None:
        return True, UNWATCHED
    many = len(about.columns)
    begin = "" if settings.labels else "with a [labels] section and `streams monitor run`, "
    window_ms, found = _watched(settings, about, reference)
    untested = [watch for watch in found if watch.why is not None]
    where = f"in windows of {window_ms / HOUR_MS:g} h"
    if not untested:
        return True, f"{begin}its {many} features are watched {where}"
    if len(untested) == many:
        return False, f"{begin}none of its {many} features is watched {where}: {untested[0].why}"
    names = ", ".join(watch.name for watch in untested[:NAMES_MAX])
    more = f" and {len(untested) - NAMES_MAX} more" if len(untested) > NAMES_MAX else ""
    watched = f"{many - len(untested)} of its {many} features are watched {where}"
    return False, f"{begin}{watched}; not {names}{more}: {untested[0].why}"


def _watched(settings: Settings, about: Manifest, reference: Hashed) -> tuple[int, Sequence[Watch]]:
    """Return how long windows are, and what the monitor will watch in them: its own verdict, about nothing."""
    monitor, subject = settings.monitor, Subject(about.name, about.version, None)
    rules = Rules(task_of(about), monitor.grain_ms, HOUR_MS)
    asked = Asked(rules, settings.partitions, monitor.false_ticket_windows, monitor.drift_ms)
    (verdict,) = verdicts(Published({subject: []}, {}, {}), {subject: Package(about, reference)}, asked)
    return verdict.window_ms, verdict.watches
