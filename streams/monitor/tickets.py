"""Which tickets there must be, and what must be written so that there are. Room: pure.

An episode and its ticket are found again by their windows: a ticket is of an episode if it is of the same metric of the same model
and their ranges of windows overlap. So a revision moves the ticket's ends and opens no second one, and what is run again finds
what it wrote.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

from streams.monitor.drift.episodes import Chain, Episode
from streams.monitor.sentences import drift_sentence, of_statistic, risk_sentence, statistic
from streams.monitor.state import Subject
from streams.monitor.ticket import Kind, Moment, Severity, State, Ticket, id_of

NOTES_MAX, PATH_MAX = 20, 12
CHANGED = 0.01
"""A statistic has changed if it did by more than this share of what was written."""


class Context(NamedTuple):
    """What a chain does not know of itself."""

    subject: Subject
    window_ms: int
    reference: bytes | None = None
    """SHA-256 of the reference."""
    revisions: Mapping[int, int] = {}
    """Of a window's number how often its parts were published, in all."""


class Trouble(NamedTuple):
    """Something wrong with the pipeline, now. What is over is not given any more."""

    metric: str
    """One of TROUBLES."""
    since: int
    """Begin of the window since which it is so, in milliseconds since 1970."""
    newest: int
    """Begin of the newest window in which it is so."""
    window_ms: int
    sentence: str
    subject: Subject | None = None


TROUBLES = ("reference_mismatch", "mispartitioned_labels", "labels_stopped", "join_stalled")
"""What somebody is called for: what is counted cannot be relied on."""


def drift_tickets(context: Context, chains: Iterable[Chain], risks: Chain | None = None) -> list[Ticket]:
    """Return a due ticket for each episode of each feature.

    Args:
        context: whose chains they are.
        chains: of the features.
        risks: the chain of the model's labelled risk, over windows of the same length; None: it is not watched.
    """
    return [_drift(context, chain, episode, risks) for chain in chains for episode in chain.episodes]


def risk_tickets(context: Context, chain: Chain) -> list[Ticket]:
    """Return a due ticket for each episode of a labelled risk."""
    return [_risk(context, chain, episode) for episode in chain.episodes]


def pipeline_tickets(troubles: Iterable[Trouble]) -> list[Ticket]:
    """Return a due ticket for each trouble. Raises: ValueError for one that is none of TROUBLES."""
    found = []
    for trouble in troubles:
        if trouble.metric not in TROUBLES:
            raise ValueError(f"`{trouble.metric}` is no trouble; there are {', '.join(TROUBLES)}")
        found.append(
            Ticket(
                Kind.PIPELINE,
                Severity.PAGE,
                trouble.subject,
                trouble.metric,
                trouble.sentence,
                trouble.window_ms,
                trouble.since,
                trouble.since,
                trouble.newest,
            )
        )
    return found


def reconcile(
    existing: Mapping[str, Ticket],
    due: Sequence[Ticket],
    unheard: Container[Subject | None] = (),
) -> list[Ticket]:
    """Return the tickets to write now: new ones, and those of which people would see something else. A second call, with what the
    first one returned, returns nothing.

    A ticket is of the episode that its id was made of; else, since revisions move where episodes open, of one that it overlaps with.

    An open ticket that no episode stands for any more is closed, with a note that says so. Closed ones stay as they are.

    Args:
        existing: all tickets that there are, by id.
        due: what there must be: all episodes of all models, and all troubles that are there now.
        unheard: models of which nothing could be computed, so that `due` says nothing of them; their tickets stay as they are.
    """
    in_order = sorted(existing.values(), key=lambda ticket: (ticket.first_seen, ticket.opened, ticket.id))
    left = {ticket.id: ticket for ticket in in_order}
    named = {name: left.pop(name) for name in map(id_of, due) if name in left}
    written = []
    for wanted in sorted(due, key=_order):
        name = id_of(wanted)
        found = named.get(name) or next((ticket for ticket in left.values() if _same(ticket, wanted)), None)
        if found is None:
            opened = wanted._replace(id=name, revision=1)
            written.append(opened._replace(notes=_first_notes(opened)))
            continue
        left.pop(found.id, None)
        renewed = _renewed(found, wanted)
        if renewed is not None:
            written.append(renewed)
    over = (ticket for ticket in left.values() if ticket.state is State.OPEN and ticket.subject not in unheard)
    return written + [_taken_back(ticket) for ticket in over]


def listed(tickets: Iterable[Ticket]) -> list[Ticket]:
    """Return tickets in the order in which people should look at them: open ones first, then by kind, then the newest first."""
    kinds = list(Kind)
    return sorted(
        tickets,
        key=lambda each: (each.state is not State.OPEN, kinds.index(each.kind), -each.opened, each.metric, each.id),
    )


def _order(ticket: Ticket) -> tuple[int, int, str, str, str]:
    return ticket.first_seen, ticket.opened, str(ticket.subject), ticket.kind.value, ticket.metric


