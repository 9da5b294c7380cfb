"""JSON that somebody else wrote: read within limits, and written again in one canonical way.

Room: avro, pure. Schemas come from a registry that others write to, so nothing here may recurse without a bound,
accept what two parsers read differently (a key that is there twice), or grow without a limit.
"""

import json
import math
import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None

TEXT_MAX = 1 << 20
"""Characters of a schema's text."""
DEPTH_MAX = 24
"""How deep lists and objects may be nested; a flat record needs six."""
VALUES_MAX = 100_000
"""How many values a schema may hold in all, symbols and categories included."""


class SchemaRefused(ValueError):
    """A schema that will not be read; `str()` is one sentence that says where and why."""


def load(source: str | Mapping[str, Any]) -> Json:
    """Return the JSON values of a text, or a checked copy of values already read.

    Numbers are normalised: 1.0 and 1e0 are 1. Raises SchemaRefused for anything that is not JSON or is beyond the
    limits; never RecursionError, whatever the text is.
    """
    if not isinstance(source, str):
        return _copy(source, 0, [VALUES_MAX])
    if len(source) > TEXT_MAX:
        raise SchemaRefused(f"The schema has {len(source)} characters; at most {TEXT_MAX} are read.")
    try:
        values = json.loads(source, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise SchemaRefused(f"The schema is nested deeper than {DEPTH_MAX} levels.") from None
    except SchemaRefused:
        raise
    except ValueError as error:
        raise SchemaRefused(f"The schema is not JSON: {error}.") from None
    return _copy(values, 0, [VALUES_MAX])


def write(values: Json) -> bytes:
    """Return the values as JSON in UTF-8 with sorted keys and no spaces; equal values give equal bytes."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a key that is there twice: parsers disagree on which one counts."""
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise SchemaRefused(f"The schema has an object with the key {name[:80]!r} twice.")
        values[name] = value
    return values


def _no_constant(name: str) -> None:
    raise SchemaRefused(f"The schema holds {name}, which is not JSON.")


def _copy(value: object, depth: int, left: list[int]) -> Json:
    """Return a copy with numbers normalised; recursion is bounded by DEPTH_MAX, work by what is `left`."""
    left[0] -= 1
    if left[0] < 0:
        raise SchemaRefused(f"The schema holds more than {VALUES_MAX} values.")
    if depth > DEPTH_MAX:
        raise SchemaRefused(f"The schema is nested deeper than {DEPTH_MAX} levels.")
    match value:
        case None | bool():
            return value
        case str():
            return _text(value)
        case int() | float():
            return _number(value)
        case list() | tuple():
            return [_copy(item, depth + 1, left) for item in value]
        case Mapping():
            return {_text(key): _copy(item, depth + 1, left) for key, item in value.items()}
        case _:
            raise SchemaRefused(f"The schema holds a Python {type(value).__name__}, which is not JSON.")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise SchemaRefused(f"The schema has an object with the key {value!r:.80}, which is not a string.")
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise SchemaRefused("The schema holds half of a surrogate pair, which no text can hold.")
    return value


def _number(value: int | float) -> int | float:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise SchemaRefused(f"The schema holds the number {value}, which is beyond a double.")
        return int(value) if value.is_integer() else value
    if abs(value) > sys.float_info.max:
        raise SchemaRefused("The schema holds a number that is beyond a double.")
    return value
