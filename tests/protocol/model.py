"""The transaction protocol as a model of explicit states: who may do what in which state, and what follows from it.

One source partition, two workers (slots A and B, each with its transactional id), the broker's coordinators and the
network between them. A process that was replaced while it was stopped (SIGSTOP, a lost host) goes on beside its
successor: in a model where anybody may wait for ever, stopping needs no action of its own. The client is transaction
version 1, as librdkafka speaks it: EndTxn does not bump the epoch, so one that is late meets whatever is open then.

What is one action here, and why that hides nothing:
  - AddPartitions and Produce: each log gets one record a transaction, so the broker's check between them always passes.
  - EndTxn's decision and the marker in the results: nobody but a reader reads them. Markers in the changelog and in
    the offsets are actions of their own: recovery reads both, one after the other.
  - a poll, and all until the transaction begins. A worker polls its next batches, and begins them, while a transaction is on its
    way: then their leases are older than here, it learns of a rebalance sooner, and what it has begun it drops unless that
    transaction is committed. All three only take away what it may do.
  - a restore: what it has read when it is killed is a prefix of what it would have read, and so is its next begin.
  - an EndTxn that is answered at once; one that is not costs one of `Faults.delays`, and its retry another.
An EndTxn of an older epoch is refused whenever it comes; it is taken out of the network when the epoch is bumped.
A rebalance needs nobody's consent, which is more than Kafka does; a worker learns of it when it polls.

Not modelled: deadlines and retention, several partitions, holds, a request that the broker refuses by name, the loss of
a disk, and a retry of EndTxn that the client neither reports nor is slowed down by (the renewal trusts in that).
"""

from collections.abc import Iterator, Set
from typing import Literal, NamedTuple, TypeAlias

REQUESTS = "aab"
"""The identity of each request; a transaction answers one."""
ATTEMPTS = 5
"""So many transactions are begun at most: two processes of one slot could fence each other for ever."""
SLOTS = "AB"
NONE = -1

Fate: TypeAlias = Literal["pending", "committed", "aborted"]
Ended: TypeAlias = Literal["committed", "aborted"]
Status: TypeAlias = Literal["empty", "ongoing", "committing", "aborting", "committed", "aborted"]
Place: TypeAlias = Literal[
    "down",  # no process; what lies on its disk stays
    "idle",  # started, without the partition
    "assigned",  # must recover: the committed offset is next
    "bounding",  # the changelog's end is next
    "restoring",  # the local store is next
    "ready",  # recovered; poll is next
    "polled",  # has a request and a lease; the result is next
    "answered",  # the changelog is next
    "changed",  # the offsets are next
    "sent",  # EndTxn(commit) is next
    "refused",  # the group refused the offsets; EndTxn(abort) is next
    "committing",  # waits for the answer to EndTxn(commit)
    "aborting",  # waits for the answer to EndTxn(abort)
    "committed",  # has heard that it is; the local store is next
    "halted",  # OffsetsError: a person must decide
]
GOES_ON = frozenset({"ready", "polled", "answered", "changed", "sent", "refused", "committing", "aborting"})
"""Where a worker acts on its local store, or may do so again."""

Defence: TypeAlias = Literal[
    "RENEW", "APPLY_AFTER", "EXIT", "LEASE", "GENERATION", "END", "COMMITTED", "STABLE", "FRAMES", "LOOK_AGAIN"
]
DEFENCES: dict[Defence, str] = {
    "RENEW": "after an EndTxn that was slow or sent again, and after every abort, init_transactions comes before the next begin",
    "APPLY_AFTER": "the local store is written after the commit, not with the changelog",
    "EXIT": "an unknown outcome ends the process; it is not taken for an abort",
    "LEASE": "the group metadata is that of the poll, not that of the moment at which the offsets are sent",
    "GENERATION": "the group checks generation and member; metadata that never joined would not be checked",
    "END": "a restore goes to the read_uncommitted end and waits for what is open, not to the last stable offset",
    "COMMITTED": "a restore reads read_committed",
    "STABLE": "committed() waits for pending transactions",
    "FRAMES": "a recovery goes on only where the changelog's frame agrees with the committed offset",
    "LOOK_AGAIN": "where they do not agree, the committed offset is read once more: who moved it may be the next owner",
}


