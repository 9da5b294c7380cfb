"""How to read the values of a schema: by what the schema is, and by what the model accepts. Room: avro, pure."""

from streams.avro.id_cache import Remembered
from streams.avro.schema import SchemaRefused, extra_fields, parse
from streams.contracts import Contract, Reading, Unreadable
from streams.reasons import Reason


def judge(
    entry: Remembered, *, accepts: tuple[Contract, ...], drop_extra_fields: bool, nodes_max: int
) -> Reading | Unreadable:
    """Return how to read the values of a schema as the registry has it.

    Args:
        entry: the schema.
        accepts: the model's accepted contracts; anything else is read, and then NOT_ACCEPTED.
        drop_extra_fields: accept a writer that is field for field one of these plus new fields without a role.
        nodes_max: how many fields and types a schema may have.
    """
    if entry.kind != "AVRO":
        return Unreadable(Reason.SCHEMA_REFUSED, None, f"It is a {entry.kind} schema; only Avro is read.")
    if entry.references:
        return Unreadable(Reason.SCHEMA_REFUSED, None, "It refers to other schemas of the registry.")
    try:
        writer = parse(entry.text, nodes_max=nodes_max)
    except SchemaRefused as error:
        return Unreadable(Reason.SCHEMA_REFUSED, None, str(error))
    for accepted in accepts:
        if accepted.fingerprint == writer.fingerprint:
            return Reading(writer, accepted)
    if drop_extra_fields:
        fits = [(extra, accepted) for accepted in accepts if (extra := extra_fields(writer, accepted))]
        if fits:  # the one that keeps the most of what was sent
            extra, accepted = min(fits, key=lambda fit: len(fit[0]))
            return Reading(writer, accepted, extra)
    return Reading(writer, None)
