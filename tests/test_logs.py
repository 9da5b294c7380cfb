"""What log lines show, and what they do not."""

import pytest
import structlog

from streams.logs import to_stderr


def test_a_traceback_shows_where_and_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    """A worker's own fault is logged with its traceback; the settings of a client stand in the frames around it."""

    def connect(client: dict[str, str]) -> None:
        raise RuntimeError(f"{len(client)} keys")

    to_stderr()
    to_stderr()
    password = "-".join(("a", "canary"))
    try:
        connect({"sasl.password": password})
    except RuntimeError:
        structlog.get_logger().exception("worker stops", code=1)
    said = capsys.readouterr().err
    assert "canary" not in said
    assert "\x1b" not in said, "no colours where nobody looks"
    assert "in connect" in said
    assert "RuntimeError: 1 keys" in said
    assert "worker stops" in said
