"""Every combination of error flags has one verdict."""

from typing import NamedTuple

import pytest
from confluent_kafka import KafkaError

from streams.errors import SetupError, SlotTaken, Stop
from streams.kafka.verdicts import FINAL, Verdict, stop_for, verdict


class Error(NamedTuple):
    """An error as the client hands it over."""

    number: int
    is_fatal: bool = False
    again: bool = False
    abort: bool = False

    def code(self) -> int:
        return self.number

    def str(self) -> str:
        return "what the client says"

    def fatal(self) -> bool:
        return self.is_fatal

    def retriable(self) -> bool:
        return self.again

    def txn_requires_abort(self) -> bool:
        return self.abort


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        (Verdict.FENCED, Error(KafkaError._FENCED, is_fatal=True)),
        (Verdict.FENCED, Error(KafkaError.PRODUCER_FENCED, is_fatal=True)),
        (Verdict.FENCED, Error(KafkaError.INVALID_PRODUCER_EPOCH)),
        (Verdict.UNKNOWN, Error(KafkaError.INVALID_TXN_STATE, is_fatal=True)),
        (Verdict.UNKNOWN, Error(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, is_fatal=True, again=True)),
        (Verdict.ABORT, Error(KafkaError.ILLEGAL_GENERATION, abort=True)),
        (Verdict.ABORT, Error(KafkaError.UNKNOWN_MEMBER_ID, abort=True)),
        (Verdict.ABORT, Error(KafkaError._INCONSISTENT, abort=True, again=True)),
        (Verdict.AGAIN, Error(KafkaError._TIMED_OUT, again=True)),
        (Verdict.AGAIN, Error(KafkaError.CONCURRENT_TRANSACTIONS, again=True)),
        (Verdict.UNKNOWN, Error(KafkaError._TIMED_OUT)),
        (Verdict.UNKNOWN, Error(KafkaError._STATE)),
    ],
)
def test_an_error_has_one_verdict(expected: Verdict, error: Error) -> None:
    """Fencing before fatal before abort before retry; what has no flag at all is unknown."""
    assert expected == verdict(error)


@pytest.mark.parametrize(
    ("kind", "hint", "code", "lost_session"),
    [
        (SlotTaken, "--instance", KafkaError.FENCED_INSTANCE_ID, False),
        (SlotTaken, "--instance", KafkaError._FATAL, False),
        (Stop, "restart", KafkaError._FATAL, True),
        (SetupError, "Read on topic loans.requests", KafkaError.TOPIC_AUTHORIZATION_FAILED, False),
        (SetupError, "group g", KafkaError.GROUP_AUTHORIZATION_FAILED, False),
    ],
)
def test_a_reader_s_error_has_one_stop(kind: type[Stop], hint: str, code: int, lost_session: bool) -> None:
    """It says what to do, and whether a restart may help."""
    stop = stop_for(Error(code), "loans.requests", "g", "s-00", lost_session=lost_session)
    assert (kind, True, code in FINAL) == (type(stop), hint in str(stop), True)
    assert stop.restart == (kind is Stop)
