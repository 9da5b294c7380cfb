"""What is to be said of each model version: of its features, of its labelled risk, and of the pipeline itself. Room: pure.

Everything follows from what is published, from the package, and from the tickets that there are: whoever computes it again, when
and in whatever order it was published, comes to the same.
"""

import math
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np

from streams.durations import HOUR_MS
from streams.models.manifest import Manifest
from streams.models.reference import Hashed
from streams.monitor.drift.episodes import Chain, Loss, Memo, Window, chains, losses
from streams.monitor.drift.watch import Watch, watches
from streams.monitor.features import HASH_BYTES
from streams.monitor.sentences import moment
from streams.monitor.state import Subject
from streams.monitor.summary import Losses, Published, Summary, total
from streams.monitor.ticket import Kind, State, Ticket
from streams.monitor.tickets import Context, Trouble, drift_tickets, pipeline_tickets, reconcile, risk_tickets
from streams.monitor.windows import Rules
from streams.reasons import Reason

STOPPED = 1e-6
"""Labels have stopped if, with as many as there were before, so few would come with less than this chance."""
OF_LABELS = ("labels_stopped", "join_stalled")
CERTAIN = 1 - 1e-12
LABELLED_MIN = 100
"""So many predictions a window, at least, of which somebody would have a label."""


class Package(NamedTuple):
    """What a model version's package says of itself."""

    manifest: Manifest
    reference: Hashed | None


class Asked(NamedTuple):
    """How windows are compared with training."""

    rules: Rules
    partitions: int
    """Of requests."""
    mean_windows: float
    """So many windows, in the mean, until a model version has a false ticket."""
    window_ms: int | None = None
    """How long windows are; None: as long as the reference's blocks."""
    absence: bytes | None = None
    """See `report`."""


class Verdict(NamedTuple):
    """What is to be said of one model version."""

    subject: Subject
    window_ms: int
    why: str | None
    """Why its features are not watched; None: they are."""
    heard: bool = True
    """Whether its package could be read: if not, its tickets stay as they are."""
    watches: tuple[Watch, ...] = ()
    chains: tuple[Chain, ...] = ()
    """One a feature."""
    risk: Chain | None = None
    """None: the package does not say how wrong it may be."""
    reference: bytes | None = None
    revisions: Mapping[int, int] = {}
    """Of each window how often its parts were published, in all."""
    troubles: tuple[Trouble, ...] = ()


def verdicts(
    published: Published,
    packages: Mapping[Subject, Package | str],
    asked: Asked,
    memory: MutableMapping[Subject, Memo] | None = None,
) -> list[Verdict]:
    """Return what is to be said of each model version of which anything is published.

    Args:
        published: everything that is.
        packages: of each subject its package, or why there is none.
        asked: how windows are compared.
        memory: what was judged before, with the same packages; only what was revised is judged again.
    """
    memory = {} if memory is None else memory
    return [
        _verdict(subject, windows, published, packages.get(subject, "its package is not known"), asked, memory)
        for subject, windows in published.subjects.items()
    ]


def due(
    found: Sequence[Verdict], published: Published, existing: Mapping[str, Ticket], asked: Asked, *, quiet: bool | None
) -> list[Ticket]:
    """Return the tickets to write now (see `reconcile`).

    Args:
        found: the verdicts.
        published: what they were made of.
        existing: all tickets that there are.
        asked: as for `verdicts`.
        quiet: whether no label has met a prediction for a while: labels that are late, and come, have not stopped. None: that is not
            known yet, and what is said of it stays as it is.
    """
    wanted: list[Ticket] = []
    held = {ticket.subject for ticket in existing.values() if _is_of_windows_not_published(ticket, published)}
    existing = {
        key: one
        for key, one in existing.items()
        if (one.kind is not Kind.DRIFT or one.subject not in held)
        and (quiet is not None or one.metric not in OF_LABELS)
    }
    for one in found:
        context = Context(one.subject, one.window_ms, one.reference, one.revisions)
        wanted += [] if one.subject in held else drift_tickets(context, one.chains, one.risk)
        wanted += [] if one.risk is None else risk_tickets(context, one.risk)
        wanted += pipeline_tickets(trouble for trouble in one.troubles if quiet or trouble.metric not in OF_LABELS)
    wanted += pipeline_tickets(_mispartitioned(published, existing, asked))
    return reconcile(existing, wanted, unheard={one.subject for one in found if not one.heard})


def _is_of_windows_not_published(ticket: Ticket, published: Published) -> bool:
    """Return whether a ticket is of windows that were judged, and cannot be again before more is published (see `passed`): what is
    left of the chain until then says nothing of it.
    """
    behind = published.behind
    return ticket.kind is Kind.DRIFT and behind is not None and behind < ticket.newest + ticket.window_ms


