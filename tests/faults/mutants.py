"""Faults built into workers by patches; `tests.faults.worker` runs them. Nothing here can be reached from the product.

They show that the oracle sees what it is there for.
"""

import faulthandler
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition

from streams import assembly
from streams.kafka import source
from streams.kafka.source import KafkaSource
from streams.loop import Loop
from streams.ports import Assignment
from streams.records import TP, Batch, Checkpoint, Ended, Lease, Outcome, Step

DEADLY = 666.0
WINDOW_S = 0.2
"""How long the moment is held open in which a kill would hurt."""


def state_before_commit() -> None:
    """The local state runs ahead of the log."""
    finish = Loop._finish

    def early(self: Loop, batch: Batch, step: Step, **more: Any) -> None:
        for partition, puts in step.puts.items():
            (_, end) = self._edges.changelog.bounds([partition])[partition]
            self._edges.store.apply(partition, puts, Checkpoint(self._fold.app.changelog_id, end - 1))
        time.sleep(WINDOW_S)
        finish(self, batch, step, **more)

    Loop._finish = early  # type: ignore[method-assign]


def unknown_is_aborted() -> None:
    """What may be committed is done again; every fifth commit's answer is lost."""
    from streams.kafka.sink import KafkaSink

    transact = KafkaSink.transact
    calls = [0]

    def forgetful(self: KafkaSink, step: Step, *more: Any, **named: Any) -> Ended:
        ended = transact(self, step, *more, **named)
        calls[0] += 1
        if calls[0] % 5 == 0 and ended.outcome is Outcome.COMMITTED:
            return Ended(Outcome.ABORTED, {}, "the answer was lost")
        return ended

    KafkaSink.transact = forgetful  # type: ignore[method-assign]


def no_renewal(self: Any) -> None:
    """What was ambiguous is forgotten: the next transaction has the epoch of the last one, and what is late may end it."""
    self._stale = self._disconnected = False


def late_endtxn_accepted() -> None:
    """The producer is never renewed."""
    from streams.kafka.sink import KafkaSink

    KafkaSink._renew = no_renewal  # type: ignore[method-assign]


def epoch_after_consume() -> None:
    """The epoch is read after the call that may have changed it: what a new assignment brings along is answered at once,
    by a state that was not recovered.
    """

    def on_assign(self: KafkaSource, consumer: Any, partitions: list[TopicPartition]) -> None:
        consumer.assign(consumer.committed(partitions, 10))
        self._assigned = frozenset(TP(tp.topic, tp.partition) for tp in partitions)
        self._epoch += 1

    def poll(self: KafkaSource, limit: int, age_ms: int) -> Batch | Assignment:
        messages = self._consume(limit, age_ms / 1000)
        if messages:
            return source._batch(Lease(self._epoch, self._consumer.consumer_group_metadata()), messages)
        if self._told != self._epoch:
            self._told = self._epoch
            return Assignment(self._epoch, self._assigned)
        return source._batch(Lease(self._epoch, None), [])

    KafkaSource._on_assign = on_assign  # type: ignore[method-assign]
    KafkaSource.poll = poll  # type: ignore[method-assign]


def slow_score() -> None:
    """The first three score calls take three seconds each; more, and the batch would shrink to one record."""
    naps = iter([3.0] * 3)
    _scoring(lambda _: time.sleep(next(naps, 0.0)))


def auto_commit() -> None:
    """The consumer commits by itself what it has returned."""
    _consuming("source", {"enable.auto.commit": True, "enable.auto.offset.store": True, "auto.commit.interval.ms": 50})


def restore_reads_uncommitted() -> None:
    """What was aborted is part of the state."""
    _consuming("changelog", {"isolation.level": "read_uncommitted"})


def never_joined() -> None:
    """Offsets are sent for a consumer that never joined the group, so no generation is compared."""
    from streams.kafka.outsider import outsider

    poll = KafkaSource.poll

    def stranger(self: KafkaSource, limit: int, age_ms: int) -> Batch | Assignment:
        got = poll(self, limit, age_ms)
        if isinstance(got, Batch) and got.size:
            nobody = outsider(self._admin._client, self._group)
            got = got._replace(lease=Lease(got.lease.epoch, nobody.consumer_group_metadata()))
            nobody.close()
        return got

    KafkaSource.poll = stranger  # type: ignore[method-assign]


