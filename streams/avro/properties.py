"""What a contract says beyond Avro: roles, `meta`, value rules, the key; read, and checked for sense.

Room: avro, pure. Properties are read from writers' schemas too, so a property of ours with a senseless value refuses
the schema: guessing what `"minimum": "zero"` meant would let values through that somebody wanted stopped.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, cast, get_args

from streams.avro.json_values import Json, SchemaRefused
from streams.contracts import LABELS_ONLY, Contract, Field, Kind, Role, Rules

MEASURED: frozenset[Kind] = frozenset({"int", "long", "float", "double", "vector"})
"""Kinds that may have bounds and a unit."""
OURS = frozenset({"role", "meta", "minimum", "maximum", "categories", "finite", "unit"})
UNIT_MAX = 64
"""Letters of a unit."""
AVROS = frozenset({"name", "type", "doc", "default", "aliases", "order"})
INSTANTS = (None, "timestamp-millis", "timestamp-micros")
"""Logical types of a `long` that plays event_time or deadline; a plain long is taken as milliseconds."""


def read_properties(
    raw: dict[str, Json], kind: Kind, logical: str | None, symbols: tuple[str, ...], nullable: bool, where: str
) -> tuple[Role | None, bool, Rules, str | None]:
    """Return a field's role, whether it is `meta`, its value rules, and its unit. Raises SchemaRefused."""
    meta = read_meta(raw, where)
    role = _role(raw, kind, logical, nullable, where)
    rules = Rules(
        minimum=_bound(raw, "minimum", kind, logical, where),
        maximum=_bound(raw, "maximum", kind, logical, where),
        categories=_categories(raw, kind, logical, symbols, where),
        finite=_finite(raw, kind, where),
    )
    if rules.minimum is not None and rules.maximum is not None and rules.minimum > rules.maximum:
        raise SchemaRefused(f"{where} has a minimum above its maximum.")
    return role, meta, rules, _unit(raw, kind, logical, where)


def read_meta(raw: dict[str, Json], where: str) -> bool:
    """Return whether a field is `meta`. Raises SchemaRefused."""
    meta = raw.get("meta", False)
    if not isinstance(meta, bool):
        raise SchemaRefused(f"{where} has meta {meta!r:.40}, which is neither true nor false.")
    return meta


def read_key(raw: Json, fields: Sequence[Field]) -> tuple[str, ...]:
    """Return the names of the fields that make the record's key; by default the request id's.

    Where there is an identity the key must be made of nothing else, or one request under two keys would lie in two
    partitions, whose states do not know each other. Raises SchemaRefused.
    """
    if raw is None:
        return tuple(field.name for field in fields if field.role == "request_id")
    if not isinstance(raw, list) or not raw:
        raise SchemaRefused("The record's key is not a list of field names.")
    usable = {field.name: field.kind in ("string", "int", "long") and field.null_branch is None for field in fields}
    for name in raw:
        if not isinstance(name, str) or name not in usable:
            raise SchemaRefused(f"The record's key names {name!r:.80}, which is not a field.")
        if not usable[name]:
            raise SchemaRefused(
                f"The record's key names {name}; a key is made of strings and whole numbers that are never null."
            )
    roles = {field.name: field.role for field in fields}
    strangers = [name for name in raw if roles[cast(str, name)] not in ("request_id", "tenant")]
    if strangers and "request_id" in roles.values():
        raise SchemaRefused(
            f"The record's key names {strangers[0]}; it must be made of request id and tenant alone, or two requests with "
            "one id could lie in two partitions and both be answered."
        )
    return tuple(cast(list[str], raw))


def check_contract(contract: Contract, *, labels: bool = False) -> list[str]:
    """Return what a contract of requests, or of labels, lacks, one sentence each; an empty list means that it can be read.

    Stricter than `parse`, which also reads what other teams wrote: this is for our own contracts, before they are
    registered. It does not ask the registry about compatibility.
    """
    found = []
    if contract.role("request_id") is None:
        found.append("No field has the role request_id; without it no request can be told from its retry.")
    if not contract.schema.get("doc"):
        found.append("The record has no doc.")
    by_name = {field.name: field for field in contract.fields}
    every = [*_raw_fields(contract.schema["fields"], contract.name.rpartition(".")[0])]
    records = {_full_name(raw["type"], within): raw["type"] for _, raw, within in every if _is_record(raw["type"])}
    for name, raw, within in every:
        if not raw.get("doc"):
            found.append(f"Field {name} has no doc.")
        found += [
            f"Field {name} has the property {given!r}, which means nothing here; did you mean {close[0]!r}?"
            for given in sorted(set(raw) - OURS - AVROS)
            if (close := get_close_matches(given, OURS, 1, 0.75))
        ]
        field = by_name.get(name)
        if field is None:  # a record: what is said of its fields is said of it
            if "default" in raw and not _record_fits(
                raw["default"], name, _full_name(raw["type"], within), by_name, records
            ):
                found.append(f"Field {name} has a default that is no such record: each of its fields, with its value.")
            continue
        if field.role in LABELS_ONLY and not labels:
            found.append(f"Field {name} is the {field.role}, which means something in labels only.")
        if field.meta and field.role in ("request_id", "tenant"):
            found.append(f"Field {name} is meta and the {field.role}; a retry must not change it.")
        if "default" in raw and not _fits(raw["default"], field):
            found.append(f"Field {name} has a default that its type (of a union: its first branch) cannot hold.")
    return found


