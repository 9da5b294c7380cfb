"""What the plain clients are given: `[kafka]` and `[schema_registry]` of $app.toml, as answeronce itself reads them.

A key may be written with quotes or without; `key_file` and `key_env` name the file, or the variable, that holds the value;
and the environment goes over the file: `STREAMS__KAFKA__SASL__PASSWORD`, `STREAMS__SCHEMA_REGISTRY__URL_FILE`.
"""

import os
import tomllib
from pathlib import Path

HERE = Path(__file__).parent


def settings(section):
    """Return the keys and values of a section."""
    table = tomllib.loads((HERE / "$app.toml").read_text("utf-8")).get(section, {})
    over = {}
    for name, value in os.environ.items():
        if name.upper().startswith(f"STREAMS__{section}__".upper()):
            key = name.lower().removeprefix(f"streams__{section}__")
            over[key.replace("__", ".")] = value
    return {key: read(*place) for key, place in (places(flat(table)) | places(over)).items()}


def flat(table, prefix=""):
    """Return dotted keys: to TOML an unquoted `sasl.username` is a table in a table."""
    keys = {}
    for key, value in table.items():
        keys |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return keys


def places(table):
    """Return, for each key that is meant, where its value lies, and the value or its file's or variable's name."""
    found = {}
    for key, value in table.items():
        name, _, where = key.rpartition("_")
        found |= {name: (where, value)} if where in ("file", "env") else {key: ("here", value)}
    return found


def read(where, value):
    """Return a value, wherever it lies."""
    if where == "file":
        return (HERE / value).read_text("utf-8").rstrip("\r\n")
    return os.environ[value] if where == "env" else value
