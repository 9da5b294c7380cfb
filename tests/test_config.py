"""The settings: what is refused, how it is said, and what follows from a file."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from streams.config import OWNED, Settings, effective, load
from streams.errors import ConfigError
from streams.masking import MASK
from streams.showing import as_json, as_toml

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
        (("[model]", "[limits]\nsession_ms = 40000\n[model]"), "must not be above max_poll_ms"),
        (("[model]", "[dedupe]\nwindow_hours = inf\n[model]"), "[dedupe.window_hours] should be less than"),
        (("[model]", "[dedupe]\nwindow_hours = nan\n[model]"), "[dedupe.window_hours] should be"),
        (("[model]", "[monitor]\ngrain_hours = 1e-12\n[model]"), "[monitor.grain_hours] should be greater than"),
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


def overlaid(folder: Path, environment: dict[str, str], flags: Sequence[str] = (), text: str = WHOLE) -> Settings:
    """Return the settings of a file with an environment and flags over it."""
    return load(written(folder, text), flags, environment)


def test_flags_go_over_the_environment_over_the_file_over_defaults(tmp_path: Path) -> None:
    """Each has the type of its field, whoever gave it."""
    text = WHOLE + "[batch]\nrecords = 1\nage_ms = 1\n[limits]\nsession_ms = 7000\n"
    environment = {"STREAMS__BATCH__RECORDS": "2", "STREAMS__BATCH__AGE_MS": "2", "STREAMS__MODEL__VERSION": "2"}
    settings = overlaid(tmp_path, environment, ["batch.age_ms=3", "dedupe.window_hours=0.5"], text)
    assert (2, 3) == (settings.batch.records, settings.batch.age_ms)
    assert ("2", 0.5) == (settings.model.version, settings.dedupe.window_hours)
    assert (7_000, 30_000) == (settings.limits.session_ms, settings.limits.max_poll_ms)


def test_paths_are_the_file_s_own_whichever_layer_gave_them(tmp_path: Path) -> None:
    """A worker and a person see the same, wherever they are."""
    settings = overlaid(tmp_path, {"STREAMS__APP__STATE_DIR": "elsewhere"}, ["model.store=file:shelf"])
    assert tmp_path / "elsewhere" == settings.app.state_dir
    assert (tmp_path / "shelf").as_uri() == settings.model.store


def test_a_certificate_s_path_is_the_file_s_own_where_it_lies_there(tmp_path: Path) -> None:
    """`probe` is no path to librdkafka, and what is not there is the client's to complain about."""
    (tmp_path / "ca.pem").write_text("")
    text = WHOLE.replace("[kafka]\n", '[kafka]\nssl.ca.location = "ca.pem"\nssl.key.location = "none.pem"\n')
    settings = overlaid(tmp_path, {"STREAMS__SCHEMA_REGISTRY__SSL__CA__LOCATION": "ca.pem"}, text=text)
    assert str(tmp_path / "ca.pem") == settings.kafka["ssl.ca.location"] == settings.schema_registry["ssl.ca.location"]
    assert "none.pem" == settings.kafka["ssl.key.location"]
    for odd in ("", "x" * 5_000):
        assert odd == overlaid(tmp_path, {"STREAMS__KAFKA__SSL__CA__LOCATION": odd}).kafka["ssl.ca.location"]
    assert "probe" == overlaid(tmp_path, {"STREAMS__KAFKA__SSL__CA__LOCATION": "probe"}).kafka["ssl.ca.location"]


def test_sections_that_the_file_lacks_may_come_from_elsewhere(tmp_path: Path) -> None:
    text = WHOLE.replace('[kafka]\n"bootstrap.servers" = "127.0.0.1:9092"\n', "")
    settings = overlaid(tmp_path, {"STREAMS__KAFKA__BOOTSTRAP__SERVERS": "b:1"}, text=text)
    assert {"bootstrap.servers": "b:1"} == settings.kafka


