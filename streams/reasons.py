"""Every way a request can end without a new prediction: its name, its topic, its sentence.

Room: hall. The sentence is a template over `Detail` (`field`, `value`, `position`, `rule`) and says what the sender can do.
The numbers are internal to one process and are never written; names are written, and are never reused.
"""

from enum import IntEnum
from typing import Literal, NamedTuple

Where = Literal["outcomes", "dlq", "either"]
"""`either`: outcomes where the identity could be read, else the lane's dead-letter topic."""


class Reason(IntEnum):
    """Why a request got no new prediction. NONE: it may still get one."""

    NONE = 0
    TOMBSTONE = 1
    EMPTY = 2
    NOT_FRAMED = 3
    GLUE_FRAMED = 4
    UNKNOWN_SCHEMA = 5
    WRONG_SUBJECT = 6
    SCHEMA_REFUSED = 7
    MALFORMED = 8
    NOT_ACCEPTED = 9
    KEY_MISMATCH = 10
    MISPARTITIONED = 11
    NO_APPEND_TIME = 12
    OUT_OF_CONTRACT = 13
    UNSEEN_CATEGORY = 14
    MISSING_VALUE = 15
    SCORE_NOT_FINITE = 16
    UNPRODUCIBLE = 17
    DUPLICATE = 18
    CONFLICT = 19
    GAP = 20
    START = 21
    NOT_REPRESENTABLE = 22
    POISON_PILL = 23


class About(NamedTuple):
    """Where a reason's terminal record goes, and its sentence."""

    where: Where
    sentence: str


REASONS: dict[Reason, About] = {
    Reason.TOMBSTONE: About("dlq", "The record has no value. A request cannot be withdrawn by a tombstone."),
    Reason.EMPTY: About(
        "dlq", "The value is empty. Send the Confluent framing: 0x00, 4 bytes of schema id, the Avro datum."
    ),
    Reason.NOT_FRAMED: About(
        "dlq",
        "The value does not begin with the magic byte 0x00. Use a schema registry serializer with the id in the value's prefix.",
    ),
    Reason.GLUE_FRAMED: About(
        "dlq", "The value has AWS Glue framing (0x03), which is not supported. Use Confluent framing."
    ),
    Reason.UNKNOWN_SCHEMA: About(
        "dlq", "The registry does not know schema id {value}. Register the schema before producing."
    ),
    Reason.WRONG_SUBJECT: About("dlq", "Schema id {value} is not registered under this topic's subject {field}."),
    Reason.SCHEMA_REFUSED: About(
        "dlq", "The writer's schema cannot be read safely: {value}. `streams schemas check` says more."
    ),
    Reason.MALFORMED: About("dlq", "The datum is not valid at field {field}, byte {position}: {value}."),
    Reason.NOT_ACCEPTED: About(
        "either",
        "The model does not accept this contract ({value}). Send a version that it accepts, or register a model that accepts this one.",
    ),
    Reason.KEY_MISMATCH: About(
        "either", "The record's key is not the one that the contract makes of the request: {value}."
    ),
    Reason.MISPARTITIONED: About(
        "either",
        "The key belongs to partition {value}. Use the Java client's default partitioner; in librdkafka set partitioner=murmur2_random.",
    ),
    Reason.NO_APPEND_TIME: About(
        "either",
        "The record was appended with CreateTime. Set message.timestamp.type=LogAppendTime on the request topic and send it again.",
    ),
    Reason.OUT_OF_CONTRACT: About("outcomes", "Field {field} is {value}; the contract allows {rule}."),
    Reason.UNSEEN_CATEGORY: About("outcomes", "Field {field} is {value}, a category that the model never saw."),
    Reason.MISSING_VALUE: About("outcomes", "Field {field} is null, and the model does not answer without it."),
    Reason.NOT_REPRESENTABLE: About("outcomes", "Field {field} is {value}; the model's numbers reach from {rule}."),
    Reason.SCORE_NOT_FINITE: About("outcomes", "The model's answer was {value}, which is not a finite number."),
    Reason.UNPRODUCIBLE: About("outcomes", "The request is too large to be answered or set aside in full: {value}."),
    Reason.POISON_PILL: About(
        "outcomes",
        "Worker after worker died while it answered this request alone, so it was set aside. Whoever runs the application must look at its model.",
    ),
    Reason.DUPLICATE: About(
        "outcomes", "This request was answered before; the first answer stands and is repeated here."
    ),
    Reason.CONFLICT: About(
        "outcomes", "Another request with this id and other inputs was answered before. Use a new id for new inputs."
    ),
    Reason.GAP: About(
        "outcomes",
        "Retention deleted these offsets before they were read; there may have been requests, or markers of transactions alone.",
    ),
    Reason.START: About("outcomes", "Nothing is claimed about requests below this offset."),
}

SCORED = "SCORED"
"""The terminal kind of a record in `results`."""


def sentence(
    reason: Reason,
    *,
    field: str | None = None,
    value: str | None = None,
    position: int | None = None,
    rule: str | None = None,
) -> str:
    """Return the reason's sentence with its details filled in; a missing detail reads as `?`."""

    def known(what: object) -> object:
        return "?" if what is None else what

    return REASONS[reason].sentence.format(
        field=known(field), value=known(value), position=known(position), rule=known(rule)
    )
