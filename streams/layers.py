"""The layers of a configuration: defaults < file < environment < flags. Pure.

A layer is, for each section, what it gives: key to value and where that was given. A client's keys are dotted; one that
ends in `_file` or `_env` names the file, or the variable, that the value is to be read from.
"""

import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple

from streams.errors import ConfigError
from streams.masking import has_credentials, is_secret

PREFIX = "STREAMS__"
"""Two underscores: an orchestrator sets `STREAMS_PORT` and the like for a service that is called `streams`."""
FILE = "file"
Place = Literal["file", "env"]


class Elsewhere(NamedTuple):
    """A value that is to be read from a file or a variable."""

    kind: Place
    where: str


class Given(NamedTuple):
    """A value and where it was given: `file`, `env NAME` or `flag -X`. One that was read from elsewhere is secret."""

    value: Any
    source: str
    secret: bool = False

    def __repr__(self) -> str:
        return f"<by {self.source}>"


Layer = dict[str, dict[str, Given]]
"""Section to key to what was given."""


def of_file(tree: Mapping[str, Any], clients: Collection[str]) -> Layer:
    """Return the layer of a file's tables; what is no table is left out."""
    tables = {section: table for section, table in tree.items() if isinstance(table, dict)}
    flat = {section: flatten(table) if section in clients else table for section, table in tables.items()}
    layer = {section: {key: Given(value, FILE) for key, value in table.items()} for section, table in flat.items()}
    return _with_references(layer, clients)


def of_environment(environment: Mapping[str, str], clients: Collection[str]) -> Layer:
    """Return the layer of the variables `STREAMS__SECTION__KEY`, in any case; in a client's key `__` is a dot.

    Raises: ConfigError for a variable that names no key, and for two that name the same.
    """
    layer: Layer = {}
    for variable, text in sorted(environment.items()):
        if not variable.upper().startswith(PREFIX):
            continue
        section, *parts = variable[len(PREFIX) :].lower().split("__")
        if not section or not parts or not all(parts):
            raise ConfigError(f"{variable} names no key: it should be {PREFIX}SECTION__KEY, as {PREFIX}BATCH__RECORDS")
        key = ".".join(parts)
        _give(layer, section, key, _meant(section, key, text, clients), f"env {variable}")
    return _with_references(layer, clients)


def of_flags(flags: Sequence[str], clients: Collection[str]) -> Layer:
    """Return the layer of the flags `section.key=value`; of two that name the same key the last one counts.

    Raises: ConfigError for what is no such flag, and for a secret: whoever lists processes would see it.
    """
    layer: Layer = {}
    for flag in flags:
        at, equals, text = flag.partition("=")
        section, dot, key = at.strip().partition(".")
        if not equals or not dot or not section or not key:
            raise ConfigError("A flag -X should be SECTION.KEY=VALUE, for example -X batch.records=500")
        if _named(key)[1] is None and is_secret(key, text):
            raise ConfigError(
                f"-X {section}.{key}: a secret on the command line is seen by all who list processes. "
                f"Give it as {_variable(section, key)}, or the file that holds it as {_variable(section, key)}_FILE"
            )
        if has_credentials(text):
            raise ConfigError(
                f"-X {section}.{key}: an address with credentials on the command line is seen by all who list processes. "
                f"Give it as {_variable(section, key)}"
            )
        layer.get(section, {}).pop(key, None)
        quoted = _quoted(text.strip())
        _give(layer, section, key, _meant(section, key, text, clients) if quoted is None else quoted, "flag -X")
    return _with_references(layer, clients)


def merged(layers: Iterable[Layer]) -> Layer:
    """Return the layers as one: each overrides those before it, key by key."""
    result: Layer = {}
    for layer in layers:
        for section, table in layer.items():
            result.setdefault(section, {}).update(table)
    return result


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return dotted keys: TOML reads an unquoted `a.b = 1` as a table, and both spellings should work."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _give(layer: Layer, section: str, key: str, value: object, source: str) -> None:
    table = layer.setdefault(section, {})
    if key in table:
        raise ConfigError(f"[{section}] {key} is given twice: by {table[key].source} and {source}")
    table[key] = Given(value, source)


def _with_references(layer: Layer, clients: Collection[str]) -> Layer:
    """Return the layer with `key_file` and `key_env` under the key that they stand for."""
    for section in [name for name in clients if name in layer]:
        table: dict[str, Given] = {}
        for key, given in layer[section].items():
            name, kind = _named(key)
            if name in table:
                raise ConfigError(
                    f"[{section}] {name} is given twice: by {table[name].source} and {given.source}, as itself, as "
                    f"{name}_file or as {name}_env. Leave one"
                )
            value = given.value if kind is None else Elsewhere(kind, str(given.value))
            table[name] = given._replace(value=value, secret=kind is not None)
        layer[section] = table
    return layer


def _named(key: str) -> tuple[str, Place | None]:
    """Return which key is meant, and where its value is to be read from; None: it is the value itself."""
    if key.endswith("_file"):
        return key.removesuffix("_file"), "file"
    return (key.removesuffix("_env"), "env") if key.endswith("_env") else (key, None)


def _meant(section: str, key: str, text: str, clients: Collection[str]) -> str | int | float | bool:
    """Return what a text means as a client's value: a number only if it would be printed alike, unlike `007` or `1_000`.

    Elsewhere it stays a text: the field's own type decides.
    """
    if section not in clients or is_secret(key, text):
        return text
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with suppress(ValueError):
            if text[-1:].isdigit() and str(kind(text)) == text:
                return kind(text)
    return text


def _quoted(text: str) -> str | None:
    """Return the text inside TOML's quotes, or None if it is in none."""
    if text[:1] not in ('"', "'"):
        return None
    with suppress(tomllib.TOMLDecodeError):
        value = tomllib.loads(f"v = {text}")["v"]
        return value if isinstance(value, str) else None
    return None


def _variable(section: str, key: str) -> str:
    return f"{PREFIX}{section}__{key.replace('.', '__')}".upper()
