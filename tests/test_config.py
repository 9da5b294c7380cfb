"""The settings: what is refused, how it is said, and what follows from a file."""

from pathlib import Path

import pytest

from streams.config import OWNED, load
from streams.errors import ConfigError

WHOLE = """
[app]
id = "loans"
state_dir = "state"
[kafka]
"bootstrap.servers" = "127.0.0.1:9092"
[schema_registry]
url = "http://127.0.0.1:8081"
"basic.auth.user.info" = "user:very-secret"
[[requests]]
topic = "loans.requests.live"
contract = "ask.avsc"
[model]
store = "file:store"
name = "late"
version = "1"
"""


def written(folder: Path, text: str) -> Path:
    """Write a config file."""
    path = folder / "app.toml"
    path.write_text(text)
    return path


def test_a_whole_file_is_read_and_paths_are_the_file_s_own(tmp_path: Path) -> None:
    """Relative paths are taken from the file's folder, wherever the command is run."""
    settings = load(written(tmp_path, WHOLE))
    assert tmp_path / "state" == settings.app.state_dir
    assert tmp_path / "ask.avsc" == settings.requests[0].contract
    assert (tmp_path / "store").as_uri() == settings.model.store
    assert "loans.requests.live-value" == settings.requests[0].lane_subject
    assert ("loans.results", "loans.outcomes", "loans.scorer") == (settings.results, settings.outcomes, settings.group)


def test_dotted_keys_may_be_written_with_or_without_quotes(tmp_path: Path) -> None:
    """TOML reads an unquoted `security.protocol` as a table; it is the client's key all the same."""
    text = WHOLE.replace("[kafka]\n", '[kafka]\nsecurity.protocol = "SSL"\n"ssl.ca.location" = "ca.pem"\n')
    kafka = load(written(tmp_path, text)).kafka
    assert {"bootstrap.servers": "127.0.0.1:9092", "security.protocol": "SSL", "ssl.ca.location": "ca.pem"} == kafka


@pytest.mark.parametrize("key", sorted(OWNED))
def test_a_key_that_the_guarantee_owns_is_refused_by_name(tmp_path: Path, key: str) -> None:
    """And it is said why."""
    with pytest.raises(ConfigError) as refused:
        load(written(tmp_path, WHOLE.replace("[kafka]\n", f'[kafka]\n"{key}" = "x"\n')))
    assert f"`{key}` is not yours to set" in str(refused.value)
    assert OWNED[key] in str(refused.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("[app]", "[app]\ncolour = 1"), "colour"),
        (('id = "loans"', 'id = "Loans!"'), "app.id"),
        (('"bootstrap.servers" = "127.0.0.1:9092"', ""), "bootstrap.servers"),
        (('url = "http://127.0.0.1:8081"', ""), "url"),
        (('version = "1"', 'version = "1"\n[limits]\nturn_ms = 40000'), "watchdog"),
        (("[[requests]]", '[[requests]]\ntopic = "loans.results"\ncontract = "x"\n[[requests]]'), "own topics"),
        (("[[requests]]", '[[requests]]\ntopic = "loans.requests.live"\ncontract = "x"\n[[requests]]'), "same topic"),
        (("[[requests]]", '[[requests]]\ntopic = "l.b"\ncontract = "x"\npartitions = 8\n[[requests]]'), "partitions"),
        (("[app]", "[app"), "app.toml"),
    ],
)
def test_what_is_wrong_is_named_and_secrets_are_not_shown(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    """The file, the key and the reason; never a credential that stands beside it."""
    with pytest.raises(ConfigError) as refused:
        load(written(tmp_path, WHOLE.replace(*change)))
    assert words in str(refused.value)
    assert "very-secret" not in str(refused.value)


def test_a_missing_file_says_where_to_begin(tmp_path: Path) -> None:
    """The next step is named."""
    with pytest.raises(ConfigError, match="streams init"):
        load(tmp_path / "none.toml")
