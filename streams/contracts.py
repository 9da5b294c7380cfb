"""What a contract is, and what decoded columns look like: values that `avro/`, `models/` and the pipeline share.

A contract is an Avro record, flat or made of records that are never null as a whole: a field inside another is named by
its path, `customer.age`. Fields may carry these properties beside the Avro ones:

    role        request_id | tenant | event_time | deadline; request_id is required and is a string; a label contract may
                have two more: version (int or long; the higher is believed) and withdrawn (boolean: there is no truth)
    meta        true: the field (of a record: all in it) is not an input; a retry may change it
    unit        what a number is measured in; a new version must not change it without a word
    minimum, maximum     inclusive bounds of a number (of the logical value, for decimals)
    categories  the strings that are allowed
    finite      false: NaN and infinities are allowed (default: they are refused)

and the record itself may carry `key`: the list of field names, of request id and tenant, whose values, joined by `:`,
are the record's key (default: the request id alone). Fields with the roles event_time and deadline are not inputs either.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from streams.reasons import Reason
from streams.records import Bools, Bytes8, Floats, Ints

Kind = Literal["boolean", "int", "long", "float", "double", "string", "bytes", "fixed", "enum", "vector"]
"""`vector`: an array of floats or doubles whose type says `length`."""
Items = Literal["float", "double"]
Role = Literal["request_id", "tenant", "event_time", "deadline", "version", "withdrawn"]
LABELS_ONLY: tuple[Role, ...] = ("version", "withdrawn")
"""Roles that mean nothing in a request."""


class Rules(NamedTuple):
    """The value rules of one field."""

    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None
    finite: bool = True


class Field(NamedTuple):
    """One field that holds a value: not a record."""

    name: str
    """Dotted where it lies in a record of the record."""
    kind: Kind
    null_branch: int | None
    """Index of `null` in the two-branch union, or None where the field is not nullable."""
    logical: str | None
    precision: int
    scale: int
    size: int
    """Bytes of a `fixed`; numbers of a vector."""
    symbols: tuple[str, ...]
    role: Role | None
    meta: bool
    rules: Rules
    unit: str | None = None
    items: Items | None = None
    """What a vector is made of."""

    @property
    def is_input(self) -> bool:
        """Whether the field belongs to what is judged: the fingerprint covers it."""
        return not self.meta and self.role not in ("event_time", "deadline")


class Contract(NamedTuple):
    """A vetted schema: names resolved, roles and rules read."""

    name: str
    schema: Mapping[str, Any]
    """The parsed schema, as JSON values."""
    fingerprint: bytes
    """SHA-256 of everything but `doc`, canonically written: 32 bytes. It pins; subject, version and id are labels."""
    fields: tuple[Field, ...]
    key: tuple[str, ...]

    def field(self, name: str) -> Field | None:
        """Return the field of that name, or None."""
        return next((field for field in self.fields if field.name == name), None)

    def role(self, role: Role) -> Field | None:
        """Return the field that plays this role, or None."""
        return next((field for field in self.fields if field.role == role), None)


class Numbers(NamedTuple):
    """A column of boolean (0/1), int, long, float, double or enum (index into the symbols)."""

    values: Ints | Floats
    null: Bools | None


class Spans(NamedTuple):
    """A column of string, bytes or fixed: where each value lies in the buffer. Decimals are big-endian two's complement."""

    start: Ints
    length: Ints
    null: Bools | None


class Vectors(NamedTuple):
    """A column of vectors: shape (rows, numbers)."""

    values: Floats
    null: Bools | None


Column: TypeAlias = Numbers | Spans | Vectors


class Decoded(NamedTuple):
    """The records of one writer schema, in columns. Rows with `bad` set hold no values worth reading."""

    contract: Contract
    buffer: Bytes8
    """All datums joined, with padding behind the last; positions below index into it."""
    data: bytes
    """The same buffer as bytes, for slicing."""
    start: Ints
    end: Ints
    columns: Mapping[str, Column]
    edges: Ints
    """Shape (fields + 1, rows): where each field begins; the last row is where the datum ended."""
    minimal: Bools
    """Every varint of the row was as short as it can be, so its bytes are canonical."""
    bad: Bools
    bad_field: Ints
    """Index of the field at which a bad row failed."""
    bad_at: Ints
    """Byte position within the datum at which a bad row failed."""
    bad_why: Ints
    """Index into `decode.WHY`, short words for the sentence."""


class Reading(NamedTuple):
    """How to read a (topic, schema id): the writer's contract, and the accepted contract that it is judged by.

    `accepted` is None where the model does not accept the writer's contract.
    `extra` names the writer's fields that are dropped (`extra_fields = "drop"`).
    """

    writer: Contract
    accepted: Contract | None
    extra: tuple[str, ...] = ()


class Unreadable(NamedTuple):
    """A (topic, schema id) that will not be read, and why: UNKNOWN_SCHEMA, WRONG_SUBJECT or SCHEMA_REFUSED."""

    reason: Reason
    field: str | None = None
    value: str | None = None


Pair: TypeAlias = tuple[str, int]
"""A topic and a schema id that was met in it."""
Snapshot: TypeAlias = Mapping[Pair, Reading | Unreadable]
"""What is known of each (topic, schema id). A pair that is missing is not known *yet*: its rows are held."""
