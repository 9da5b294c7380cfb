"""`streams config show`: what is in force, where each value was given, and the names that follow; secrets masked. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from streams.config import CLIENTS, LISTS, Effective, Settings
from streams.layers import FILE, Given
from streams.masking import MASK, masked


class Shown(NamedTuple):
    """One value as it may be shown, and where it was given: `default`, `file`, `env NAME`, `flag -X`, `file PATH`."""

    value: Any
    source: str


Tables = dict[str, list[dict[str, Shown]]]
"""Section to its tables: one, or each of a list's."""


def shown(effective: Effective) -> Tables:
    """Return every setting, defaults included, in the order of the sections."""
    tables: Tables = {}
    for section, whole in effective.settings.model_dump(mode="json").items():
        if section in LISTS:
            lanes = zip(whole, getattr(effective.settings, section), strict=True)
            tables[section] = [_table(one, _of_file(lane.model_fields_set)) for one, lane in lanes]
        elif whole is not None:
            tables[section] = [_table(whole, effective.given.get(section, {}))]
    return tables


def derived(settings: Settings) -> dict[str, str]:
    """Return the names that follow from the settings: the group, and the topics that are not in them."""
    lanes = {f"dlq of {lane.topic}": settings.dlq(lane.topic) for lane in settings.requests}
    monitor = {}
    if settings.labels is not None:
        monitor = {
            f"dlq of {settings.labels.topic}": settings.dlq(settings.labels.topic),
            "what models saw": settings.features,
            "windows": settings.parts,
            "tickets": settings.tickets,
            "monitor's changelog": settings.monitor_changelog,
            "monitor's group": settings.monitor_group,
        }
        if settings.labels.rekey:
            monitor |= {
                "keyed labels": settings.labels_keyed,
                "dlq of keyed labels": settings.dlq(settings.labels_keyed),
                "changelog of keyed labels": settings.rekey_changelog,
                "group that keys labels": settings.rekey_group,
            }
    subjects = {f"subject of {lane.topic}": lane.lane_subject for lane in settings.requests}
    return {
        "results": settings.results,
        "outcomes": settings.outcomes,
        "changelog": settings.changelog,
        **lanes,
        **subjects,
        "group": settings.group,
        **monitor,
        "transactional ids": f"{settings.group}.<slot>",
    }


def as_toml(effective: Effective) -> Iterator[str]:
    """Yield the lines of a TOML file with the same settings, but for the masks; a comment says where each was given."""
    for section, tables in shown(effective).items():
        for table in tables:
            yield f"[[{section}]]" if section in LISTS else f"[{section}]"
            for key, (value, source) in table.items():
                name = _text(key) if section in CLIENTS else key
                line = f"# {name} =" if value is None else f"{name} = {_text(value)}"
                yield f"{line:<60} # {source}"
            yield ""
    yield "# what follows from these"
    yield from (f"# {name}: {value}" for name, value in derived(effective.settings).items())


def as_json(effective: Effective) -> dict[str, Any]:
    """Return the same for programs: {"settings": {section: {key: {"value", "source"}}}, "derived": {name: value}}."""
    settings = {
        section: found if section in LISTS else found[0]
        for section, tables in shown(effective).items()
        for found in ([{key: one._asdict() for key, one in table.items()} for table in tables],)
    }
    return {"settings": settings, "derived": derived(effective.settings)}


def _table(values: Mapping[str, Any], given: Mapping[str, Given]) -> dict[str, Shown]:
    default = Given(None, "default")
    sources = {key: given.get(key, default) for key in values}
    return {
        key: Shown(MASK if sources[key].secret else masked(key, value), sources[key].source)
        for key, value in values.items()
    }


def _of_file(keys: set[str]) -> dict[str, Given]:
    return {key: Given(None, FILE) for key in keys}


def _text(value: Any) -> str:
    """Return a scalar as TOML writes it: as JSON does, but for one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
