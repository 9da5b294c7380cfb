"""Labels that are keyed otherwise than requests: what is copied where, and what is set aside. And whether it is told."""

import numpy as np
import pytest

from streams.avro.encode import encode_one
from streams.avro.schema import parse
from streams.contracts import Reading
from streams.dedupe import salt
from streams.headers import REASON, LabelOrigin, label_origin, origin_of
from streams.kafka.partitioner import partition_of, partitions_of
from streams.monitor.reading import unmet
from streams.pipeline import read
from streams.reasons import Reason
from streams.records import TP, Batch, Detail, Lease
from streams.rekeying import App, Rekeying
from streams.verify.copies import judge_copies
from tests.monitor.stream import LABEL_SCHEMA

LABELS, KEYED = "loans.labels", "loans.labels.keyed"
CONTRACT = parse(LABEL_SCHEMA)._replace(key=("request_id",))
SNAPSHOT = {
    (LABELS, 2): Reading(CONTRACT, CONTRACT),
    (LABELS, 3): Reading(CONTRACT, None),
}
APP = App(
    group="loans.rekey",
    keyed=KEYED,
    keyed_partitions=8,
    dlq={LABELS: f"{LABELS}.dlq"},
    dlq_bytes={f"{LABELS}.dlq": 4_096},
    topic_ids={LABELS: b"L" * 16},
    changelog_id=b"C" * 16,
    partitions=3,
    partitions_of=partitions_of,
    salt=salt("loans"),
    key_bytes=16,
)


def value(name: str, schema_id: int = 2) -> bytes:
    """Return a label's value."""
    said = {"request_id": name, "known_at": 5, "version": None, "withdrawn": False, "outcome": "kept"}
    return b"\0\0\0\0" + bytes([schema_id]) + encode_one(LABEL_SCHEMA, said)


def batch(*values: bytes | None) -> Batch:
    """Return a batch of labels of one partition, keyed by somebody else."""
    size = len(values)
    return Batch(
        lease=Lease(1, None),
        tps=(TP(LABELS, 1),),
        tp=np.zeros(size, dtype=np.int64),
        offset=np.arange(10, 10 + size),
        append_ms=np.full(size, 1_000),
        keys=[b"theirs"] * size,
        values=list(values),
        headers=[[("trace", b"7")], *[None] * (size - 1)],
    )


def test_a_label_goes_to_its_requests_partition() -> None:
    """With the request's key, its value and headers as they were, and where it came from."""
    step = Rekeying(APP).decide(read(batch(value("r1"), value("r2")), SNAPSHOT, APP))
    (copies,) = step.emits
    assert copies.topic == KEYED
    assert list(copies.keys) == [b"r1", b"r2"]
    assert list(copies.partitions) == [partition_of(b"r1", 8), partition_of(b"r2", 8)]
    assert list(copies.values) == [value("r1"), value("r2")]
    assert copies.headers is not None
    assert (copies.headers[0] or [])[0] == ("trace", b"7")
    expected = [LabelOrigin(b"L" * 16, 1, offset, 1_000) for offset in (10, 11)]
    assert [label_origin(headers) for headers in copies.headers] == expected
    assert step.next == {TP(LABELS, 1): 12}
    assert dict(step.fates) == {"labels.keyed": 2}


def test_what_does_not_say_whose_it_is_is_set_aside() -> None:
    """Malformed, a tombstone, an empty or overlong id, a contract that is not taken; the others are copied all the same."""
    values = (value("r1"), value("r1")[:-1], None, value(""), value("r" * 17), value("r1", 3), b"?")
    step = Rekeying(APP).decide(read(batch(*values), SNAPSHOT, APP))
    letters, copies = step.emits
    assert list(copies.keys) == [b"r1"]
    assert letters.topic == f"{LABELS}.dlq"
    assert list(letters.values) == list(values[1:])
    reasons = [(dict(headers or [])[REASON] or b"").decode() for headers in letters.headers or []]
    expected = ["MALFORMED", "TOMBSTONE", "KEY_MISMATCH", "KEY_MISMATCH", "NOT_ACCEPTED", "NOT_FRAMED"]
    assert reasons == expected
    assert [origin.offset for headers in letters.headers or [] if (origin := origin_of(headers))] == [*range(11, 17)]
    assert [said.offset for headers in letters.headers or [] if (said := label_origin(headers))] == [*range(11, 17)]
    assert sum(step.fates.values()) == len(values)


