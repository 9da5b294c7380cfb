"""`[metrics]` in the configuration."""

from pathlib import Path

import pytest

from streams.config import Metrics, load
from streams.errors import ConfigError
from streams.slots import Slot
from tests.test_config import WHOLE, written


def test_nothing_is_served_unless_a_port_is_named(tmp_path: Path) -> None:
    """And then on this machine only, unless a host is named, too."""
    assert Metrics(host="127.0.0.1", port=None) == load(written(tmp_path, WHOLE)).metrics
    assert (
        Metrics(host="127.0.0.1", port=9_400) == load(written(tmp_path, f"{WHOLE}\n[metrics]\nport = 9400\n")).metrics
    )


def test_every_worker_of_a_host_must_find_a_port(tmp_path: Path) -> None:
    """256 workers take as many ports."""
    with pytest.raises(ConfigError, match=r"metrics\.port"):
        load(written(tmp_path, f"{WHOLE}\n[metrics]\nport = 65300\n"))


def test_a_worker_s_number_is_the_end_of_its_slot_s_name(tmp_path: Path) -> None:
    """The instance may be anything, a pod's name with numbers in it among others."""
    assert [0, 7, 123] == [Slot(tmp_path, name).number for name in ("rack7-00", "scorer-3-07", "a-123")]
