"""What a datum means, one record and one byte at a time: the specification that the columnar decoder is held to.

Written to be read, not to be fast, and without a line of the code that it judges; of `streams` it only takes what a
contract is. Avro 1.12, "Binary Encoding" and "Logical Types", and in addition: the whole datum is consumed, every index
is one that the schema has, every length is inside the datum, every logical value is in range.
"""

import re
import struct
from typing import NamedTuple, TypeAlias

from streams.contracts import Contract, Field

UUID = re.compile(rb"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
DAYS = (-719_162, 2_932_896)  # 0001-01-01, 9999-12-31
DAY_MS = 24 * 60 * 60 * 1000
INSTANT_MS = (DAYS[0] * DAY_MS, (DAYS[1] + 1) * DAY_MS - 1)


class Real(NamedTuple):
    """A float or double: its value, and its bits as they came."""

    value: float
    bits: bytes


class RealVector(NamedTuple):
    """The numbers of a vector."""

    numbers: tuple[Real, ...]


Value: TypeAlias = int | Real | bytes | RealVector | None


class Malformed(Exception):
    """The datum is not valid: the byte, why, and the field's index (the number of fields for what is left over)."""

    def __init__(self, position: int, why: str, field: int = -1) -> None:
        super().__init__(position, why, field)
        self.position, self.why, self.field = position, why, field


class Reading(NamedTuple):
    """The values of a datum, where each field begins and the last one ends, and whether it is canonical as it is."""

    values: list[Value]
    edges: list[int]
    minimal: bool


def read(contract: Contract, datum: bytes) -> Reading:
    """Return what the datum holds. Raises Malformed."""
    cursor = _Cursor(datum)
    values: list[Value] = []
    edges = [0]
    for index, field in enumerate(contract.fields):
        try:
            values.append(_field(cursor, field))
        except Malformed as malformed:
            malformed.field = index
            raise
        edges.append(cursor.at)
    if cursor.at < len(datum):
        raise Malformed(cursor.at, "bytes are left over", len(contract.fields))
    return Reading(values, edges, cursor.minimal)


def write(field: Field, value: Value) -> bytes:
    """Return the one canonical encoding of a value."""
    if field.null_branch is None:
        return _write(field, value)
    if value is None:
        return varint(field.null_branch)
    return varint(1 - field.null_branch) + _write(field, value)


def varint(number: int) -> bytes:
    """Return the shortest zigzag varint of a number."""
    code = 2 * number if number >= 0 else -2 * number - 1
    written: list[int] = []
    while True:
        code, seven = divmod(code, 128)
        if not code:
            return bytes([*written, seven])
        written.append(seven + 128)


class _Cursor:
    def __init__(self, datum: bytes) -> None:
        self.datum = datum
        self.at = 0
        self.minimal = True

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.datum):
            raise Malformed(self.at, "the datum ends inside the value")
        self.at += size
        return self.datum[self.at - size : self.at]

    def varint(self, bits: int) -> int:
        """Read a zigzag varint of at most ceil(bits / 7) bytes."""
        begin, code = self.at, 0
        for shift in range(0, bits, 7):
            if self.at == len(self.datum):
                raise Malformed(begin, "the datum ends inside the value")
            byte = self.datum[self.at]
            self.at += 1
            code += (byte & 0x7F) << shift
            if byte < 0x80:
                if code >= 1 << bits:
                    raise Malformed(begin, "the number is beyond its bits")
                if byte == 0 and shift > 0:
                    self.minimal = False
                return -(code + 1) // 2 if code % 2 else code // 2
        raise Malformed(begin, "the varint does not end where it must")


def _field(cursor: _Cursor, field: Field) -> Value:
    if field.null_branch is not None:
        begin = cursor.at
        branch = cursor.varint(32)
        if branch not in (0, 1):
            raise Malformed(begin, "the union index is neither 0 nor 1")
        if branch == field.null_branch:
            return None
    return _value(cursor, field)


