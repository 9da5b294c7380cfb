"""Hand-made bombs: datums, schemas and framings that have hurt a decoder somewhere, and what must become of each.

A datum replaces one field of a good request (`tests/pipeline/test_bad_bytes.py` has the contract); a schema comes as a
registry would give it; a framing is a whole record value.
"""

import json
from typing import Any, NamedTuple

from tests.avro.strict_reader import varint
from tests.pipeline.test_bad_bytes import FRAME, PIECES, value

FAR = b"\xff" * 9


class Datum(NamedTuple):
    """Bytes in the place of a field's."""

    name: str
    field: str
    piece: bytes


def _cut(field: str, keep: int) -> Datum:
    return Datum(f"{field} cut off after {keep} bytes", field, PIECES[field][:keep])


DATUMS = [
    Datum("a varint of 11 bytes", "count", b"\x80" * 10 + b"\x01"),
    Datum("a varint of a thousand bytes", "total", b"\x80" * 1_000 + b"\x01"),
    Datum("a varint of a megabyte", "total", b"\xff" * 1_000_000),
    Datum("a varint without an end", "total", FAR),
    Datum("65 bits", "total", FAR + b"\x02"),
    Datum("70 bits", "total", FAR + b"\x7f"),
    Datum("33 bits in an int", "count", varint(1 << 32)),
    Datum("an int of -2^31 - 1", "count", varint(-(1 << 31) - 1)),
    Datum("an int of 2^31", "count", varint(1 << 31)),
    Datum("a length of -1", "request_id", varint(-1)),
    Datum("a length of -2^63", "request_id", varint(-(1 << 63))),
    Datum("a length of 2^31", "request_id", varint(1 << 31)),
    Datum("a length of 2^32", "request_id", varint(1 << 32)),
    Datum("a length of 2^62", "request_id", varint(1 << 62)),
    Datum("a length of 2^63 - 1", "request_id", varint((1 << 63) - 1)),
    Datum("a length of one more than there is", "request_id", varint(4_000) + b"x" * 100),
    Datum("an overlong slash", "request_id", b"\x04\xc0\xaf"),
    Datum("an overlong NUL", "request_id", b"\x04\xc0\x80"),
    Datum("an overlong of three bytes", "request_id", b"\x06\xe0\x80\xaf"),
    Datum("a surrogate", "request_id", b"\x06\xed\xa0\x80"),
    Datum("a pair of surrogates", "request_id", b"\x0c\xed\xa0\x81\xed\xb0\x80"),
    Datum("beyond U+10FFFF", "request_id", b"\x08\xf4\x90\x80\x80"),
    Datum("five bytes of old UTF-8", "request_id", b"\x0a\xf8\x88\x80\x80\x80"),
    Datum("six bytes of old UTF-8", "request_id", b"\x0c\xfc\x84\x80\x80\x80\x80"),
    Datum("a lone continuation", "request_id", b"\x02\x80"),
    Datum("a sequence cut off", "request_id", b"\x04\xe2\x82"),
    Datum("bytes that are never UTF-8", "request_id", b"\x04\xff\xfe"),
    Datum("a union branch of -1", "purpose", varint(-1)),
    Datum("a union branch of 2", "purpose", varint(2)),
    Datum("a union branch of 2^40", "purpose", varint(1 << 40)),
    Datum("a union branch of -2^63", "purpose", varint(-(1 << 63))),
    Datum("a union branch, then nothing", "purpose", varint(1) + varint(1 << 40)),
    Datum("boolean 2", "flag", b"\x02"),
    Datum("boolean 255", "flag", b"\xff"),
    Datum("enum -1", "colour", varint(-1)),
    Datum("enum 2 of 2", "colour", varint(2)),
    Datum("enum 2^31 - 1", "colour", varint((1 << 31) - 1)),
    Datum("enum -2^31", "colour", varint(-(1 << 31))),
    Datum("a decimal of no bytes", "price", varint(0)),
    Datum("a decimal of a megabyte", "price", varint(1_000_000) + b"\x7f" * 1_000_000),
    Datum("a decimal of one digit too many", "price", b"\x06" + (10**6).to_bytes(3, "big")),
    Datum("a decimal of one digit too many, below zero", "price", b"\x06" + (-(10**6)).to_bytes(3, "big", signed=True)),
    Datum("a time of -1", "at", varint(-1)),
    Datum("a time of a whole day", "at", varint(86_400_000)),
    Datum("a year of 10000", "when", varint(253_402_300_800_000)),
    Datum("a year of 0", "when", varint(-62_135_596_800_001)),
    Datum("a time stamp of 2^63 - 1", "when", varint((1 << 63) - 1)),
    Datum("a time stamp of -2^63", "when", varint(-(1 << 63))),
    Datum("one byte left over", "when", PIECES["when"] + b"\x00"),
    Datum("a megabyte left over", "when", PIECES["when"] + bytes(1_000_000)),
    Datum("a second datum behind the first", "when", PIECES["when"] + value("second")[5:]),
    _cut("when", 0),
    _cut("amount", 0),
    _cut("amount", 7),
    Datum("the rest missing from the first field on", "request_id", b""),
]