def _verdict(
    subject: Subject,
    windows: Sequence[Summary],
    published: Published,
    package: Package | str,
    asked: Asked,
    memory: MutableMapping[Subject, Memo],
) -> Verdict:
    if isinstance(package, str):
        return Verdict(subject, asked.window_ms or asked.rules.grain_ms, package, heard=False)
    window_ms, span_blocks, why = _length(package.reference, asked)
    spans = _spans(windows, asked.rules.grain_ms, window_ms)
    verdict = Verdict(
        subject,
        window_ms,
        None,
        risk=_risk(spans, package.manifest, asked),
        revisions={span.number: span.revision for span in spans},
        troubles=tuple(_labels_missing(subject, spans, published, asked)),
    )
    if package.reference is None:
        return verdict._replace(why="its package has no [reference], so nobody knows what it was trained on")
    columns, digest = package.manifest.columns, package.reference.digest
    watched = watches(columns, package.reference.reference, span_blocks, why)
    ready = [
        _counted(span, digest, watched[-1].cells.stop)
        for span in spans
        if digest[:HASH_BYTES] in span.against
        and passed(published, asked.partitions, span.number * window_ms, window_ms)
    ]
    found = chains(watched, ready, asked.mean_windows, memory.setdefault(subject, {}))
    mismatch = _mismatch(subject, spans, digest, window_ms)
    return verdict._replace(watches=watched, chains=found, reference=digest, troubles=(*verdict.troubles, *mismatch))


class _Span(NamedTuple):
    """Some windows that are compared as one."""

    number: int
    begin_ms: int
    end_ms: int
    """Of the newest window that there is of it."""
    windows: tuple[Summary, ...]
    losses: Losses

    @property
    def revision(self) -> int:
        return sum(window.revision for window in self.windows)

    @property
    def against(self) -> frozenset[bytes]:
        return frozenset(which for window in self.windows for which in window.seen)


