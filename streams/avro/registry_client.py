"""A schema registry's HTTP API, as values: what it stores, what it refuses, and when it did not answer at all.

The transport is confluent-kafka's client, so its keys (credentials, TLS, proxy, several URLs) pass through. Its errors
are not shown: they may quote addresses with a password in them.
"""

import json
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from streams.config import Client
from streams.errors import ConfigError, Unreachable

_NOT_FOUND = {40401, 40402, 40403, 40408}
"""Subject, version, schema, subject-level setting not found. A 404 without one of these is somebody else's: a proxy's,
or a wrong path's; taking it for the registry's would refuse every request."""
_T = TypeVar("_T")


class Refused(Exception):
    """The registry understood, and said no: incompatible, invalid, or not allowed. `str()` has its words."""


class Stored(NamedTuple):
    """A schema as the registry has it; JSON-equal to what was registered, not byte-equal."""

    text: str
    kind: str
    """`AVRO`, `JSON` or `PROTOBUF`."""
    references: bool


def servers(keys: Client) -> tuple[str, ...]:
    """Return the registry's URLs, sorted, without credentials: they identify it, and may be shown."""
    return tuple(sorted(_bare(url) for url in _urls(keys)))


class RegistryClient:
    """One registry. Each call is one request, or several if `retries` says so.

    Raises (every method but the constructor): Unreachable, whenever there is no definite answer: the registry is down,
    overloaded, refuses our credentials, or is not a registry; those that change something, judge, or name a schema: Refused.
    """

    def __init__(self, keys: Client, *, timeout_s: float | None = None, retries: int | None = None) -> None:
        """Take the client's own keys; `timeout_s` and `retries` override theirs.

        Raises: ConfigError if the client refuses its keys.
        """
        self.servers = servers(keys)
        self._where = ", ".join(self.servers)
        try:
            self._client = SchemaRegistryClient(_settings(keys, timeout_s, retries))
        except OSError as error:
            named = ", ".join(
                f"{key} = {keys[key]}" for key in keys if key.startswith("ssl.") and key.endswith(".location")
            )
            raise ConfigError(
                f"[schema_registry] a file that an `ssl.` key names cannot be read: {error.strerror} ({named})"
            ) from None
        except (ValueError, TypeError) as error:  # the client's own words name keys, never values
            raise ConfigError(f"[schema_registry] the client refuses its settings: {error}") from None

    def schema(self, schema_id: int) -> Stored | None:
        """Return the schema of an id, or None if the registry definitely does not have it."""
        found = self._ask(lambda: self._client.get_schema(schema_id))
        if found is None:
            return None
        if not found.schema_str:
            raise Unreachable(f"The schema registry at {self._where} answers without a schema.")
        return Stored(found.schema_str, found.schema_type or "AVRO", bool(found.references))

    def subjects(self, schema_id: int) -> frozenset[str]:
        """Return the subjects under which an id is registered; empty if there is no such id."""
        found = self._ask(lambda: self._client.get_schema_versions(schema_id))
        return frozenset(version.subject for version in found or () if version.subject)

    def lookup(self, subject: str, text: str) -> tuple[int, int] | None:
        """Return (id, version) of a schema under a subject, or None if it is not registered there."""
        found = self._ask(lambda: self._client.lookup_schema(subject, Schema(text, "AVRO")))
        return None if found is None or found.schema_id is None else (found.schema_id, found.version or 0)

    def versions(self, subject: str) -> list[str]:
        """Return the text of every version of a subject, oldest first; empty if there is no such subject."""
        texts = []
        for number in sorted(self._ask(lambda: self._client.get_versions(subject)) or ()):
            found = self._ask(partial(self._client.get_version, subject, number))
            if found is not None:
                texts.append(found.schema.schema_str or "")
        return texts

    def compatible(self, subject: str, text: str) -> bool:
        """Return whether the registry would take the schema as the subject's next version, by the subject's own rule.

        True if there is no such subject yet: the registry has nothing to compare with.
        """
        answer = self._ask(lambda: self._client.test_compatibility_all_versions(subject, Schema(text, "AVRO")))
        return answer is None or bool(answer)

    def compatibility(self, subject: str | None) -> str | None:
        """Return the rule that is set for the subject itself, or None; without a subject, the registry's default."""
        found = self._ask(lambda: self._client.get_compatibility(subject))
        return None if found is None else str(found)

    def set_compatibility(self, subject: str, level: str) -> None:
        """Set the subject's rule; the subject need not exist yet."""
        self._ask(lambda: self._client.set_compatibility(subject, level))

    def register(self, subject: str, text: str) -> None:
        """Register a schema as the subject's newest version; nothing happens if it is one of its versions already."""
        self._ask(lambda: self._client.register_schema(subject, Schema(text, "AVRO")))

    def _ask(self, call: Callable[[], _T]) -> _T | None:
        """Return the answer, or None where the registry says that there is no such thing."""
        try:
            return call()
        except SchemaRegistryError as error:
            status, code = error.http_status_code, error.error_code
            if status == 404 and code in _NOT_FOUND:
                return None
            if status in (409, 422):
                raise Refused(error.error_message or f"HTTP {status}, code {code}") from None
            raise Unreachable(
                f"The schema registry at {self._where} answers HTTP {status}, code {code}{_advice(status)}."
            ) from None
        except Exception as error:  # noqa: BLE001  whatever the transport raises, there was no answer
            raise Unreachable(
                f"The schema registry at {self._where} {_unanswered(error)}? See [schema_registry]."
            ) from None


