"""Changes that Avro's compatibility rules let through, and that would change what every reader understands."""

import json
from typing import Any

import pytest

from streams.avro.evolution import silent_changes
from streams.avro.json_values import SchemaRefused

MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
TIME = {"type": "long", "logicalType": "timestamp-millis"}
HASH = {"type": "fixed", "name": "Hash", "size": 8, "logicalType": "decimal", "precision": 9, "scale": 2}


def schema(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", "namespace": "n", "fields": list(fields), **more}


def field(kind: Any, name: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


@pytest.mark.parametrize(
    ("old", "new", "sentences"),
    [
        (
            schema(field(TIME)),
            schema(field({**TIME, "logicalType": "timestamp-micros"})),
            ["Field a changes its logicalType from timestamp-millis to timestamp-micros."],
        ),
        (
            schema(field(TIME)),
            schema(field("long")),
            ["Field a changes its logicalType from timestamp-millis to none."],
        ),
        (
            schema(field(["null", MONEY])),
            schema(field(["null", {**MONEY, "scale": 4, "precision": 12}])),
            ["Field a changes its precision from 9 to 12.", "Field a changes its scale from 2 to 4."],
        ),
        (
            schema(field(MONEY)),
            schema(field(["null", {**MONEY, "scale": 3}])),
            ["Field a changes its scale from 2 to 3."],
        ),
        (
            schema(field({"type": "array", "items": "float", "length": 3})),
            schema(field({"type": "array", "items": "float", "length": 4})),
            ["Field a changes its length from 3 to 4."],
        ),
        (
            schema(field("double", unit="minutes")),
            schema(field("double", unit="seconds")),
            ["Field a changes its unit from minutes to seconds."],
        ),
        (
            schema(field(schema(field(TIME), field("int", "b", unit="km"), name="I")), field("I", "again")),
            schema(field(schema(field("long"), field("int", "b"), field(TIME, "c"), name="I")), field("I", "again")),
            [
                "Field a.a changes its logicalType from timestamp-millis to none.",
                "Field a.b changes its unit from km to none.",
                "Field again.a changes its logicalType from timestamp-millis to none.",
                "Field again.b changes its unit from km to none.",
            ],
        ),
        (
            schema(field("string", role="request_id")),
            schema(field("string")),
            ["Field a changes its role from request_id to none."],
        ),
        (
            schema(field("string"), key=["a"]),
            schema(field("string")),
            ["The record changes its key from ['a'] to none."],
        ),
        (
            schema(field("string", role="request_id"), field({**MONEY, "scale": 0}, "b"), key=["a"]),
            schema(
                field("string", role="request_id"), field({key: MONEY[key] for key in MONEY if key != "scale"}, "b")
            ),
            [],
        ),
        (
            schema(field("string", role="request_id"), key=None),
            schema(field("string", role="request_id"), key=["a"]),
            [],
        ),
        (
            schema(field("string", role="request_id"), field("string", "b", role="tenant")),
            schema(field("string", role="request_id"), field("string", "b", role="tenant"), key=["b", "a"]),
            ["The record changes its key from ['a'] to ['b', 'a']."],
        ),
        (
            schema(field({"type": "array", "items": TIME})),
            schema(field({"type": "array", "items": "long"})),
            ["Field a[] changes its logicalType from timestamp-millis to none."],
        ),
        (
            schema(field(HASH), field("Hash", "b")),
            schema(field(HASH), field("Hash", "b"), field({**HASH, "name": "H2", "scale": 3}, "c")),
            [],
        ),
        (
            schema(field(HASH), field("Hash", "b")),
            schema(field({**HASH, "scale": 1}), field("Hash", "b")),
            ["Field a changes its scale from 2 to 1.", "Field b changes its scale from 2 to 1."],
        ),
        (schema(field(TIME)), schema(field(TIME, doc="words"), field(MONEY, "new"), doc="words"), []),
        (schema(field(TIME), field(MONEY, "old")), schema(field(TIME)), []),
        (schema(field("int", minimum=1)), schema(field("long", minimum=2)), []),
    ],
)
def test_silent_changes(old: dict[str, Any], new: dict[str, Any], sentences: list[str]) -> None:
    """Meaning that changed in a field of both is named; new fields, lost fields, docs and bounds are other rules' work."""
    assert sentences == silent_changes(json.dumps(old), new)
    assert [] == silent_changes(new, json.dumps(new))


def test_old_versions_that_are_hostile_are_refused() -> None:
    """One that contains itself is walked once; one that stands for a million fields is not walked to its end."""
    itself = schema(field(TIME), field(["null", "R"], "again"))
    assert [] == silent_changes(itself, itself)
    records = [schema(field("int"), name="R0")]
    records += [schema(field(f"R{at - 1}"), field(f"R{at - 1}", "b"), name=f"R{at}") for at in range(1, 40)]
    bomb = schema(*(field(record, f"f{at}") for at, record in enumerate(records)))
    with pytest.raises(SchemaRefused, match="stands for more than 100000 fields"):
        silent_changes(bomb, bomb)