def _consuming(room: str, wrong: dict[str, Any]) -> None:
    """Give the consumer of a room of `kafka/` settings that it should not have."""
    import importlib

    module: Any = importlib.import_module(f"streams.kafka.{room}")
    make = module.Consumer
    module.Consumer = lambda settings: make(settings | wrong)


def restore_ends_at_lso() -> None:
    """What an open transaction hides is not waited for."""
    from streams.kafka.changelog import KafkaChangelog

    def stable(self: KafkaChangelog, partitions: Any) -> Any:
        tps = [TP(self._topic, partition) for partition in partitions]
        starts, ends = self._admin.offsets(tps, "earliest"), self._admin.offsets(tps, "stable")
        return {tp.partition: (starts[tp], ends[tp]) for tp in tps}

    KafkaChangelog.bounds = stable  # type: ignore[method-assign]


def slow_scores() -> None:
    """No mutant: the product itself, with a model that takes up to 0.3 s, now and then."""
    import random

    _scoring(lambda _: time.sleep(random.choice([0.0, 0.0, 0.0, 0.3]) * random.random()))


def slow_restore() -> None:
    """No mutant: the product itself, but a restore comes pack by pack, each a tenth of a second late."""
    from streams.kafka import changelog

    read = changelog.KafkaChangelog.read

    def slowly(self: Any, partition: int, begin: int, end: int) -> Any:
        for chunk in read(self, partition, begin, end):
            time.sleep(0.1)
            yield chunk

    changelog.CHUNK = 1
    changelog.KafkaChangelog.read = slowly  # type: ignore[method-assign]


def stuck_score() -> None:
    """The first score call of the first worker never returns, and holds the GIL."""
    flag = Path(sys.argv[2]).parent / "stuck"

    def stuck(_: Any) -> None:
        if not flag.exists():
            flag.write_text("")
            import ctypes

            ctypes.PyDLL(None).sleep(600)

    _scoring(stuck)


def deadly_number() -> None:
    """No mutant: the product itself, with a model whose native code dies over one number."""

    def die(matrix: Any) -> None:
        if (matrix == DEADLY).any():
            os.kill(os.getpid(), signal.SIGSEGV)

    _scoring(die)


def unwatched_nap() -> None:
    """The first score call takes five seconds, and no watchdog ends the process over that."""
    faulthandler.dump_traceback_later = lambda *_, **__: None
    naps = iter([5.0])
    _scoring(lambda _: time.sleep(next(naps, 0.0)))


def stuck_commit() -> None:
    """The fifth transaction of the first worker never ends, as librdkafka's can after a lost connection (#5456)."""
    from streams.kafka.sink import KafkaSink

    flag, transact, calls = Path(sys.argv[2]).parent / "stuck", KafkaSink.transact, [0]

    def stuck(self: KafkaSink, step: Step, *more: Any, **named: Any) -> Ended:
        calls[0] += 1
        if calls[0] == 5 and not flag.exists():
            flag.write_text("")
            time.sleep(600)
        return transact(self, step, *more, **named)

    KafkaSink.transact = stuck  # type: ignore[method-assign]


def _scoring(before: Any) -> None:
    assemble = assembly.assemble

    def patched(*args: Any) -> Any:
        parts = assemble(*args)
        fold: Any = parts.fold
        score = fold.model.score

        def slow(matrix: Any) -> Any:
            before(matrix)
            return score(matrix)

        fold.model.score = slow
        return parts

    assembly.assemble = patched  # type: ignore[assignment]


MUTANTS = {
    "state-before-commit": state_before_commit,
    "unknown-is-aborted": unknown_is_aborted,
    "late-endtxn-accepted": late_endtxn_accepted,
    "epoch-after-consume": epoch_after_consume,
    "slow-score": slow_score,
    "auto-commit": auto_commit,
    "restore-reads-uncommitted": restore_reads_uncommitted,
    "never-joined": never_joined,
    "restore-ends-at-lso": restore_ends_at_lso,
    "slow-scores": slow_scores,
    "slow-restore": slow_restore,
    "stuck-score": stuck_score,
    "deadly-number": deadly_number,
    "unwatched-nap": unwatched_nap,
    "stuck-commit": stuck_commit,
}