def test_a_label_that_the_broker_refuses_is_set_aside_without_its_payload_if_need_be() -> None:
    """Once; what it says then is where it lies."""
    fold, huge = Rekeying(APP), value("r" * 16) + bytes(5_000)
    rows = read(batch(value("r1"), huge), SNAPSHOT, APP)
    assert fold.refuse(TP(LABELS, 1), 10, Reason.UNPRODUCIBLE, Detail(None, "too large"))
    assert not fold.refuse(TP(LABELS, 1), 10, Reason.UNPRODUCIBLE, Detail(None, "too large"))
    step = fold.decide(rows)
    (letters,) = step.emits
    assert list(letters.values) == [value("r1"), None]
    assert dict(step.fates) == {"labels.UNPRODUCIBLE": 1, "labels.MALFORMED": 1}
    fold.committed(step)
    assert len(fold.decide(rows).emits) == 2, "it is forgotten once it is committed"


def test_a_record_that_no_dead_letter_can_carry_leaves_its_coordinates() -> None:
    """However large its key and its headers are."""
    huge = batch(b"?")._replace(keys=[bytes(5_000)], headers=[[("trace", bytes(5_000))]])
    (letters,) = Rekeying(APP).decide(read(huge, SNAPSHOT, APP)).emits
    assert letters.headers is not None
    assert (letters.keys[0], letters.values[0]) == (None, None)
    assert sum(len(value or b"") for _, value in letters.headers[0] or []) < 500
    named = origin_of(letters.headers[0])
    assert named is not None
    assert named.offset == 10


def test_a_worker_s_death_is_no_better_reason_than_what_is_wrong_with_a_label() -> None:
    """A label that can be copied is set aside for it; one that cannot be read keeps its own reason."""
    fold = Rekeying(APP)
    for offset in (10, 11):
        fold.refuse(TP(LABELS, 1), offset, Reason.POISON_PILL, Detail())
    step = fold.decide(read(batch(value("r1"), b"?"), SNAPSHOT, APP))
    assert dict(step.fates) == {"labels.POISON_PILL": 1, "labels.NOT_FRAMED": 1}


def test_labels_without_a_copy_and_with_two_are_told() -> None:
    """With coordinates; where retention has taken some, none is called lost."""
    tp = TP(LABELS, 1)
    copies = [(tp, 10), (tp, 12), (tp, 12), (tp, 99)]
    assert judge_copies({tp: [10, 11, 12]}, copies, complete=True) == (
        f"DOUBLED 1 labels were copied more than once: {tp}@12",
        f"LOST 1 labels were read, and neither copied nor set aside: {tp}@11",
    )
    assert judge_copies({tp: [10, 11]}, [(tp, 10)], complete=False) == ()
    assert judge_copies({tp: [10, 11]}, [(tp, 11), (tp, 10)], complete=True) == ()


TENANT = {"name": "bank", "type": "string", "role": "tenant"}
KEY = ("bank", "request_id")


@pytest.mark.parametrize(
    ("labels", "requests", "rekey", "why"),
    [
        ((), (), False, ""),
        ((), KEY, False, "it has no tenant, and requests have one"),
        (KEY, (), True, "it has a tenant, and requests have none"),
        (KEY, KEY, False, ""),
        (("request_id", "bank"), KEY, False, "it is keyed by request_id, tenant, and requests by tenant, request_id"),
        (("request_id", "bank"), KEY, True, ""),
    ],
)
def test_labels_that_could_not_meet_their_predictions_are_refused(
    labels: tuple[str, ...], requests: tuple[str, ...], rekey: bool, why: str
) -> None:
    """Before any worker starts, and with what to do."""
    contracts = [
        parse({**LABEL_SCHEMA, "fields": [*LABEL_SCHEMA["fields"], TENANT], "key": list(key)}) if key else CONTRACT
        for key in (labels, requests)
    ]
    said = unmet(*contracts, rekey=rekey)
    assert said.startswith(why)
    assert (said == "") == (why == "")