class Record(NamedTuple):
    """What one attempt writes into each of results, changelog and offsets. In the two latter it tells the next offset, too."""

    producer: int
    """The slot that wrote it."""
    attempt: int
    """Its place in the results, which an attempt writes first."""
    request: int
    answer: int
    """The attempt whose score this is: its own (SCORED), or that of the first request of the identity (DUPLICATE)."""
    fate: Fate


Log: TypeAlias = tuple[Record, ...]


class Producer(NamedTuple):
    """What the transaction coordinator knows of a slot's transactional id."""

    epoch: int
    status: Status


class Store(NamedTuple):
    """A local store: a fold of the changelog below `position`."""

    position: int
    answers: tuple[int, ...]
    """For each request that is the first of its identity, the attempt that scored it."""
    frame: int


class Process(NamedTuple):
    """A worker's process; of one that is down only slot, life and store count."""

    slot: int
    life: int
    """Its member id in the group: a successor that starts beside it has another."""
    place: Place
    store: Store
    epoch: int = NONE
    generation: int = NONE
    """Learnt by the last poll; that of the lease, because nobody polls between a poll and the end of its transaction."""
    position: int = 0
    end: int = 0
    """Of the changelog, as a restore found it."""
    attempt: int = NONE
    stale: bool = False
    """The producer must be renewed before the next transaction."""


class Group(NamedTuple):
    """What the group coordinator knows."""

    generation: int
    owner: int
    members: tuple[int, ...]
    """The life that joined last for each slot."""


class EndTxn(NamedTuple):
    """A request on its way."""

    producer: int
    epoch: int
    attempt: int
    """Whose it is: the answer goes to nobody else."""
    fate: Ended


class Faults(NamedTuple):
    """How many more of each may happen."""

    crashes: int = 0
    replacements: int = 0
    rebalances: int = 0
    delays: int = 0
    timeouts: int = 0
    """Transactions that the broker aborts because they are old."""


class State(NamedTuple):
    """The whole world at one moment."""

    processes: tuple[Process, ...]
    """Of slot A, of slot B, and one that was replaced."""
    producers: tuple[Producer, ...]
    group: Group
    results: Log
    changelog: Log
    offsets: Log
    network: tuple[EndTxn, ...]
    left: Faults


class Move(NamedTuple):
    """An action, in words, and the state after it."""

    who: str
    verb: str
    rest: str
    state: State

    def __str__(self) -> str:
        return f"{self.who} {self.verb} {self.rest}".rstrip()


COMMITTED: frozenset[Fate] = frozenset({"committed"})
ALL: frozenset[Fate] = COMMITTED | {"pending", "aborted"}
EMPTY = Store(0, (NONE,) * len(REQUESTS), 0)


def first(request: int) -> int:
    """Return the first request of this one's identity."""
    return REQUESTS.index(REQUESTS[request])


def folded(store: Store, log: Log, end: int, fates: Set[Fate] = COMMITTED) -> Store:
    """Return the store after the changelog from its position up to `end`."""
    answers, frame = list(store.answers), store.frame
    for record in log[store.position : end]:
        if record.fate in fates:
            if record.answer == record.attempt:
                answers[first(record.request)] = record.attempt
            frame = record.request + 1
    return Store(max(store.position, end), tuple(answers), frame)


def committed_offset(state: State) -> int:
    """Return the group's committed offset; the record that lies last in the log wins."""
    return next((record.request + 1 for record in reversed(state.offsets) if record.fate == "committed"), 0)


def is_open(log: Log, producer: int | None = None) -> bool:
    """Whether a record is pending: anybody's, or this producer's."""
    return any(record.fate == "pending" and producer in (None, record.producer) for record in log)


def start(faults: Faults) -> State:
    """Return the first state: both workers run, A owns the partition and has recovered."""
    workers = (Process(0, 0, "ready", EMPTY, 0, 0), Process(1, 0, "idle", EMPTY, 0, 0))
    return State(workers, (Producer(0, "empty"),) * 2, Group(0, 0, (0, 0)), (), (), (), (), faults)