def _same(ticket: Ticket, wanted: Ticket) -> bool:
    """Return whether a ticket is of the episode. A trouble has no windows that could be revised: an open ticket is of it."""
    if ticket.about != wanted.about:
        return False
    if ticket.kind is Kind.PIPELINE:
        return ticket.state is State.OPEN or ticket.opened == wanted.opened
    return ticket.first_seen <= _end(wanted) and wanted.first_seen <= _end(ticket)


def _end(ticket: Ticket) -> int:
    return max(ticket.opened, ticket.newest if ticket.closed is None else ticket.closed)


def _renewed(old: Ticket, wanted: Ticket) -> Ticket | None:
    """Return the ticket with what is known now, or None if nobody would see a difference."""
    new = wanted._replace(
        id=old.id,
        revision=old.revision + 1,
        opened=old.opened,
        opened_n=old.opened_n,
        opened_revision=old.opened_revision,
        notes=old.notes,
    )
    revised = _revised(old.statistic, new.statistic)
    pairs = zip(old.path, new.path, strict=False)
    moved = any(was.window != now.window or _revised(was.statistic, now.statistic) for was, now in pairs)
    if not revised and not moved and _substance(new) == _substance(old):
        return None
    note = None
    if old.state is not new.state:
        note = "closed" if new.state is State.CLOSED else "open again: windows were revised, or it has come back"
        note = f"{note}, {of_statistic(new)}"
    elif new.closed != old.closed:
        note = f"closed with another window, because windows were revised, {of_statistic(new)}"
    elif new.newest == old.newest and revised:
        note = f"the newest window was revised, {of_statistic(new)}"
    elif new.first_seen != old.first_seen and new.kind is not Kind.PIPELINE:
        note = "seen since another window, because windows were revised"
    return new if note is None else new._replace(notes=_bounded((*old.notes, note)))


def _substance(ticket: Ticket) -> tuple[object, ...]:
    """Return what people would see change, beside the statistic."""
    return (
        ticket.state, ticket.first_seen, ticket.newest, ticket.closed, ticket.risk_moved,
        ticket.severity, ticket.reference, ticket.kind is Kind.PIPELINE and ticket.sentence,
    )  # fmt: skip


def _revised(old: float | None, new: float | None) -> bool:
    if old is None or new is None:
        return old is not new
    return abs(new - old) > CHANGED * abs(old)


def _first_notes(ticket: Ticket) -> tuple[str, ...]:
    notes = ticket.notes or (f"opened, {of_statistic(ticket)}",)
    return (*notes, "closed") if ticket.state is State.CLOSED else notes


def _taken_back(ticket: Ticket) -> Ticket:
    note = "closed: windows were revised, and with them there was no reason to open it"
    if ticket.kind is Kind.PIPELINE:
        note = "closed: it is over"
    return ticket._replace(
        state=State.CLOSED,
        closed=ticket.newest,
        revision=ticket.revision + 1,
        notes=_bounded((*ticket.notes, note)),
    )


def _bounded(notes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first, which says how it was opened, and the newest."""
    return notes if len(notes) <= NOTES_MAX else (notes[0], *notes[-(NOTES_MAX - 1) :])


def _drift(context: Context, chain: Chain, episode: Episode, risks: Chain | None) -> Ticket:
    newest, judged = episode.newest, episode.newest.judged
    assert judged is not None, "a window that is judged has a judgement"
    base = _of(context, chain, episode, Kind.DRIFT, drift_sentence(chain.metric, episode, context.window_ms))
    return base._replace(
        bins=judged.bins,
        missing=judged.missing,
        missing_reference=judged.missing_reference,
        unseen=judged.unseen,
        reference=context.reference,
        risk_moved=_moved(risks, newest.window),
    )


def _moved(risks: Chain | None, window: int) -> bool | None:
    """Return whether the risk had an open episode at a window, or at the newest before it whose labels are mature."""
    mature = [step.window for step in risks.steps if step.window <= window] if risks else []
    return risks.open_at(mature[-1]) if risks and mature else None


def _risk(context: Context, chain: Chain, episode: Episode) -> Ticket:
    return _of(
        context, chain, episode, Kind.RISK, risk_sentence(context.subject, chain.metric, episode, context.window_ms)
    )


def _of(context: Context, chain: Chain, episode: Episode, kind: Kind, sentence: str) -> Ticket:
    newest, opening, ms = episode.newest, episode.opening, context.window_ms
    return Ticket(
        kind,
        Severity.TICKET,
        context.subject,
        chain.metric,
        sentence,
        ms,
        episode.first_seen * ms,
        episode.opened * ms,
        newest.window * ms,
        State.OPEN if episode.closed is None else State.CLOSED,
        None if episode.closed is None else episode.closed * ms,
        newest.n,
        newest.statistic,
        newest.tolerance,
        newest.evidence,
        chain.threshold,
        opening.n,
        context.revisions.get(opening.window),
        tuple(Moment(step.window * ms, step.statistic, step.evidence) for step in episode.steps[-PATH_MAX:]),
        notes=(
            f"opened, {statistic(kind, chain.metric, opening.statistic, opening.window * ms, ms)}, {opening.n} records",
        ),
    )
