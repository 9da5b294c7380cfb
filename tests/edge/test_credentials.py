"""`[kafka]` as another client wants it, and what the command line refuses."""

import ssl
import sys
from pathlib import Path

import certifi
import pytest
from faust.auth import SASLCredentials, SSLCredentials

from streams.cli import main
from streams.config import Client
from streams.edge.credentials import connection
from streams.edge.targets import Webhook
from streams.errors import ConfigError
from tests.test_config import WHOLE, written

LOGIN: Client = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "u", "sasl.password": "canary"}


def settings(**more: str | bool) -> Client:
    """Return client keys; `_` for the dots."""
    return {"bootstrap.servers": "127.0.0.1:1", **{key.replace("_", "."): value for key, value in more.items()}}


def test_addresses_without_credentials() -> None:
    """Several, with the protocol that librdkafka allows before them, without a port, and of version 6."""
    found = connection({"bootstrap.servers": "SSL://a:1, b,PLAINTEXT://[::1]:9092", "client.id": "me", "linger.ms": 5})
    assert [("a", 1), ("b", None), ("::1", 9092)] == [(url.host, url.port) for url in found.broker]
    assert (None, "me") == (found.credentials, "me")


def test_a_password_over_a_channel_with_and_without_tls() -> None:
    """It is in no text of the credentials."""
    found = connection(settings(security_protocol="sasl_plaintext") | LOGIN).credentials
    assert isinstance(found, SASLCredentials)
    assert ("SASL_PLAINTEXT", "SCRAM-SHA-512", "u", "canary") == (
        found.protocol.value, found.mechanism.value, found.username, found.password
    )  # fmt: skip
    assert "canary" not in repr(found)
    found = connection(settings(security_protocol="SASL_SSL", ssl_ca_location=certifi.where()) | LOGIN).credentials
    assert isinstance(found, SASLCredentials)
    assert "SASL_SSL" == found.protocol.value
    assert found.ssl_context is not None
    assert (True, ssl.CERT_REQUIRED) == (found.ssl_context.check_hostname, found.ssl_context.verify_mode)


def test_tls_as_librdkafka_has_it() -> None:
    """The broker's name is checked unless that is switched off."""
    keys = settings(security_protocol="SSL", ssl_endpoint_identification_algorithm="none")
    found = connection(keys).credentials
    assert isinstance(found, SSLCredentials)
    assert (False, ssl.CERT_REQUIRED) == (found.context.check_hostname, found.context.verify_mode)
    found = connection(settings(security_protocol="SSL", enable_ssl_certificate_verification=False)).credentials
    assert isinstance(found, SSLCredentials)
    assert ssl.CERT_NONE == found.context.verify_mode


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sasl.oauthbearer.config": "canary"}, ["`sasl.oauthbearer.config`", "sasl.password"]),
        ({"ssl.key.pem": "canary"}, ["`ssl.key.pem`", "ssl.key.location"]),
        ({"plugin.library.paths": "canary"}, ["`plugin.library.paths`"]),
        ({"security.protocol": "canary"}, ["`security.protocol`", "SASL_SSL"]),
        ({"security.protocol": "SASL_SSL"}, ["`sasl.mechanisms`", "SCRAM-SHA-256"]),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"}, ["`sasl.mechanism`", "PLAIN"]),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN", "sasl.username": "u"}, ["`sasl.password`"]),
        ({"security.protocol": "SSL", "ssl.ca.location": "/nowhere"}, ["`ssl.ca.location`", "No such file"]),
        ({"security.protocol": "SSL", "ssl.certificate.location": "/nowhere"}, ["`ssl.certificate.location`"]),
        ({"bootstrap.servers": "canary:port"}, ["`bootstrap.servers`", "host:port"]),
    ],
)  # fmt: skip
def test_what_cannot_be_translated_is_named(more: Client, words: list[str]) -> None:
    """The key is, with what is supported; the value is not."""
    with pytest.raises(ConfigError) as refused:
        connection({"bootstrap.servers": "127.0.0.1:1", **more})
    assert [] == [word for word in words if word not in str(refused.value)]
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("url", ["ftp://host/canary", "canary", "http://", "http://[canary", "https://h:canary/"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """Without showing it."""
    with pytest.raises(ConfigError) as refused:
        Webhook(url)
    assert "canary" not in str(refused.value)


def test_an_address_is_named_without_its_secrets() -> None:
    assert "https://host:8443" == Webhook("https://user:canary@host:8443/canary?canary").where


@pytest.mark.parametrize("targets", [[], ["--file", "x.jsonl", "--webhook", "http://127.0.0.1:1/"]])
def test_exactly_one_target(targets: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither and both are wrong usage."""
    assert 2 == main(["tickets", "deliver", "-c", str(written(tmp_path, WHOLE)), *targets])
    assert "say one of the two" in capsys.readouterr().err


@pytest.mark.parametrize("library", ["faust", "cramjam"])
def test_without_the_library_it_is_said_what_to_install(
    library: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, library, None)
    assert 4 == main(["tickets", "deliver", "-c", str(written(tmp_path, WHOLE)), "--file", "x.jsonl"])
    assert "pip install 'answeronce[tickets]'" in capsys.readouterr().err


def test_the_help_says_what_at_least_once_means(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["tickets", "deliver", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Example: streams tickets deliver" in said
    assert "Idempotency-Key: <id>:<revision>" in said