class Protocol:
    """The actions, with all defences or without some of them."""

    def __init__(self, without: Set[Defence] = frozenset()) -> None:
        self._with = DEFENCES.keys() - without

    def steps(self, state: State) -> Iterator[Move]:
        """What workers, brokers and the network do by themselves."""
        for at, process in enumerate(state.processes):
            yield from self._step(state, at, process)
        for at, producer in enumerate(state.producers):
            if producer.status in ("committing", "aborting"):
                yield from _marked(state, at)
        for message in dict.fromkeys(state.network):
            yield from self._delivered(state, message)

    def faults(self, state: State) -> Iterator[Move]:
        """What may happen to them, as often as is left."""
        left, group = state.left, state.group
        for at, process in enumerate(state.processes):
            if process.place in ("down", "idle", "halted"):
                continue
            who = _name(at, process)
            if left.crashes:
                yield Move(who, "crashes", "", _ended(state, at)._replace(left=left._replace(crashes=left.crashes - 1)))
            if left.replacements and at < len(SLOTS):
                successor = Process(process.slot, process.life + 1, "down", EMPTY)
                processes = (*_with(state, at, successor), process)
                less = left._replace(replacements=left.replacements - 1)
                yield Move(who, "is stopped", "and replaced, elsewhere", state._replace(processes=processes, left=less))
        if left.rebalances:
            less = left._replace(rebalances=left.rebalances - 1)
            for owner, name in enumerate(SLOTS):
                moved = group._replace(owner=owner)
                text = f"generation {moved.generation}: the partition is {name}'s"
                yield Move(
                    "the group",
                    "rebalances to",
                    text,
                    state._replace(
                        group=moved, left=less, processes=tuple(p._replace(generation=NONE) for p in state.processes)
                    ),
                )
        for at, producer in enumerate(state.producers):
            if left.timeouts and producer.status == "ongoing":
                less = left._replace(timeouts=left.timeouts - 1)
                text = f"{SLOTS[at]}'s transaction, which is too old"
                yield Move(
                    "the broker", "aborts", text, _bumped(_decided(state._replace(left=less), at, "aborted"), at)
                )

    def _step(self, state: State, at: int, process: Process) -> Iterator[Move]:
        who = _name(at, process)
        match process.place:
            case "down":
                yield from _initialised(state, at, process._replace(place="idle"))
            case "idle" | "ready":
                yield from self._polled(state, at, process)
            case "assigned" | "bounding" | "restoring":
                yield from self._recovered(state, at, process)
            case "polled" if process.stale:
                yield from _initialised(state, at, process._replace(stale=False))
            case "polled" | "answered" | "changed":
                yield from self._produced(state, at, process)
            case "sent" | "refused":
                yield from self._ending(state, at, process)
            case "committing" | "aborting":
                if state.left.delays and sum(message.attempt == process.attempt for message in state.network) < 2:
                    yield Move(who, "sends", "the EndTxn again", _sent(state, process))
                yield Move(who, "gives up on", "the EndTxn: the outcome is unknown", self._unknown(state, at))
            case "committed":
                yield Move(who, "applies", f"request {process.position} locally", _applied(state, at, process))
            case "halted" if process.generation != state.group.generation:
                yield Move(who, "is started again", "by a person", _ended(state, at))

    def _polled(self, state: State, at: int, process: Process) -> Iterator[Move]:
        group, who = state.group, _name(at, process)
        if group.members[process.slot] > process.life:
            yield Move(who, "polls", "and meets its successor: exit", _ended(state, at))
        elif process.generation != group.generation and (
            process.place == "ready" or group.owner == process.slot or group.members[process.slot] != process.life
        ):
            owns = group.owner == process.slot
            members = tuple(process.life if slot == process.slot else life for slot, life in enumerate(group.members))
            learnt = process._replace(place="assigned" if owns else "idle", generation=group.generation, position=0)
            text = f"and learns of generation {group.generation}: {'owns' if owns else 'does not own'} the partition"
            after = state._replace(processes=_with(state, at, learnt), group=group._replace(members=members))
            yield Move(who, "polls", text, after)
        elif process.place == "ready" and process.position < len(REQUESTS):
            known = process.store.answers[first(process.position)]
            if known != NONE and state.results[known].request == process.position:
                # planning.py: a request that is its own first answer was committed before, so the offsets lie
                yield Move(
                    who, "polls", "what it has answered: halt", _put(state, at, process._replace(place="halted"))
                )
            else:
                text = f"request {process.position} under generation {group.generation}"
                yield Move(who, "polls", text, _put(state, at, process._replace(place="polled")))

    def _recovered(self, state: State, at: int, process: Process) -> Iterator[Move]:
        who, log, store = _name(at, process), state.changelog, process.store
        if process.place == "assigned":
            if not (is_open(state.offsets) and "STABLE" in self._with):
                now = process._replace(place="bounding", position=committed_offset(state))
                yield Move(who, "reads", f"the committed offset {now.position}", _put(state, at, now))
        elif process.place == "bounding":
            stable = next((i for i, record in enumerate(log) if record.fate == "pending"), len(log))
            now = process._replace(place="restoring", end=len(log) if "END" in self._with else stable)
            yield Move(who, "reads", f"the changelog's end {now.end}", _put(state, at, now))
        else:
            base = store if store.position <= process.end else EMPTY
            everything = "COMMITTED" not in self._with
            if is_open(log[base.position : process.end]) and not everything:
                return
            restored = folded(base, log, process.end, ALL if everything else COMMITTED)
            agree = restored.frame == process.position or "FRAMES" not in self._with
            if not agree and "LOOK_AGAIN" in self._with:
                if is_open(state.offsets) and "STABLE" in self._with:
                    return
                if committed_offset(state) != process.position:
                    now = process._replace(place="assigned", store=restored, end=0)
                    yield Move(
                        who, "restores", "and finds that the offset has moved on: once more", _put(state, at, now)
                    )
                    return
            now = process._replace(place="ready" if agree else "halted", store=restored, end=0)
            text = "" if agree else f": frame {restored.frame}, committed {process.position}: halt"
            yield Move(who, "restores", f"the changelog below {process.end}{text}", _put(state, at, now))

    def _produced(self, state: State, at: int, process: Process) -> Iterator[Move]:
        """Each of the three begins a transaction at the broker where none is ongoing."""
        who, slot, group = _name(at, process), process.slot, state.group
        producer = state.producers[slot]
        if producer.epoch != process.epoch:
            yield Move(who, "is fenced", "as it produces: exit", _ended(state, at))
            return
        if producer.status in ("committing", "aborting"):
            return  # CONCURRENT_TRANSACTIONS: the client tries again
        if process.place == "polled" and len(state.results) == ATTEMPTS:
            return
        state = _status(state, slot, "ongoing")
        if process.place == "polled":
            attempt, known = len(state.results), process.store.answers[first(process.position)]
            record = Record(slot, attempt, process.position, attempt if known == NONE else known, "pending")
            now = process._replace(place="answered", attempt=attempt)
            text = f"attempt {attempt}: request {process.position} is {'SCORED' if known == NONE else f'DUPLICATE of attempt {known}'}"
            after = _put(state, at, now)._replace(results=(*state.results, record))
            yield Move(who, "produces", text, after)
            return
        record = state.results[process.attempt]._replace(fate="pending")
        if process.place == "answered":
            log = (*state.changelog, record)
            now = process._replace(place="changed")
            if "APPLY_AFTER" not in self._with:
                now = now._replace(
                    store=folded(process.store._replace(position=len(log) - 1), log, len(log), {"pending"})
                )
            yield Move(who, "produces", "its changelog record", _put(state, at, now)._replace(changelog=log))
        elif "GENERATION" not in self._with or (
            group.members[slot] == process.life
            and ("LEASE" not in self._with or process.generation == group.generation)
        ):
            after = _put(state, at, process._replace(place="sent"))._replace(offsets=(*state.offsets, record))
            yield Move(who, "sends", f"the offset {record.request + 1}", after)
        else:
            yield Move(who, "sends", "its offset, and is refused", _put(state, at, process._replace(place="refused")))

    def _ending(self, state: State, at: int, process: Process) -> Iterator[Move]:
        """Send EndTxn: it is answered at once, or it is on its way."""
        who, producer = _name(at, process), state.producers[process.slot]
        place: Place = "committing" if process.place == "sent" else "aborting"
        asked = _put(state, at, process._replace(place=place))
        if producer.status not in ("committing", "aborting"):
            after, done = _ended_txn(asked, process.slot, process.epoch, _FATE[place])
            text = f"and is told at once: {'done' if done else 'refused'}"
            yield Move(who, f"sends EndTxn({_FATE[place]})", text, self._told(after, at, done, late=False))
        if state.left.delays:
            after = _sent(asked, asked.processes[at])
            yield Move(who, f"sends EndTxn({_FATE[place]})", "which is late", after)

    def _delivered(self, state: State, message: EndTxn) -> Iterator[Move]:
        """A late EndTxn arrives; its answer is heard, or lost on the way back, or nobody waits for it any more."""
        if state.producers[message.producer].status in ("committing", "aborting"):
            return
        network = list(state.network)
        network.remove(message)
        after, done = _ended_txn(state._replace(network=tuple(network)), message.producer, message.epoch, message.fate)
        who, verb = f"{SLOTS[message.producer]}'s EndTxn({message.fate})", f"of attempt {message.attempt} arrives"
        yield Move(who, verb, "and its answer is lost", after)
        for at, process in enumerate(state.processes):
            if process.place in _FATE and process.attempt == message.attempt:
                yield Move(
                    who,
                    verb,
                    f"and is answered: {'done' if done else 'refused'}",
                    self._told(after, at, done, late=True),
                )

    def _told(self, state: State, at: int, done: bool, late: bool) -> State:
        process = state.processes[at]
        renew = "RENEW" in self._with
        if not done:
            return self._unknown(state, at)
        if process.place == "committing":
            return _put(state, at, process._replace(place="committed", stale=late and renew))
        return _put(state, at, process._replace(place="ready", attempt=NONE, stale=renew))

    def _unknown(self, state: State, at: int) -> State:
        if "EXIT" in self._with:
            return _ended(state, at)
        return _put(state, at, state.processes[at]._replace(place="ready", attempt=NONE, stale=True))


