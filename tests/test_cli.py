"""The command line, in process: help with examples, errors in one paragraph, exit codes that mean something."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from streams import errors
from streams.cli import EXIT_CODES, main

COMMANDS = [
    "init", "dev up", "dev down", "dev status", "config show", "schemas check", "schemas register", "models register",
    "topics plan", "topics apply", "scorer run", "doctor", "verify", "metrics", "demo",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` says what it does; what takes a config shows an example."""
    assert 0 == main([*command.split(), "--help"])
    said = capsys.readouterr().out
    assert "Usage" in said
    if "--config" in said:
        assert f"Example: streams {command}" in " ".join(said.split())


def test_wrong_usage_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    """The parser's own message, and the conventional code."""
    assert 2 == main(["scorer", "run"])
    assert "--config" in capsys.readouterr().err
    assert 2 == main(["nonsense"])


def test_a_stop_is_one_paragraph_and_its_own_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback for what the world did."""
    for command in ("config show", "schemas check", "topics plan", "scorer run", "verify"):
        assert errors.ConfigError.code == main([*command.split(), "-c", str(tmp_path / "none.toml")])
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert "Traceback" not in said


def test_log_lines_follow_standard_error(tmp_path: Path) -> None:
    """A command that ran in this process leaves no logger behind that holds the stream of its time."""
    before, after = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(before):
        main(["scorer", "run", "-c", str(tmp_path / "none.toml")])
    before.close()
    with contextlib.redirect_stderr(after):
        structlog.get_logger().info("still heard")
    assert "still heard" in after.getvalue()


def test_a_broker_that_does_not_answer_is_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says which address, and what to look at."""
    from tests.test_config import WHOLE, written

    config = written(tmp_path, WHOLE.replace("127.0.0.1:9092", "127.0.0.1:9"))
    assert errors.Unreachable.code == main(["topics", "plan", "-c", str(config)])
    assert "127.0.0.1:9" in capsys.readouterr().err


def test_the_exit_codes_are_told_and_distinct() -> None:
    """Every stop has its own code, and the help lists it."""
    stops = [
        errors.ConfigError,
        errors.SetupError,
        errors.Unreachable,
        errors.OffsetsError,
        errors.SlotTaken,
        errors.OutcomeUnknown,
        errors.StateError,
        errors.Fenced,
    ]
    codes = [stop.code for stop in stops]
    assert len(set(codes)) == len(codes)
    assert all(f"{code} " in EXIT_CODES for code in codes)


def test_the_command_starts_quickly_and_imports_lazily() -> None:
    """Help needs no Kafka client, no model library and no data frame."""
    heavy = "{'confluent_kafka', 'lightgbm', 'numpy', 'polars', 'rocksdict'}"
    script = f"import sys; import streams.cli; print(sorted({heavy} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert "[]" == said.stdout.strip()


def test_the_version_names_the_client_too(capsys: pytest.CaptureFixture[str]) -> None:
    """What a bug report needs."""
    assert 0 == main(["--version"])
    assert "librdkafka" in capsys.readouterr().out