@pytest.mark.parametrize(
    ("environment", "flags", "words"),
    [
        ({"STREAMS__BATCH__RECRODS": "5"}, [], "did you mean `records`? (env STREAMS__BATCH__RECRODS)"),
        ({"STREAMS__BACH__RECORDS": "5"}, [], "did you mean `batch`? (env STREAMS__BACH__RECORDS)"),
        ({"STREAMS__BATCH__RECORDS": "many"}, [], "not a whole number (env STREAMS__BATCH__RECORDS)"),
        ({}, ["batch.recrods=5"], "did you mean `records`? (flag -X)"),
        ({}, ["batch.records=0"], "greater than or equal to 1 (flag -X)"),
        ({"STREAMS__KAFKA__ACKS": "1"}, [], "`acks` is not yours to set: an answer counts"),
        ({"STREAMS__KAFKA__ACKS": "1"}, [], "(env STREAMS__KAFKA__ACKS)"),
        ({}, ["kafka.isolation.level=read_uncommitted"], "`isolation.level` is not yours to set"),
        ({"STREAMS__REQUESTS__TOPIC": "x"}, [], "STREAMS__REQUESTS__TOPIC: [[requests]] is a list of tables"),
        ({}, ["requests.topic=x"], "flag -X: [[requests]] is a list of tables"),
        ({"STREAMS__APP__ID_FILE": "x"}, [], "[app.id_file] is not known"),
    ],
)
def test_what_is_wrong_names_the_variable_or_flag(
    tmp_path: Path, environment: dict[str, str], flags: list[str], words: str
) -> None:
    """A misspelt variable is not ignored: it would look as if it had been taken."""
    with pytest.raises(ConfigError) as refused:
        overlaid(tmp_path, environment, flags)
    assert words in str(refused.value)
    assert "very-secret" not in str(refused.value)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_is_read_from_a_file_without_its_last_line_end(tmp_path: Path, ending: str) -> None:
    """From the file, the environment and flags alike; a relative path is taken from the file's folder."""
    (tmp_path / "secret").write_bytes(f"hunter2{ending}".encode())
    text = WHOLE.replace("[kafka]\n", '[kafka]\n"sasl.password_file" = "secret"\n')
    assert "hunter2" == overlaid(tmp_path, {}, text=text).kafka["sasl.password"]
    environment = {"STREAMS__KAFKA__SASL__PASSWORD_FILE": str(tmp_path / "secret")}
    assert "hunter2" == overlaid(tmp_path, environment).kafka["sasl.password"]
    assert "hunter2" == overlaid(tmp_path, {}, ["kafka.sasl.password_file=secret"]).kafka["sasl.password"]


def test_a_secret_is_read_from_a_variable(tmp_path: Path) -> None:
    text = WHOLE.replace("[kafka]\n", '[kafka]\nsasl.password_env = "KAFKA_PASSWORD"\n')
    assert "hunter2" == overlaid(tmp_path, {"KAFKA_PASSWORD": "hunter2"}, text=text).kafka["sasl.password"]
    with pytest.raises(ConfigError, match=r"sasl\.password is to be read from the variable KAFKA_PASSWORD"):
        overlaid(tmp_path, {}, text=text)


