"""What is said of a registry that gives no answer: what it was instead, and what to look at."""

from pathlib import Path

import pytest

from streams.avro.registry_client import Refused, RegistryClient
from streams.errors import ConfigError, Unreachable
from tests.avro.fake_registry import FakeRegistry


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (200, "no JSON. Is this a schema registry's address, path included?"),
        (302, "give that address"),
        (401, "it refuses the credentials"),
        (404, "/apis/ccompat/v7"),
        (429, "try again later"),
        (500, "see its log"),
    ],
)
def test_an_answer_that_is_no_registry_s(status: int, words: str) -> None:
    """A page, another address, a proxy that is tired: each has its own advice."""
    with FakeRegistry() as fake:
        fake.broken = status
        with pytest.raises(Unreachable) as said:
            RegistryClient(fake.keys, retries=0).schema(1)
    assert words in str(said.value)
    assert fake.address in str(said.value)


def test_a_schema_that_the_registry_cannot_read_is_no_outage() -> None:
    """To ask for it is refused with the registry's words."""
    with FakeRegistry() as fake:
        fake.broken = 422
        with pytest.raises(Refused):
            RegistryClient(fake.keys, retries=0).lookup("loans-value", "{}")


def test_tls_where_there_is_none_is_said() -> None:
    with FakeRegistry() as fake, pytest.raises(Unreachable, match=r"do not agree on TLS.*ssl\.ca\.location"):
        RegistryClient({"url": f"https://{fake.address}"}, retries=0).schema(1)


def test_a_certificate_s_file_that_is_not_there_is_named_with_its_key(tmp_path: Path) -> None:
    missing = str(tmp_path / "ca.pem")
    with pytest.raises(ConfigError) as said:
        RegistryClient({"url": "https://127.0.0.1:9", "ssl.ca.location": missing})
    assert f"ssl.ca.location = {missing}" in str(said.value)
