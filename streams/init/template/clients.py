"""What the plain clients are given: `[kafka]` and `[schema_registry]` of $app.toml.

A key may be written with quotes or without; `key_file` and `key_env` name the file, or the variable, that holds the value;
a certificate's path is taken from here. The environment goes over the file, and what it gives is a text:
`STREAMS__KAFKA__SASL__PASSWORD`, `STREAMS__SCHEMA_REGISTRY__URL_FILE`.
"""

import os
import sys
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
    found = places(flat(table)) | places(over)
    return {key: read(key, where, value) for key, (where, value) in found.items()}


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


def read(key, where, value):
    """Return a value, wherever it lies."""
    if where == "here":
        lies_here = key.endswith(".location") and value and (HERE / value).exists()
        return str(HERE / value) if lies_here else value
    try:
        text = (HERE / value).read_text("utf-8") if where == "file" else os.environ[value]
    except (OSError, KeyError):
        sys.exit(f"{key} is to be read from the {where} {value}, and it is not there.")
    return text.removesuffix("\n").removesuffix("\r")