_FATE: dict[Place, Ended] = {"committing": "committed", "aborting": "aborted"}


def _name(at: int, process: Process) -> str:
    return SLOTS[process.slot] if at < len(SLOTS) else f"the old {SLOTS[process.slot]}"


def _with(state: State, at: int, process: Process) -> tuple[Process, ...]:
    return (*state.processes[:at], process, *state.processes[at + 1 :])


def _put(state: State, at: int, process: Process) -> State:
    return state._replace(processes=_with(state, at, process))


def _ended(state: State, at: int) -> State:
    """The process is gone; one that was replaced for good."""
    if at >= len(SLOTS):
        return state._replace(processes=state.processes[:at])
    process = state.processes[at]
    return _put(state, at, Process(process.slot, process.life, "down", process.store))


def _applied(state: State, at: int, process: Process) -> State:
    offset = next(i for i, record in enumerate(state.changelog) if record.attempt == process.attempt)
    store = folded(process.store._replace(position=offset), state.changelog, offset + 1, ALL)
    return _put(state, at, process._replace(place="ready", store=store, position=process.position + 1, attempt=NONE))


def _sent(state: State, process: Process) -> State:
    message = EndTxn(process.slot, process.epoch, process.attempt, _FATE[process.place])
    less = state.left._replace(delays=state.left.delays - 1)
    return state._replace(network=tuple(sorted((*state.network, message))), left=less)