def framed(bomb: Datum) -> bytes:
    """Return a request with the bomb in it; what is cut off ends there."""
    pieces = PIECES | {bomb.field: bomb.piece}
    names = list(pieces)
    if len(bomb.piece) < len(PIECES[bomb.field]) and PIECES[bomb.field].startswith(bomb.piece):
        names = names[: names.index(bomb.field) + 1]
    return FRAME + b"".join(pieces[name] for name in names)


def record(*fields: Any, **more: Any) -> dict[str, Any]:
    """Return a record with these fields."""
    return {"type": "record", "name": "R", "fields": list(fields), **more}


def field(kind: Any, name: str = "x", **more: Any) -> dict[str, Any]:
    """Return a field."""
    return {"name": name, "type": kind, **more}


def deep(levels: int) -> str:
    """Return a record in a record in a record, as text: `json` itself would not write it."""
    head = "".join(f'{{"type":"record","name":"R{level}","fields":[{{"name":"x","type":' for level in range(levels))
    return head + '"int"' + "}]}" * levels


SCHEMAS: dict[str, str] = {
    "not JSON": "{",
    "nothing": "",
    "a number": "1",
    "a null": "null",
    "a list": "[]",
    "a string": '"string"',
    "a byte-order mark": "\ufeff" + json.dumps(record(field("int"))),
    "a lone surrogate": '{"type":"record","name":"R","fields":[{"name":"\\ud800","type":"int"}]}',
    "NaN": '{"type":"record","name":"R","fields":[{"name":"x","type":"double","minimum":NaN}]}',
    "a number of a million digits": '{"type":"record","name":"R","x":' + "9" * 1_000_000 + ',"fields":[]}',
    "an exponent of 10^9": '{"type":"record","name":"R","fields":[{"name":"x","type":"double","minimum":1e999999999}]}',
    "a hundred thousand brackets": "[" * 100_000,
    "a hundred thousand braces": '{"a":' * 100_000,
    "5,000 records deep": deep(5_000),
    "1,000 records deep": deep(1_000),
    "100 records deep": deep(100),
    "a record in itself": json.dumps(record(field("R"))),
    "a record in itself, nullable": json.dumps(record(field(["null", "R"]))),
    "a record in itself, in an array": json.dumps(record(field({"type": "array", "items": "R"}))),
    "two records in each other": json.dumps(record(field({"type": "record", "name": "S", "fields": [field("R")]}))),
    "an array of nulls": json.dumps(record(field({"type": "array", "items": "null"}))),
    "an array of empty records": json.dumps(
        record(field({"type": "array", "items": {"type": "record", "name": "E", "fields": []}}))
    ),
    "a map of maps": json.dumps(record(field({"type": "map", "values": {"type": "map", "values": "int"}}))),
    "a vector of 2^40": json.dumps(record(field({"type": "array", "items": "double", "length": 1 << 40}))),
    "a fixed of 2^40": json.dumps(record(field({"type": "fixed", "name": "F", "size": 1 << 40}))),
    "a fixed of 0": json.dumps(record(field({"type": "fixed", "name": "F", "size": 0}))),
    "a fixed of -1": json.dumps(record(field({"type": "fixed", "name": "F", "size": -1}))),
    "a fixed of half a byte": json.dumps(record(field({"type": "fixed", "name": "F", "size": 0.5}))),
    "a fixed of true": json.dumps(record(field({"type": "fixed", "name": "F", "size": True}))),
    "a decimal of 10^9 digits": json.dumps(
        record(field({"type": "bytes", "logicalType": "decimal", "precision": 10**9, "scale": 2}))
    ),
    "a decimal of scale 10^9": json.dumps(
        record(field({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 10**9}))
    ),
    "a decimal of scale -1": json.dumps(
        record(field({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": -1}))
    ),
    "an enum of nothing": json.dumps(record(field({"type": "enum", "name": "E", "symbols": []}))),
    "an enum of one symbol twice": json.dumps(record(field({"type": "enum", "name": "E", "symbols": ["A", "A"]}))),
    "an enum of numbers": json.dumps(record(field({"type": "enum", "name": "E", "symbols": [1, 2]}))),
    "an enum of 100,000 symbols": json.dumps(
        record(field({"type": "enum", "name": "E", "symbols": [f"S{n}" for n in range(100_000)]}))
    ),
    "100,000 fields": json.dumps(record(*(field("int", f"f{n}") for n in range(100_000)))),
    "a field twice": json.dumps(record(field("int"), field("long"))),
    "a field that is a list": json.dumps(record([])),
    "fields that are a number": json.dumps({"type": "record", "name": "R", "fields": 7}),
    "a name of a megabyte": json.dumps({**record(field("int")), "name": "n" * 1_000_000}),
    "a name with a quote": json.dumps(record(field("int", "x'; DROP TABLE"))),
    "a name with a line break": json.dumps(record(field("int", "x\ny"))),
    "a namespace of dots": json.dumps({**record(field("int")), "namespace": "..."}),
    "a type that is not there": json.dumps(record(field("nowhere.Land"))),
    "a type of a type of a type": json.dumps(record(field({"type": {"type": {"type": "nothing"}}}))),
    "a union of nothing": json.dumps(record(field([]))),
    "a union of one": json.dumps(record(field(["int"]))),
    "a union of null and null": json.dumps(record(field(["null", "null"]))),
    "a union of thousands": json.dumps(record(field(["null"] + [{"type": "fixed", "name": f"F{n}", "size": 1} for n in range(5_000)]))),
    "a union in a union": json.dumps(record(field(["null", ["null", "int"]]))),
    "a uuid of 3 bytes": json.dumps(record(field({"type": "fixed", "name": "F", "size": 3, "logicalType": "uuid"}))),
}  # fmt: skip
"""All of these are refused, with a sentence."""

FRAMINGS: dict[str, bytes] = {
    "one byte": b"\0",
    "four bytes": b"\0\0\0\0",
    "the frame alone": FRAME,
    "another magic byte": b"\x01" + FRAME[1:],
    "Glue's magic byte": b"\x03\x00" + bytes(16),
    "JSON": b'{"request_id": "x"}',
    "a schema id of 2^32 - 1": b"\0\xff\xff\xff\xff" + value("far")[5:],
    "a schema id of 2^31": b"\0\x80\0\0\0" + value("far")[5:],
    "nothing": b"",
    "a megabyte of zeros": bytes(1_000_000),
    "a megabyte of 255": b"\xff" * 1_000_000,
}