def test_a_later_layer_s_secret_replaces_an_earlier_reference_which_is_not_read(tmp_path: Path) -> None:
    text = WHOLE.replace("[kafka]\n", '[kafka]\n"sasl.password_file" = "no such file"\n')
    assert "x" == overlaid(tmp_path, {"STREAMS__KAFKA__SASL__PASSWORD": "x"}, text=text).kafka["sasl.password"]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), (b"", "nothing in it"), (b"\n", "nothing in it"), (b"\xff", "UTF-8")]
)
def test_a_secret_s_file_that_holds_none_is_named_with_its_key(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        overlaid(tmp_path, {"STREAMS__KAFKA__SASL__PASSWORD_FILE": "secret"})
    for word in (words, "[kafka] sasl.password", str(tmp_path / "secret"), "STREAMS__KAFKA__SASL__PASSWORD_FILE"):
        assert word in str(refused.value)


def test_settings_do_not_show_secrets_wherever_they_are_printed(tmp_path: Path) -> None:
    """A canary in each place where a secret can be given."""
    (tmp_path / "secret").write_text("canary-1")
    text = WHOLE.replace("[kafka]\n", '[kafka]\n"ssl.key.password" = "canary-2"\n')
    environment = {
        "STREAMS__KAFKA__SASL__PASSWORD_FILE": "secret",
        "STREAMS__SCHEMA_REGISTRY__URL": "http://me:canary-3@h:1",
    }
    found = effective(written(tmp_path, text), (), environment)
    said = [repr(found), repr(found.settings), str(found.settings), *as_toml(found), json.dumps(as_json(found))]
    for line in said:
        assert "canary" not in line
        assert "very-secret" not in line


def test_what_is_shown_is_a_configuration_with_the_source_of_each_value(tmp_path: Path) -> None:
    """But for the masks it can be used as a file; the sources are comments."""
    (tmp_path / "secret").write_text("hunter2")
    environment = {"STREAMS__BATCH__RECORDS": "77", "STREAMS__KAFKA__SASL__PASSWORD_FILE": "secret"}
    found = effective(written(tmp_path, WHOLE), ["model.version=2"], environment)
    lines = list(as_toml(found))
    again = tmp_path / "again.toml"
    again.write_text("\n".join(lines).replace(MASK, "hunter2"))
    shown = load(again, (), {})
    changed = {"schema_registry": shown.schema_registry | {"basic.auth.user.info": "user:very-secret"}}
    assert found.settings.model_dump() == shown.model_dump() | changed

    sources = {key: source for line in lines if " # " in line for key, source in [line.split(" # ")]}
    of = {key.partition(" =")[0]: source for key, source in sources.items()}
    assert ("env STREAMS__BATCH__RECORDS", "default") == (of["records"], of["age_ms"])
    assert ("file", "flag -X") == (of["name"], of["version"])
    assert ("file", f"file {tmp_path / 'secret'}") == (of['"bootstrap.servers"'], of['"sasl.password"'])
    assert ("file", "default") == (of["topic"], of["partitions"])
    assert "# group: loans.scorer" in lines

    told = as_json(found)
    assert {"value": 77, "source": "env STREAMS__BATCH__RECORDS"} == told["settings"]["batch"]["records"]
    assert {"value": MASK, "source": f"file {tmp_path / 'secret'}"} == told["settings"]["kafka"]["sasl.password"]
    assert "loans.requests.live.dlq" == told["derived"]["dlq of loans.requests.live"]


LABELS = '[labels]\ntopic = "loans.labels"\ncontract = "label.avsc"\n'


def test_labels_have_topics_of_their_own(tmp_path: Path) -> None:
    """The contract is the file's; the names follow from the application's id; and they are shown."""
    path = written(tmp_path, WHOLE + LABELS)
    settings = load(path)
    assert settings.labels is not None
    assert tmp_path / "label.avsc" == settings.labels.contract
    assert "loans.labels-value" == settings.labels.label_subject
    assert ("loans.performance.parts", "loans.monitor.changelog") == (settings.parts, settings.monitor_changelog)
    assert any(line.startswith("topic = ") and "loans.labels" in line for line in as_toml(effective(path)))


@pytest.mark.parametrize(
    "topic",
    [
        "loans.results",
        "loans.features",
        "loans.tickets",
        "loans.requests.live.dlq",
        "loans.labels.dlq",
        "loans.labels.keyed.dlq",
    ],
)
def test_requests_may_not_lie_in_another_topic_of_the_application(tmp_path: Path, topic: str) -> None:
    """Its own records would be read as requests."""
    lane = f'[[requests]]\ntopic = "{topic}"\ncontract = "ask.avsc"\n[[requests]]'
    with pytest.raises(ConfigError, match="one of the application's own topics"):
        load(written(tmp_path, WHOLE.replace("[[requests]]", lane) + LABELS))


@pytest.mark.parametrize(
    "topic",
    [
        "loans.requests.live",
        "loans.requests.live.dlq",
        "loans.results",
        "loans.features",
        "loans.tickets",
        "loans.performance.parts",
    ],
)
def test_labels_may_not_lie_in_another_topic_of_the_application(tmp_path: Path, topic: str) -> None:
    """They would be answered, or counted as what they are not."""
    with pytest.raises(ConfigError, match="one of the application's other topics"):
        load(written(tmp_path, WHOLE + LABELS.replace("loans.labels", topic)))
