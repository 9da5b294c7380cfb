"""Every combination of error flags has one verdict."""

from typing import NamedTuple

import pytest
from confluent_kafka import KafkaError

from streams.kafka.verdicts import Verdict, verdict


class Error(NamedTuple):
    """An error as the client hands it over."""

    number: int
    is_fatal: bool = False
    again: bool = False
    abort: bool = False

    def code(self) -> int:
        return self.number

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
