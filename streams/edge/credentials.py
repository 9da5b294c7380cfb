"""`[kafka]`, as Faust's client wants it: addresses and credentials."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from faust.auth import Credentials, SASLCredentials, SSLCredentials
from yarl import URL

from streams.config import Client
from streams.errors import ConfigError

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
TRANSLATED = (
    "bootstrap.servers", "client.id", "security.protocol", "sasl.mechanism", "sasl.mechanisms", "sasl.username",
    "sasl.password", "ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.key.password",
    "ssl.endpoint.identification.algorithm", "enable.ssl.certificate.verification",
)  # fmt: skip
TUNING = (
    "allow.auto.create.topics", "batch.", "check.crcs", "compression.", "debug", "fetch.", "group.protocol", "heartbeat.",
    "linger.ms", "log", "max.in.flight", "max.partition.fetch.bytes", "message.", "metadata.", "queue.", "queued.",
    "receive.message.max.bytes", "reconnect.", "request.timeout.ms", "retries", "retry.", "socket.", "statistics.",
    "topic.metadata.",
)  # fmt: skip
"""How keys begin that make librdkafka faster, slower or louder: they mean nothing to another client, and are left out."""


class Connection(NamedTuple):
    """How Faust reaches the brokers."""

    broker: list[URL]
    credentials: Credentials | None
    client_id: str


def connection(client: Client) -> Connection:
    """Return what the keys mean. Raises: ConfigError that names the key which has no counterpart; it shows no value."""
    for key in client:
        if key not in TRANSLATED and not key.startswith(TUNING):
            raise _refused(key, f"Supported are {', '.join(TRANSLATED)}")
    protocol = str(client.get("security.protocol", "PLAINTEXT")).upper()
    if protocol not in PROTOCOLS:
        raise _refused("security.protocol", f"Supported are {', '.join(PROTOCOLS)}")
    context = _context(client) if protocol.endswith("SSL") else None
    credentials: Credentials | None = None
    if protocol.startswith("SASL"):
        credentials = _login(client, context)
    elif context is not None:
        credentials = SSLCredentials(context)
    return Connection(
        _servers(str(client["bootstrap.servers"])), credentials, str(client.get("client.id", "answeronce"))
    )


def _refused(key: str, why: str) -> ConfigError:
    return ConfigError(f"[kafka] `{key}` cannot be translated for the client that delivers tickets. {why}.")


def _servers(listed: str) -> list[URL]:
    """Return the brokers' addresses; librdkafka takes a protocol before each, which `security.protocol` overrules."""
    try:
        urls = [URL(f"kafka://{one.strip().rpartition('://')[2]}") for one in listed.split(",") if one.strip()]
        if urls and all(url.host and url.port != 0 for url in urls):
            return urls
    except ValueError:
        pass
    raise _refused("bootstrap.servers", "It is a list of host:port, with commas between")


def _login(client: Mapping[str, str | int | float | bool], context: ssl.SSLContext | None) -> Credentials:
    key = "sasl.mechanism" if "sasl.mechanism" in client else "sasl.mechanisms"
    mechanism = str(client.get(key, ""))
    if mechanism not in MECHANISMS:
        raise _refused(key, f"Supported are {', '.join(MECHANISMS)}")
    for wanted in ("sasl.username", "sasl.password"):
        if wanted not in client:
            raise ConfigError(f"[kafka] `{wanted}` is missing, and {mechanism} needs it.")
    return SASLCredentials(
        username=str(client["sasl.username"]),
        password=str(client["sasl.password"]),
        mechanism=mechanism,
        ssl_context=context,
    )


def _context(client: Mapping[str, str | int | float | bool]) -> ssl.SSLContext:
    """Return how the broker is to be believed, and what it is shown; librdkafka's defaults are kept."""
    place = str(client.get("ssl.ca.location", "probe"))
    named, folder = place != "probe", Path(place).is_dir()
    key = "ssl.ca.location"
    try:
        context = ssl.create_default_context(
            cafile=place if named and not folder else None, capath=place if named and folder else None
        )
        key = "ssl.certificate.location"
        if key in client:
            private = client.get("ssl.key.location")
            context.load_cert_chain(
                str(client[key]),
                None if private is None else str(private),
                lambda: str(client.get("ssl.key.password", "")),
            )
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConfigError(f"[kafka] `{key}`, or a key that belongs to it, cannot be used: {_words(error)}.") from None
    if str(client.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        context.check_hostname = False
    if str(client.get("enable.ssl.certificate.verification", "true")).lower() in ("false", "0"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "no certificate or key"
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else type(error).__name__
