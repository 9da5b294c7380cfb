"""What a new version of a schema changes that Avro's own compatibility rules let through.

Avro resolves by type alone: to its checkers `timestamp-millis` → `timestamp-micros` is no change at all, nor is another
scale of a decimal; every reader would take one for the other. Room: pure.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from streams.avro.json_values import VALUES_MAX, Json, SchemaRefused, load

FACETS = ("logicalType", "precision", "scale", "length")
"""Properties of a type that change what its bytes mean."""


_THERE = "presence"
"""Not a facet: that a field of this name is there."""


_KEY = "", "key"


class _Facet(NamedTuple):
    where: str
    name: str
    value: Json


def silent_changes(old: str | Mapping[str, Any], new: str | Mapping[str, Any]) -> list[str]:
    """Return a sentence for every change of meaning in a field that both records have; empty if there is none.

    Looked at: logical type, precision, scale and length of each type, the role and the unit of each field, and the record's `key`.
    Raises: SchemaRefused if one of them is not JSON within the limits.
    """
    before, after = load(old), load(new)
    were, are = _by_place(before), _by_place(after)
    if _KEY in were or _KEY in are:
        were.setdefault(_KEY, _key_without_one(before))
        are.setdefault(_KEY, _key_without_one(after))
    fields = {where for where, name in were if name == _THERE} & {where for where, name in are if name == _THERE}
    sentences = []
    for where, name in sorted(were.keys() | are.keys()):
        was, now = were.get((where, name)), are.get((where, name))
        if was != now and (not where or where.partition("[")[0] in fields):
            subject = f"Field {where}" if where else "The record"
            sentences.append(f"{subject} changes its {name} from {_shown(was)} to {_shown(now)}.")
    return sentences


def _key_without_one(tree: Json) -> Json:
    """Return the key of a record that does not name one: the request id."""
    fields = _fields(tree) if isinstance(tree, dict) else []
    return [field.get("name") for field in fields if field.get("role") == "request_id"] or None


def _by_place(tree: Json) -> dict[tuple[str, str], Json]:
    found: dict[tuple[str, str], Json] = {}
    for facet in _facets(tree):
        if len(found) > VALUES_MAX:  # a few lines can stand for millions of fields
            raise SchemaRefused(f"The schema stands for more than {VALUES_MAX} fields.")
        found[facet.where, facet.name] = facet.value
    return found


def _facets(tree: Json) -> Iterator[_Facet]:
    """Yield what each type of a record means; a type that is referred to by name means what its definition says."""
    if isinstance(tree, dict):
        if tree.get("key") is not None:
            yield _Facet("", "key", tree["key"])
        yield from _of_fields(tree, "", {}, frozenset())


def _of_fields(
    tree: dict[str, Json], prefix: str, names: dict[str, dict[str, Json]], within: frozenset[str]
) -> Iterator[_Facet]:
    """`within` are the records that are being walked: what an old version says may contain itself."""
    for field in _fields(tree):
        where = f"{prefix}{field.get('name')}"
        yield _Facet(where, _THERE, True)
        yield from (_Facet(where, name, field[name]) for name in ("role", "unit") if name in field)
        yield from _of_type(field.get("type"), where, names, within)


def _of_type(node: Json, where: str, names: dict[str, dict[str, Json]], within: frozenset[str]) -> Iterator[_Facet]:
    match node:
        case str() if node in names and node not in within:
            yield from _of_type({**names[node], "name": None}, where, names, within | {node})
        case list():
            for branch in node:
                yield from _of_type(branch, where, names, within)
        case dict():
            name = node.get("name")
            if isinstance(name, str):
                names[name] = node
                within = within | {name}
            given = {"scale": 0, **node} if node.get("logicalType") == "decimal" else node
            yield from (_Facet(where, facet, given[facet]) for facet in FACETS if facet in given)
            if "fields" in node:
                yield from _of_fields(node, f"{where}.", names, within)
            for inside in ("items", "values", "type"):
                if isinstance(node.get(inside), dict | list):
                    yield from _of_type(node[inside], f"{where}[]", names, within)


def _fields(tree: dict[str, Json]) -> list[dict[str, Json]]:
    fields = tree.get("fields")
    return [field for field in fields if isinstance(field, dict)] if isinstance(fields, list) else []


def _shown(value: Json) -> str:
    return "none" if value is None else str(value)
