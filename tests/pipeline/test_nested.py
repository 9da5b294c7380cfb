"""Requests made of records and vectors: read, judged and told from each other like flat ones."""

import struct
from typing import Any

import pytest

from streams.avro.schema import parse
from streams.contracts import Reading, Snapshot
from streams.pipeline import read
from streams.reasons import Reason
from tests.pipeline.world import ID, LANE, SCHEMA, Sent, app, batch, loan, numbered, run

CUSTOMER = {
    "type": "record",
    "name": "Customer",
    "fields": [
        {"name": "age", "type": ["null", "int"], "minimum": 18},
        {"name": "note", "type": "string", "meta": True},
    ],
}
VECTOR = {"type": "array", "items": "double", "length": 2}
NESTED: dict[str, Any] = {
    **SCHEMA,
    "fields": [*SCHEMA["fields"], {"name": "v", "type": VECTOR, "maximum": 9}, {"name": "customer", "type": CUSTOMER}],
}
CONTRACT = parse(NESTED)
SNAPSHOT: Snapshot = {(LANE, ID): Reading(CONTRACT, CONTRACT)}


def asked(request_id: str, age: int | None, note: str = "", v: tuple[float, ...] = (0.5, 1.0)) -> Sent:
    """A request under the nested contract."""
    value = loan(request_id, schema=NESTED, customer={"age": age, "note": note}, v=list(v))
    return Sent(value, request_id.encode())


def test_a_nested_request_is_judged_by_all_its_fields() -> None:
    """Another age is a conflict, another note is not; a rule inside is named by its path; a longer varint changes nothing."""
    longer = asked("a", 30)
    assert longer.value is not None
    assert longer.value.endswith(b"\x02\x3c\x00"), "the branch, 30, no letters"
    longer.value = longer.value[:-2] + b"\xbc\x00" + b"\x00"
    log = numbered([asked("a", 30), asked("a", 31), asked("a", 30, "again"), longer, asked("b", 17), asked("c", None)])
    for cuts in (range(0), range(1, len(log))):
        found = run(log, cuts, snapshot=SNAPSHOT)
        kinds = [record["kind"] for record in found.values()]
        assert sorted(["SCORED", "CONFLICT", "DUPLICATE", "DUPLICATE", "OUT_OF_CONTRACT", "SCORED"]) == sorted(kinds)
        (young,) = [record for record in found.values() if record["kind"] == "OUT_OF_CONTRACT"]
        assert "Field customer.age is 17; the contract allows at least 18." == young["sentence"]


def test_a_datum_that_ends_inside_a_record_is_malformed_there() -> None:
    """The field at fault is named by its path."""
    good = asked("a", 30)
    assert good.value is not None
    broken = Sent(good.value[:-1], b"a")
    rows = read(batch(numbered([broken])), SNAPSHOT, app())
    assert {0: Reason.MALFORMED} == rows.reason
    assert "customer.note" == rows.detail[0].field


def test_a_vector_is_the_same_in_whatever_blocks_it_comes() -> None:
    """Two blocks of one, with their size in bytes: a repeat; another number: a conflict; one beyond the rule: refused."""
    one, half = struct.pack("<d", 1.0), struct.pack("<d", 0.5)
    plain, in_blocks = asked("a", 30), asked("a", 30)
    assert plain.value is not None
    whole = b"\x04" + half + one + b"\x00"
    assert 1 == plain.value.count(whole)
    in_blocks.value = plain.value.replace(whole, b"\x02" + half + b"\x01\x10" + one + b"\x00")
    log = numbered([plain, in_blocks, asked("a", 30, v=(0.5, 2.0)), asked("b", 30, v=(0.5, 10.0))])
    found = run(log, snapshot=SNAPSHOT)
    assert ["CONFLICT", "DUPLICATE", "OUT_OF_CONTRACT", "SCORED"] == sorted(record["kind"] for record in found.values())
    (beyond,) = [record for record in found.values() if record["kind"] == "OUT_OF_CONTRACT"]
    assert "Field v is [0.5, 10.0]; the contract allows at most 9, finite numbers." == beyond["sentence"]


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x02" + bytes(8) + b"\x00",
        b"\x06" + bytes(24) + b"\x00",
        b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x03\x00",
        b"\x00",
    ],
    ids=["one", "three", "2**63 - 1", "-2**63", "a block of no bytes", "none"],
)
def test_a_vector_of_another_length_is_malformed(hostile: bytes) -> None:
    """Claims cost nothing; the neighbour is answered."""
    good = asked("good", 30)
    assert good.value is not None
    broken = Sent(good.value.replace(b"\x04" + struct.pack("<dd", 0.5, 1.0) + b"\x00", hostile), b"bad")
    rows = read(batch(numbered([broken, good])), SNAPSHOT, app())
    assert {0: Reason.MALFORMED} == rows.reason
    assert ["v"] == [detail.field for detail in rows.detail.values()]
