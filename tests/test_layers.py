"""The layers of a configuration, in pure: what a variable, a flag and a table mean, and which of them counts."""

import pytest

from streams.errors import ConfigError
from streams.layers import Elsewhere, Given, flatten, merged, of_environment, of_file, of_flags

CLIENTS = ("kafka", "schema_registry")


def test_each_layer_overrides_those_before_it_key_by_key() -> None:
    """What a later layer does not give stays."""
    file = of_file({"batch": {"records": 1, "age_ms": 2}, "kafka": {"a": {"b": "x"}, "c.d": "y"}}, CLIENTS)
    environment = of_environment({"STREAMS__BATCH__RECORDS": "3", "STREAMS__KAFKA__C__D": "z"}, CLIENTS)
    flags = of_flags(["batch.records=4"], CLIENTS)
    together = merged([file, environment, flags])
    assert {"records": Given("4", "flag -X"), "age_ms": Given(2, "file")} == together["batch"]
    assert {"a.b": Given("x", "file"), "c.d": Given("z", "env STREAMS__KAFKA__C__D")} == together["kafka"]
    assert {"records": Given(1, "file"), "age_ms": Given(2, "file")} == file["batch"]


def test_variables_name_keys_in_any_case_and_others_are_none_of_ours() -> None:
    """Orchestrators set variables for a service that is called `streams`."""
    environment = {
        "STREAMS__KAFKA__BOOTSTRAP__SERVERS": "b:9",
        "streams__schema_registry__basic__auth__user__info": "u:p",
        "STREAMS_PORT": "tcp://10.0.0.1:80",
        "STREAMS_SERVICE_HOST": "10.0.0.1",
        "PATH": "/bin",
    }
    layer = of_environment(environment, CLIENTS)
    assert {"kafka": ["bootstrap.servers"], "schema_registry": ["basic.auth.user.info"]} == {
        section: list(table) for section, table in layer.items()
    }


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"STREAMS__APP": "x"}, "STREAMS__APP names no key"),
        ({"STREAMS____ID": "x"}, "STREAMS____ID names no key"),
        ({"STREAMS__APP__ID": "x", "streams__app__id": "y"}, "twice"),
        ({"STREAMS__KAFKA__SASL__PASSWORD": "x", "STREAMS__KAFKA__SASL__PASSWORD_FILE": "y"}, "sasl.password_file"),
    ],
)
def test_a_variable_that_means_nothing_or_two_things_is_refused(environment: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        of_environment(environment, CLIENTS)


@pytest.mark.parametrize("flag", ["batch", "records=4", "=4", ".x=4", "batch.=4", "kafka.sasl.password:hunter2"])
def test_a_flag_without_section_key_and_value_is_refused_and_not_repeated(flag: str) -> None:
    """It may hold a secret that was typed wrongly."""
    with pytest.raises(ConfigError, match=r"SECTION\.KEY=VALUE") as refused:
        of_flags([flag], CLIENTS)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "flag", ["kafka.sasl.password=hunter2", "schema_registry.url=http://me:hunter2@host", "kafka.ssl.key.pem=hunter2"]
)
def test_a_secret_on_the_command_line_is_refused(flag: str) -> None:
    """Whoever lists processes would see it. Where it may be read from is no secret."""
    with pytest.raises(ConfigError, match="STREAMS__") as refused:
        of_flags([flag], CLIENTS)
    assert "hunter2" not in str(refused.value)


def test_a_flag_may_say_where_a_secret_is() -> None:
    layer = of_flags(["kafka.sasl.password_file=/run/secrets/kafka"], CLIENTS)
    assert {"sasl.password": Given(Elsewhere("file", "/run/secrets/kafka"), "flag -X", secret=True)} == layer["kafka"]


def test_the_last_of_two_flags_counts() -> None:
    assert Given("2", "flag -X") == of_flags(["batch.records=1", "batch.records=2"], CLIENTS)["batch"]["records"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500", 500),
        ("-1", -1),
        ("0.5", 0.5),
        ("true", True),
        ("false", False),
        ("007", "007"),
        ("1_000", "1_000"),
        ("+5", "+5"),
        ("1.50", "1.50"),
        ("nan", "nan"),
        ("", ""),
        ("lz4", "lz4"),
        ('"12"', "12"),
        ("'a b'", "a b"),
        ('"open', '"open'),
    ],
)
def test_a_client_s_value_is_a_number_only_if_it_would_be_printed_alike(text: str, value: object) -> None:
    """A text that only looks like a number must reach the client as it was written; quotes are TOML's."""
    found = of_flags([f"kafka.x={text}"], CLIENTS)["kafka"]["x"].value
    assert (value, type(value)) == (found, type(found))


def test_a_password_stays_the_text_that_it_is() -> None:
    """`12345` and `true` are passwords, too."""
    found = of_environment({"STREAMS__KAFKA__SASL__PASSWORD": "true"}, CLIENTS)
    assert "true" == found["kafka"]["sasl.password"].value


def test_both_spellings_of_a_dotted_key_are_one() -> None:
    """TOML reads an unquoted dotted key as a table."""
    assert {"a.b": 1, "a.c.d": 2} == flatten({"a": {"b": 1, "c": {"d": 2}}})


def test_a_file_s_reference_stands_under_the_key_that_it_is_for() -> None:
    """`_file` and `_env` are no client's endings; a dotted `.file` is (librdkafka has such keys) and stays one."""
    layer = of_file(
        {
            "kafka": {
                "sasl": {"password_env": "KAFKA_PASSWORD"},
                "sasl.oauthbearer.assertion.private.key.file": "/key.pem",
            },
            "app": {"id_file": "x"},
        },
        CLIENTS,
    )
    assert Given(Elsewhere("env", "KAFKA_PASSWORD"), "file", secret=True) == layer["kafka"]["sasl.password"]
    assert Given("/key.pem", "file") == layer["kafka"]["sasl.oauthbearer.assertion.private.key.file"]
    assert Given("x", "file") == layer["app"]["id_file"]