def _status(state: State, slot: int, status: Status) -> State:
    producers = list(state.producers)
    producers[slot] = producers[slot]._replace(status=status)
    return state._replace(producers=tuple(producers))


def _resolved(log: Log, slot: int, fate: Ended) -> Log:
    return tuple(r._replace(fate=fate) if r.producer == slot and r.fate == "pending" else r for r in log)


def _decided(state: State, slot: int, fate: Ended) -> State:
    """End a transaction; its result is visible, the other markers are still to be written."""
    state = state._replace(results=_resolved(state.results, slot, fate))
    if is_open(state.changelog, slot) or is_open(state.offsets, slot):
        return _status(state, slot, "committing" if fate == "committed" else "aborting")
    return _status(state, slot, fate)


def _ended_txn(state: State, slot: int, epoch: int, fate: Ended) -> tuple[State, bool]:
    """What the coordinator makes of an EndTxn: it cannot tell which transaction of this epoch is meant."""
    producer = state.producers[slot]
    if producer.epoch == epoch and producer.status == "ongoing":
        return _decided(state, slot, fate), True
    return state, producer == Producer(epoch, fate)


def _marked(state: State, slot: int) -> Iterator[Move]:
    """Write one of the markers of a transaction that was decided."""
    fate: Ended = "committed" if state.producers[slot].status == "committing" else "aborted"
    changelog, offsets = is_open(state.changelog, slot), is_open(state.offsets, slot)
    text = f"{SLOTS[slot]}'s records {fate} in the"
    if changelog:
        after = state._replace(changelog=_resolved(state.changelog, slot, fate))
        yield Move("the broker", "marks", f"{text} changelog", after if offsets else _status(after, slot, fate))
    if offsets:
        after = state._replace(offsets=_resolved(state.offsets, slot, fate))
        yield Move("the broker", "marks", f"{text} offsets", after if changelog else _status(after, slot, fate))