def _value(cursor: _Cursor, field: Field) -> Value:
    begin = cursor.at
    match field.kind:
        case "boolean":
            byte = cursor.take(1)[0]
            if byte > 1:
                raise Malformed(begin, "the boolean is neither 0 nor 1")
            return byte
        case "int" | "long":
            return _in_range(field, cursor.varint(32 if field.kind == "int" else 64), begin)
        case "enum":
            index = cursor.varint(32)
            if not 0 <= index < len(field.symbols):
                raise Malformed(begin, "the enum index is out of range")
            return index
        case "float":
            bits = cursor.take(4)
            return Real(struct.unpack("<f", bits)[0], bits)
        case "double":
            bits = cursor.take(8)
            return Real(struct.unpack("<d", bits)[0], bits)
        case "vector":
            return _vector(cursor, field)
        case "fixed":
            return _decimal(cursor, field, cursor.take(field.size), begin)
        case "bytes":
            value = _counted(cursor)
            return _decimal(cursor, field, value, cursor.at - len(value))
        case "string":
            value = _counted(cursor)
            return _text(field, value, cursor.at - len(value))


def _vector(cursor: _Cursor, field: Field) -> RealVector:
    """Read an array of as many numbers as the contract says, in at most 16 blocks."""
    begin, numbers = cursor.at, list[Real]()
    size, form = (4, "<f") if field.items == "float" else (8, "<d")
    for block in range(17):
        at = cursor.at
        count = cursor.varint(64)
        if count < 0:
            count, cursor.minimal = -count, False
            if cursor.varint(64) != count * size:
                raise Malformed(at, "the array's block has not the size that it says")
        if len(numbers) + count > field.size:
            raise Malformed(at, "the array has not as many numbers as its length says")
        if count == 0:
            break
        if cursor.at + count * size > len(cursor.datum):
            raise Malformed(cursor.at, "the datum ends inside the value")
        if block == 16:
            raise Malformed(at, "the array is in too many blocks")
        cursor.minimal = cursor.minimal and block == 0
        numbers += [Real(struct.unpack(form, bits)[0], bits) for bits in (cursor.take(size) for _ in range(count))]
    if len(numbers) != field.size:
        raise Malformed(begin, "the array has not as many numbers as its length says")
    return RealVector(tuple(numbers))


def _counted(cursor: _Cursor) -> bytes:
    begin = cursor.at
    length = cursor.varint(64)
    if length < 0:
        raise Malformed(begin, "the length is negative")
    if length > len(cursor.datum) - cursor.at:
        raise Malformed(begin, "the length reaches beyond the datum")
    return cursor.take(length)


def _text(field: Field, value: bytes, begin: int) -> bytes:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(begin + error.start, "the text is not valid UTF-8") from None
    if field.logical == "uuid" and not UUID.fullmatch(value):
        raise Malformed(begin, "the text is not a UUID")
    return value


def _in_range(field: Field, number: int, begin: int) -> int:
    match field.logical:
        case None:
            return number
        case "date":
            least, largest = DAYS
        case "time-millis":
            least, largest = 0, DAY_MS - 1
        case "time-micros":
            least, largest = 0, DAY_MS * 1000 - 1
        case "timestamp-millis" | "local-timestamp-millis":
            least, largest = INSTANT_MS
        case "timestamp-micros" | "local-timestamp-micros":
            least, largest = INSTANT_MS[0] * 1000, INSTANT_MS[1] * 1000 + 999
        case other:
            raise AssertionError(f"{other} on a number")
    if not least <= number <= largest:
        raise Malformed(begin, "the date or time is out of range")
    return number


def _decimal(cursor: _Cursor, field: Field, value: bytes, begin: int) -> bytes:
    if field.logical != "decimal":
        return value
    if not value:
        raise Malformed(begin, "the decimal has no bytes")
    unscaled = int.from_bytes(value, "big", signed=True)
    if abs(unscaled) >= 10**field.precision:
        raise Malformed(begin, "the decimal has more digits than its precision")
    if field.kind == "bytes" and value != shortest(unscaled):
        cursor.minimal = False
    return value


def shortest(number: int) -> bytes:
    """Return a number's shortest big-endian two's complement."""
    for size in range(1, 100):
        if -(1 << 8 * size - 1) <= number < 1 << 8 * size - 1:
            return number.to_bytes(size, "big", signed=True)
    raise AssertionError("no decimal has as many digits")


def _write(field: Field, value: Value) -> bytes:
    match value:
        case Real():
            return value.bits
        case RealVector(numbers):
            return varint(len(numbers)) + b"".join(number.bits for number in numbers) + b"\0"
        case bytes():
            if field.kind == "fixed":
                return value
            if field.logical == "decimal":
                value = shortest(int.from_bytes(value, "big", signed=True))
            return varint(len(value)) + value
        case int():
            return bytes([value]) if field.kind == "boolean" else varint(value)
        case None:
            raise AssertionError("null is a branch, not a value")
