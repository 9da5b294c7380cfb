"""The command line, in process: help with examples, errors in one paragraph, exit codes that mean something."""

import contextlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import structlog

from streams import errors
from streams.cli import EXIT_CODES, main
from streams.models import manifest
from streams.models.reference import measure
from streams.watching import told
from tests.models import small_packages
from tests.test_config import WHOLE, written

COMMANDS = [
    "init", "dev up", "dev down", "dev status", "config show", "schemas check", "schemas register", "models register",
    "topics plan", "topics apply", "scorer run", "doctor", "verify", "metrics", "demo", "drift show", "tickets list",
    "tickets show", "tickets deliver",
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
    config = written(tmp_path, WHOLE.replace("127.0.0.1:9092", "127.0.0.1:9"))
    assert errors.Unreachable.code == main(["topics", "plan", "-c", str(config)])
    assert "127.0.0.1:9" in capsys.readouterr().err


def registered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], package: Mapping[str, bytes], *how: str
) -> list[str]:
    """Return what `models register` says."""
    config, folder = written(tmp_path, WHOLE), small_packages.write(package, tmp_path / "package")
    assert 0 == main(["models", "register", str(folder), "-c", str(config), *how])
    return capsys.readouterr().out.splitlines()


def test_registering_says_what_is_watched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of each feature what it may differ, whether anything was stored or not; and that no risk is."""
    dry = registered(tmp_path, capsys, small_packages.files(), "--dry-run")
    first, head, carrier, delay, risk = registered(tmp_path, capsys, small_packages.files())
    assert dry == [first.replace("registered", "may be registered"), head, carrier, delay, risk]
    assert "in windows of 0.0555556 h; up to this PSI it is no drift:" in head
    assert re.fullmatch(r"  carrier  values 0\.\d+ +missing 0\.01 +unseen 0\.01", carrier), carrier
    assert re.fullmatch(r"  delay    values 0\.\d+ +missing 0\.\d+", delay), delay
    assert "note: how often it is wrong is not watched: [risk] in the manifest would say how often it may be" == risk


def test_registering_says_what_is_not_watched_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reference that is too short, what the manifest says by itself, a risk; and no reference at all."""
    package, toml = dict(small_packages.files()), small_packages.MANIFEST
    seen = json.loads(package["reference.json"])
    seen["blocks"] = seen["blocks"][:3]
    for feature in seen["features"]:
        feature["counts"] = feature["counts"][:3]
        feature["sums"] = feature["sums"] and feature["sums"][:3]
    package["reference.json"] = json.dumps(seen).encode()
    package["manifest.toml"] = (
        toml.replace('missing = "nan"', 'missing = "nan"\ndrift_tolerance = 0.25') + "[risk]\nallowed = 0.2\n"
    ).encode()
    few = "the reference has 3 blocks of time, and 4 are needed; give `drift_tolerance` in the manifest"
    assert [
        f"  carrier  not tested: {few}",
        f"  delay    values 0.25     missing not tested: {few}",
        "its error_rate may be 0.2; a ticket says when it is more",
    ] == registered(tmp_path, capsys, package)[2:]

    package["manifest.toml"] = toml.replace('[reference]\nfile = "reference.json"', "").replace('"1"', '"2"').encode()
    said = registered(tmp_path, capsys, package)
    assert 1 == sum("its features are not watched: the package has no [reference], so nobody" in line for line in said)
    assert not any("PSI" in line for line in said)


def test_of_many_features_only_some_are_told() -> None:
    """A line each would hide the rest."""
    names = [f"x{at}" for at in range(200)]
    features = [f'[[features]]\nname = "{name}"\nkind = "number"\n' for name in names]
    toml = re.sub(r"\[\[features.*(?=\[output\])", "".join(features), small_packages.MANIFEST, flags=re.DOTALL)
    about, chance = manifest.parse(toml.encode()), np.random.default_rng(0)
    matrix, hours = chance.normal(size=(800, 200)), np.arange(800) // 200 * 3_600_000
    _head, *lines, rest, _ = told(about, measure(about.columns, matrix, hours, block_ms=3_600_000))
    assert (20, "  … and 180 more") == (len(lines), rest)
    assert lines[19].startswith("  x19  values ")
    *_, rest, _ = told(about, measure(about.columns, matrix, hours, block_ms=4 * 3_600_000))
    assert "  … and 180 more, 180 of them not tested" == rest


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