def _bumped(state: State, slot: int) -> State:
    producers = list(state.producers)
    network = tuple(message for message in state.network if message.producer != slot)
    processes = tuple(p._replace(epoch=NONE) if p.slot == slot else p for p in state.processes)
    return state._replace(producers=tuple(producers), network=network, processes=processes)


def _initialised(state: State, at: int, after: Process) -> Iterator[Move]:
    """init_transactions: abort what is open, wait until it is, and take the next epoch."""
    who, slot = _name(at, after), after.slot
    status = state.producers[slot].status
    if status == "ongoing":
        yield Move(
            who,
            "begins init_transactions:",
            "the open transaction is aborted",
            _bumped(_decided(state, slot, "aborted"), slot),
        )
    elif status not in ("committing", "aborting"):
        bumped = _status(_bumped(state, slot), slot, "empty")
        epoch = bumped.producers[slot].epoch
        yield Move(who, "ends init_transactions:", f"epoch {epoch}", _put(bumped, at, after._replace(epoch=epoch)))


def violations(state: State) -> Iterator[str]:
    """Return the names of what is wrong in a state.

    LOST needs no waiting for a quiet moment: a result is decided before the offset that goes with it can be, so where a
    request lies below the committed offset its result is committed, or pending in a transaction that will commit it.
    STATE_DIVERGED is judged where everything below the checkpoint is decided: markers do not change their mind.
    """
    fates: dict[int, set[str]] = {}
    for log in (state.results, state.changelog, state.offsets):
        for record in log:
            fates.setdefault(record.attempt, set()).add(record.fate)
    if any({"committed", "aborted"} <= found for found in fates.values()):
        yield "TORN"
    done = [record for record in state.results if record.fate == "committed"]
    answered = {record.request for record in done}
    if len(answered) < len(done):
        yield "DOUBLED"
    scored = {record.request for record in done if record.answer == record.attempt}
    if len({first(request) for request in scored}) < len(scored):
        yield "TWICE_SCORED"
    alive = answered | {record.request for record in state.results if record.fate == "pending"}
    if not alive.issuperset(range(committed_offset(state))):
        yield "LOST"
    aborted = {record.attempt for record in state.changelog if record.fate == "aborted"}
    if any(record.answer != record.attempt and record.answer in aborted for record in state.results):
        yield "ABORTED_READ"
    for process in state.processes:
        position = process.store.position
        judged = process.place in GOES_ON and not is_open(state.changelog[:position])
        if judged and process.store != folded(EMPTY, state.changelog, position):
            yield "STATE_DIVERGED"
        if process.place == "halted":
            if process.generation != state.group.generation or state.group.members[process.slot] != process.life:
                yield "FALSE_ALARM"
            else:
                yield "OFFSETS_WENT_BACK" if process.position < process.store.frame else "OFFSETS_WENT_FORWARD"