def _raw_fields(
    fields: Sequence[dict[str, Any]], within: str, prefix: str = ""
) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield every field of a vetted record where it is defined, and those of its records, with their dotted names and the
    namespace that they lie in.
    """
    for raw in fields:
        name, kind = f"{prefix}{raw['name']}", raw["type"]
        yield name, raw, within
        if _is_record(kind):
            yield from _raw_fields(kind["fields"], _full_name(kind, within).rpartition(".")[0], f"{name}.")


def _is_record(kind: Any) -> bool:
    return isinstance(kind, dict) and kind.get("type") == "record"


def qualified(name: str, namespace: str) -> str:
    """Return the full name that a name has, or refers to, in a namespace."""
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _full_name(kind: str | dict[str, Any], within: str) -> str:
    """Return the full name of a record that is defined, or named, within a namespace."""
    return qualified(kind, within) if isinstance(kind, str) else qualified(kind["name"], kind.get("namespace", within))


def _record_fits(
    default: Json, name: str, record: str, by_name: Mapping[str, Field], records: Mapping[str, dict[str, Any]]
) -> bool:
    """Return whether a default gives each field of a record a value; what is left out must have a default of its own."""
    if not isinstance(default, dict):
        return False
    within = record.rpartition(".")[0]
    for raw in records[record]["fields"]:
        where = f"{name}.{raw['name']}"
        if raw["name"] not in default:
            if "default" not in raw:
                return False
        elif where in by_name:
            if not _fits(default[raw["name"]], by_name[where]):
                return False
        elif not _record_fits(default[raw["name"]], where, _full_name(raw["type"], within), by_name, records):
            return False
    return True


def _role(raw: dict[str, Json], kind: Kind, logical: str | None, nullable: bool, where: str) -> Role | None:
    role = raw.get("role")
    if role is None:
        return None
    if role not in get_args(Role):
        raise SchemaRefused(f"{where} has the role {role!r:.40}; roles are {', '.join(get_args(Role))}.")
    if role in ("request_id", "tenant"):
        if kind != "string":
            raise SchemaRefused(f"{where} is the {role}, which is a string.")
        if role == "request_id" and nullable:
            raise SchemaRefused(f"{where} is the request_id, which cannot be null.")
    elif role == "withdrawn":
        if kind != "boolean":
            raise SchemaRefused(f"{where} is the withdrawn, which is a boolean.")
    elif role == "version":
        if kind not in ("int", "long") or logical is not None:
            raise SchemaRefused(f"{where} is the version, which is an int or a long.")
    elif kind != "long" or logical not in INSTANTS:
        raise SchemaRefused(f"{where} is the {role}, which is a long of timestamp-millis or timestamp-micros.")
    return cast(Role, role)


def _bound(raw: dict[str, Json], name: str, kind: Kind, logical: str | None, where: str) -> float | None:
    if name not in raw:
        return None
    if kind not in MEASURED and logical != "decimal":
        raise SchemaRefused(f"{where} has a {name}, but is not a number.")
    bound = raw[name]
    if isinstance(bound, bool) or not isinstance(bound, int | float):
        raise SchemaRefused(f"{where} has the {name} {bound!r:.40}, which is not a number.")
    return bound


def _categories(
    raw: dict[str, Json], kind: Kind, logical: str | None, symbols: tuple[str, ...], where: str
) -> tuple[str, ...] | None:
    if "categories" not in raw:
        return None
    listed = raw["categories"]
    if kind not in ("string", "enum") or logical is not None:
        raise SchemaRefused(f"{where} has categories, but is neither a plain string nor an enum.")
    if not isinstance(listed, list) or not listed or not all(isinstance(category, str) for category in listed):
        raise SchemaRefused(f"{where} has categories that are not a list of strings.")
    categories = tuple(cast(list[str], listed))
    if len(set(categories)) != len(categories):
        raise SchemaRefused(f"{where} has a category twice.")
    if kind == "enum" and not set(categories) <= set(symbols):
        raise SchemaRefused(f"{where} has a category that is not one of the enum's symbols.")
    return categories


def _finite(raw: dict[str, Json], kind: Kind, where: str) -> bool:
    finite = raw.get("finite", True)
    if not isinstance(finite, bool):
        raise SchemaRefused(f"{where} has finite {finite!r:.40}, which is neither true nor false.")
    if "finite" in raw and kind not in ("float", "double", "vector"):
        raise SchemaRefused(f"{where} has finite, but is neither a float nor a double, nor an array of them.")
    return finite


def _unit(raw: dict[str, Json], kind: Kind, logical: str | None, where: str) -> str | None:
    unit = raw.get("unit")
    if unit is None:
        return None
    if not isinstance(unit, str) or not 1 <= len(unit) <= UNIT_MAX:
        raise SchemaRefused(f"{where} has the unit {unit!r:.80}; a unit is a text of 1 to {UNIT_MAX} letters.")
    if kind not in MEASURED and logical != "decimal":
        raise SchemaRefused(f"{where} has a unit, but is not a number.")
    return unit


def _fits(default: Json, field: Field) -> bool:
    """Whether a default is what Avro allows for the field: a value of its type, of a union's first branch."""
    if field.null_branch == 0:
        return default is None
    match field.kind:
        case "boolean":
            return isinstance(default, bool)
        case "int" | "long":
            bits = 31 if field.kind == "int" else 63
            return isinstance(default, int) and not isinstance(default, bool) and -(2**bits) <= default < 2**bits
        case "float" | "double":
            return isinstance(default, int | float) and not isinstance(default, bool)
        case "vector":
            return (
                isinstance(default, list)
                and len(default) == field.size
                and all(isinstance(x, int | float) for x in default)
            )
        case "enum":
            return default in field.symbols
        case "fixed":
            return isinstance(default, str) and len(default) == field.size and max(default) <= "\xff"
        case "bytes":
            return isinstance(default, str) and all(letter <= "\xff" for letter in default)
        case "string":
            return isinstance(default, str)