def _settings(keys: Client, timeout_s: float | None, retries: int | None) -> dict[str, Any]:
    """Return the client's settings; credentials go from the URLs to their own key: the client logs and quotes URLs."""
    settings: dict[str, Any] = {**keys, "url": ",".join(_bare(url) for url in _urls(keys))}
    users = {_user(url) for url in _urls(keys)} - {None}
    if users:
        if len(users) > 1 or "basic.auth.user.info" in keys:
            raise ConfigError(
                "[schema_registry] has credentials in more than one place. Give them once: in `basic.auth.user.info`."
            )
        settings["basic.auth.user.info"] = users.pop()
    if timeout_s is not None:
        settings["timeout"] = timeout_s
    if retries is not None:
        settings["max.retries"] = retries
    return settings


def _urls(keys: Client) -> list[str]:
    urls = [url.strip().rstrip("/") for url in str(keys["url"]).split(",")]
    if not all(urlsplit(url).scheme in ("http", "https") and urlsplit(url).hostname for url in urls):
        raise ConfigError("[schema_registry] url: each address must begin with http:// or https:// and name a host.")
    return urls


def _bare(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower(), parts.path, parts.query, ""))


def _user(url: str) -> str | None:
    userinfo, at, _ = urlsplit(url).netloc.rpartition("@")
    return unquote(userinfo) if at else None


def _unanswered(error: BaseException) -> str:
    """Return why there was no answer, and what to look at."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"and this client do not agree on TLS ({cause.reason}). Is its certificate signed by what `ssl.ca.location` names"
        if isinstance(cause, json.JSONDecodeError):
            return "answers with something that is no JSON. Is this a schema registry's address, path included"
        cause = cause.__cause__ or cause.__context__
    return f"does not answer ({type(error).__name__}). Is it running, and reachable"


def _advice(status: int) -> str:
    if status in (401, 403):
        return ": it refuses the credentials in [schema_registry]"
    if status == 404:
        return ": no schema registry answers under this path; Confluent's API ends in no path, Apicurio's in /apis/ccompat/v7"
    if 300 <= status < 400:
        return ": it points elsewhere; give that address"
    if status == 429:
        return ": it asks for fewer requests; try again later"
    if status >= 500:
        return ": it has trouble, or what stands before it; see its log"
    return ""
