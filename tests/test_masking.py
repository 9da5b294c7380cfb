"""What is secret, by name and by form: rather too much than too little."""

import pytest

from streams.masking import MASK, Keys, masked


@pytest.mark.parametrize(
    "key",
    [
        "sasl.password", "sasl.pasword", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem", "ssl_key", "sasl.jaas.config",
        "basic.auth.user.info", "bearer.auth.token", "bearer.auth.client.secret", "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.config", "oauth.client.secret",
        "sasl.oauthbearer.assertion.private.key.pem", "sasl.oauthbearer.assertion.private.key.passphrase", "SASL.Password",
    ],
)  # fmt: skip
def test_a_secret_is_known_by_its_name(key: str) -> None:
    assert masked(key, "hunter2") == MASK


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bootstrap.servers", "127.0.0.1:9092"),
        ("security.protocol", "SASL_SSL"),
        ("sasl.username", "scorer"),
        ("ssl.key.location", "/etc/key.pem"),
        ("ssl.keystore.location", "/etc/store.p12"),
        ("sasl.oauthbearer.token.endpoint.url", "https://host/token"),
        ("sasl.oauthbearer.assertion.private.key.file", "/etc/key.pem"),
        ("linger.ms", 5),
        ("url", "http://host/apis/ccompat/v7"),
        ("id", "loans"),
    ],
)
def test_what_helps_to_find_a_fault_is_shown(key: str, value: object) -> None:
    assert value == masked(key, value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("http://me:hunter2@host/path", f"http://{MASK}@host/path"),
        ("http://a:x@y:hunter2@host", f"http://{MASK}@host"),
        ("https://host/path?sig=hunter2", f"https://host/path?{MASK}"),
        ("http://me:hunter2@one,http://me:hunter2@two", f"http://{MASK}@two"),
        ("-----BEGIN PRIVATE KEY-----\nhunter2", MASK),
    ],
)
def test_a_secret_is_known_by_its_form(value: str, shown: str) -> None:
    assert shown == masked("url", value)


def test_a_client_s_keys_do_not_show_their_values() -> None:
    """In a log line, an f-string or a traceback."""
    assert "<1 keys: sasl.password>" == repr(Keys({"sasl.password": "hunter2"}))
    assert "hunter2" not in str(Keys({"sasl.password": "hunter2"}))
