"""What a new version of a schema changes that Avro's own compatibility rules let through.

Avro resolves by type alone: to its checkers `timestamp-millis` → `timestamp-micros` is no change at all, nor is another
scale of a decimal; every reader would take one for the other. Room: pure.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from streams.avro.json_values import Json, load

FACETS = ("logicalType", "precision", "scale")
"""Properties of a type that change what its bytes mean."""


class _Facet(NamedTuple):
    where: str
    name: str
    value: Json


def silent_changes(old: str | Mapping[str, Any], new: str | Mapping[str, Any]) -> list[str]:
    """Return a sentence for every change of meaning in a field that both records have; empty if there is none.

    Looked at: logical type, precision and scale of each type, the role of each field, and the record's `key`.
    Raises: SchemaRefused if one of them is not JSON within the limits.
    """
    before, after = load(old), load(new)
    were, are = ({(facet.where, facet.name): facet.value for facet in _facets(tree)} for tree in (before, after))
    fields = _field_names(before) & _field_names(after)
    sentences = []
    for where, name in sorted(were.keys() | are.keys()):
        was, now = were.get((where, name)), are.get((where, name))
        if was != now and (not where or where.partition("[")[0] in fields):
            subject = f"Field {where}" if where else "The record"
            sentences.append(f"{subject} changes its {name} from {_shown(was)} to {_shown(now)}.")
    return sentences


def _facets(tree: Json) -> Iterator[_Facet]:
    """Yield what each type of a record means; a type that is referred to by name means what its definition says."""
    if not isinstance(tree, dict):
        return
    if "key" in tree:
        yield _Facet("", "key", tree["key"])
    names: dict[str, dict[str, Json]] = {}
    for field in _fields(tree):
        where = str(field.get("name"))
        if "role" in field:
            yield _Facet(where, "role", field["role"])
        yield from _of_type(field.get("type"), where, names)


def _of_type(node: Json, where: str, names: dict[str, dict[str, Json]]) -> Iterator[_Facet]:
    match node:
        case str() if node in names:
            yield from (_Facet(where, facet, names[node][facet]) for facet in FACETS if facet in names[node])
        case list():
            for branch in node:
                yield from _of_type(branch, where, names)
        case dict():
            if isinstance(node.get("name"), str):
                names[str(node["name"])] = node
            yield from (_Facet(where, facet, node[facet]) for facet in FACETS if facet in node)
            for inside in ("items", "values", "type"):
                if isinstance(node.get(inside), dict | list):
                    yield from _of_type(node[inside], f"{where}[]", names)


def _fields(tree: Json) -> list[dict[str, Json]]:
    fields = tree.get("fields") if isinstance(tree, dict) else None
    return [field for field in fields if isinstance(field, dict)] if isinstance(fields, list) else []


def _field_names(tree: Json) -> set[str]:
    return {str(field.get("name")) for field in _fields(tree)}


def _shown(value: Json) -> str:
    return "none" if value is None else str(value)
