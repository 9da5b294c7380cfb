"""`streams init APP`: a folder that works at once, and is meant to be edited.

The texts lie in `template/` as they will be read, with `$app` where the application's id goes. What its `train.py`
makes is kept there, too, so that a package can be registered before anything is trained; a test runs it and compares.
"""

import re
from pathlib import Path
from shlex import quote
from string import Template

from streams.errors import ConfigError, SetupError

APP = r"[a-z0-9][a-z0-9._-]{0,55}"
"""An application's id, short enough for the name of its model, which ends in `-default` and has 64 characters at most."""
CONTRACT, LABEL_CONTRACT = "schemas/request.v1.avsc", "schemas/label.v1.avsc"
FILES: dict[str, str] = {
    "README.md": "README.md",
    "$app.toml": "app.toml",
    CONTRACT: CONTRACT,
    LABEL_CONTRACT: LABEL_CONTRACT,
    "package/manifest.toml": "package/manifest.toml",
    "package/request.v1.avsc": CONTRACT,
    "package/model.txt": "package/model.txt",
    "package/golden.jsonl": "package/golden.jsonl",
    "package/reference.json": "package/reference.json",
    "train.py": "train.py",
    "clients.py": "clients.py",
    "produce.py": "produce.py",
    "consume.py": "consume.py",
    "label.py": "label.py",
}
"""What is written, and from which file of `template/`."""
_TEMPLATE = Path(__file__).parent / "template"


def texts(app: str) -> dict[str, str]:
    """Return the content of every file of the application's folder, by its path there. Raises: ConfigError."""
    if not re.fullmatch(APP, app):
        raise ConfigError(
            f"`{app}` is no application id: lower-case letters, digits, `.`, `_` and `-`, at most 56, the first a letter "
            "or a digit. Every topic begins with it, for example `loans`"
        )
    words = {"app": app, "record": record(app), "namespace": namespace(app)}

    def filled(text: str) -> str:
        return Template(text).substitute(words)

    return {filled(path): filled((_TEMPLATE / source).read_text("utf-8")) for path, source in FILES.items()}


def record(app: str) -> str:
    """Return the name of the request's Avro record.

    >>> record("home-loans")
    'HomeLoansRequest'
    """
    return _name("".join(word.capitalize() for word in re.split(r"[^a-z0-9]+", app))) + "Request"


def namespace(app: str) -> str:
    """Return the namespace of the application's Avro records, without its version.

    >>> namespace("home-loans")
    'home_loans'
    """
    return _name(re.sub(r"[^a-z0-9]+", "_", app).strip("_"))


def _name(text: str) -> str:
    """An Avro name does not begin with a digit."""
    return f"_{text}" if text[0].isdigit() else text


def write(app: str, folder: Path) -> list[str]:
    """Write the application's folder; return what was written and what to do next, in lines for people.

    A folder that holds anything is left alone. Raises: ConfigError, SetupError.
    """
    files = texts(app)
    try:
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise ConfigError(
                f"{folder} is there already, and nothing is ever overwritten. Choose another place: "
                f"streams init {app} --dir SOMEWHERE"
            )
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, "utf-8")
    except OSError as error:
        raise SetupError(
            f"{error.filename or folder}: {error.strerror or error}. Choose another place with --dir"
        ) from None
    return [
        *(f"  {folder / path}" for path in files),
        "",
        f"Put the addresses of your broker and your registry into {app}.toml, or start both on this machine:",
        f"  cd {quote(str(folder))}",
        "  streams dev up",
        "Then",
        f"  streams schemas check -c {app}.toml",
        "and so on: README.md there has all commands, in their order.",
    ]