def _spans(windows: Sequence[Summary], grain_ms: int, window_ms: int) -> list[_Span]:
    found = []
    for number, each in groupby(windows, lambda window: window.number * grain_ms // window_ms):
        mine = tuple(each)
        end_ms = (mine[-1].number + 1) * grain_ms
        found.append(_Span(number, mine[0].number * grain_ms, end_ms, mine, total(window.losses for window in mine)))
    return found


def _counted(span: _Span, digest: bytes, cells: int) -> Window:
    """Return what was counted against a reference; cells that it does not have are left out."""
    n, total = np.zeros(cells, np.int64), np.zeros(cells, np.int64)
    for window in span.windows:
        seen = window.seen.get(digest[:HASH_BYTES])
        if seen is not None:
            known = seen.cell < cells
            n[seen.cell[known]] += seen.n[known]
            total[seen.cell[known]] += seen.total[known]
    return Window(span.number, n, total)


def passed(published: Published, partitions: int, begin_ms: int, window_ms: int) -> bool:
    """Return whether event time has passed a window, and everything that was seen of it until then is published.

    Time has passed it in each partition, or, in one, a whole window ago: a partition without requests must not hold the others up
    for ever. A function of data: nobody's clock is asked.
    """
    end_ms, marks = begin_ms + window_ms, published.watermarks
    if published.behind is not None and published.behind < end_ms:
        return False
    every = len(marks) >= partitions and min(marks.values()) >= end_ms
    return every or max(marks.values(), default=end_ms - 1) >= end_ms + window_ms


def _length(reference: Hashed | None, asked: Asked) -> tuple[int, int, str | None]:
    """Return how long windows are, how many of the reference's blocks that is, and why they cannot be compared with them."""
    grain_ms = asked.rules.grain_ms
    block = None if reference is None else reference.reference.blocks[0]
    block_ms = grain_ms if block is None else block.end_ms - block.start_ms
    window_ms = asked.window_ms or max(1, round(block_ms / grain_ms)) * grain_ms
    if window_ms % block_ms:
        why = (
            f"windows of {_hours(window_ms)} are no multiple of the reference's blocks of {_hours(block_ms)}: choose [monitor] "
            "drift_hours and grain_hours so that they are, or give `drift_tolerance` in the manifest"
        )
        return window_ms, 1, why
    return window_ms, window_ms // block_ms, None


def _hours(ms: int) -> str:
    return f"{ms / HOUR_MS:g} h"


def _risk(spans: Sequence[_Span], manifest: Manifest, asked: Asked) -> Chain | None:
    """Return the chain of the labelled risk, over windows whose labels can come no more: predictions so much later have some, and
    labels come in the order of time, more or less.
    """
    if manifest.risk is None:
        return None
    newest_ms = max((span.begin_ms for span in spans if span.losses.labelled), default=0)
    windows = []
    for span in spans:
        found = span.losses
        if span.end_ms + asked.rules.horizon_ms <= newest_ms and found.judged >= LABELLED_MIN:
            brier = found.brier / found.known if found.known else 0.0
            loss = found.wrong / found.judged if manifest.risk.metric == "error_rate" else brier
            windows.append(Loss(span.number, found.judged, loss))
    return losses(manifest.risk.metric, windows, manifest.risk.allowed, asked.mean_windows)


def _mismatch(subject: Subject, spans: Sequence[_Span], digest: bytes, window_ms: int) -> list[Trouble]:
    """Return the trouble that workers count against another reference than the store's package has."""
    counted = [span for span in spans if span.against]
    wrong = [span.number for span in counted if span.against - {digest[:HASH_BYTES]}]
    if not wrong or wrong[-1] != counted[-1].number:
        return []
    sentence = (
        f"what {subject.model} {subject.version} saw is counted against another reference than that of its package in the store: "
        "workers and monitor use different stores, or the package was changed"
    )
    return [Trouble("reference_mismatch", wrong[0] * window_ms, wrong[-1] * window_ms, window_ms, sentence, subject)]


def _labels_missing(subject: Subject, spans: Sequence[_Span], published: Published, asked: Asked) -> Iterator[Trouble]:
    """Yield the trouble that none came to the newest windows whose labels should all be here, though they did before. Windows of few
    predictions say nothing.
    """
    if not spans:
        return
    newest_ms = max(published.watermarks.values(), default=spans[-1].windows[-1].number * asked.rules.grain_ms)
    mature = [
        span
        for span in spans
        if span.end_ms + asked.rules.horizon_ms <= newest_ms and span.losses.predictions >= LABELLED_MIN
    ]
    begin = max((at + 1 for at, span in enumerate(mature) if span.losses.labelled), default=0)
    before, silent = total(span.losses for span in mature[:begin]) if begin else Losses(), mature[begin:]
    usual, n = before.labelled / max(1, before.predictions), sum(span.losses.predictions for span in silent)
    if not silent or usual == 0.0 or n * math.log1p(-min(usual, CERTAIN)) > math.log(STOPPED):
        return
    early, window_ms = published.tally.get("labels.early", 0), asked.window_ms or asked.rules.grain_ms
    what, metric = "no label has come for any", "labels_stopped"
    if early >= n / 2:
        what, metric = "labels wait for predictions that they do not meet, and none has met any", "join_stalled"
    since = moment(silent[0].begin_ms)
    sentence = (
        f"{what} of the predictions of {subject.model} {subject.version} since {since} whose labels should be here; of those before, "
        f"{usual:.0%} had one"
    )
    yield Trouble(metric, silent[0].begin_ms, silent[-1].begin_ms, window_ms, sentence, subject)


def newest_ms(published: Published, grain_ms: int) -> int | None:
    """Return the end of the newest window of anybody, in event time; None where there is none."""
    numbers = [windows[-1].number for windows in published.subjects.values()]
    return (max(numbers) + 1) * grain_ms if numbers else None


def _mispartitioned(published: Published, existing: Mapping[str, Ticket], asked: Asked) -> list[Trouble]:
    """Return the trouble that labels lie in other partitions than their predictions; it is over when, for a whole window, hardly
    any came. How many there were when it was told last is what the newest ticket says.
    """
    n, window_ms = (
        published.tally.get(f"labels.{Reason.MISPARTITIONED.name}", 0),
        asked.window_ms or asked.rules.grain_ms,
    )
    at_ms = newest_ms(published, asked.rules.grain_ms)
    if not n or at_ms is None:
        return []
    unit = 10 ** (len(str(n)) - 1)
    sentence = (
        f"{'' if unit == 1 else 'at least '}{n // unit * unit:,} labels lie in other partitions than the predictions that they "
        "judge, and are dead letters: key them like requests, with Java's partitioner, or set [labels] rekey = true"
    )
    mine = [ticket for ticket in existing.values() if ticket.metric == "mispartitioned_labels"]
    told, now = max(mine, key=lambda ticket: ticket.opened, default=None), at_ms - window_ms
    if told is None or (told.state is State.CLOSED and told.sentence != sentence):
        return [Trouble("mispartitioned_labels", now, now, window_ms, sentence)]
    if told.sentence != sentence:
        return [Trouble("mispartitioned_labels", told.opened, now, window_ms, sentence)]
    if told.state is State.CLOSED or now >= told.newest + window_ms:
        return []
    return [Trouble("mispartitioned_labels", told.opened, told.newest, window_ms, sentence)]
