"""Requests made of records: read, judged and told from each other like flat ones."""

from typing import Any

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
NESTED: dict[str, Any] = {**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "customer", "type": CUSTOMER}]}
CONTRACT = parse(NESTED)
SNAPSHOT: Snapshot = {(LANE, ID): Reading(CONTRACT, CONTRACT)}


def asked(request_id: str, age: int | None, note: str = "") -> Sent:
    """A request under the nested contract."""
    return Sent(loan(request_id, schema=NESTED, customer={"age": age, "note": note}), request_id.encode())


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
    assert [Reason.MALFORMED] == rows.reason
    assert "customer.note" == rows.detail[0].field
