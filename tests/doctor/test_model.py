"""What the doctor says of the model: whether what it sees is watched."""

import json
from pathlib import Path

from streams.doctor.checks import CHECKS, Case
from streams.models.packages import register
from streams.models.store import FileStore
from tests.models import small_packages
from tests.test_config import WHOLE, written

LABELS = """
[labels]
topic = "loans.labels"
contract = "label.avsc"
"""
NO_REFERENCE = small_packages.MANIFEST.replace('[reference]\nfile = "reference.json"', "")


def found(tmp_path: Path, text: str, toml: str = small_packages.MANIFEST, seconds: int = 200) -> tuple[str, str]:
    """Return what the check of a model says at last: its grade and its text.

    `toml`: the package's manifest; `seconds`: how long the four blocks of its reference are.
    """
    package = small_packages.files() | {"manifest.toml": toml.encode()}
    seen = json.loads(package["reference.json"])
    for at, block in enumerate(seen["blocks"]):
        block |= {"start_ms": at * seconds * 1_000, "end_ms": (at + 1) * seconds * 1_000}
    package["reference.json"] = json.dumps(seen).encode()
    config = written(tmp_path, text)
    register(small_packages.write(package, tmp_path / "package"), FileStore(tmp_path / "store"))
    (model,) = [check for check in CHECKS if check.name == "model"]
    first, *_, last = model.look(Case(config, None))
    assert "ok" == first.grade
    return last.grade, last.text


def test_features_that_are_watched(tmp_path: Path) -> None:
    """All of them, in windows as long as the reference's blocks."""
    said = "its 2 features are watched in windows of 1 h"
    assert ("ok", said) == found(tmp_path, WHOLE + LABELS, seconds=3_600)


def test_without_labels_nobody_watches(tmp_path: Path) -> None:
    """No trouble, and said."""
    said = "with a [labels] section and `streams monitor run`, its 2 features are watched in windows of 1 h"
    assert ("ok", said) == found(tmp_path, WHOLE, seconds=3_600)


def test_features_that_are_not_watched_are_a_warning(tmp_path: Path) -> None:
    """With the application's own windows, as the monitor has them: blocks that a window is several of are too few."""
    assert (
        "warn",
        "none of its 2 features is watched in windows of 1 h: the reference has 4 blocks of time, a window is as long as 2 of "
        "them, and 8 are needed; give `drift_tolerance` in the manifest",
    ) == found(tmp_path, WHOLE + LABELS, seconds=1_800)


def test_a_window_longer_than_the_whole_reference(tmp_path: Path) -> None:
    """Nothing to compare it with."""
    grade, said = found(tmp_path, WHOLE + LABELS)
    assert "warn" == grade
    assert "the reference has 4 blocks of time, a window is as long as 18 of them, and 72 are needed" in said


def test_some_features_that_are_not_watched_are_named(tmp_path: Path) -> None:
    """Those that the manifest speaks for are watched."""
    toml = small_packages.MANIFEST.replace('missing = "nan"', 'missing = "nan"\ndrift_tolerance = 0.25')
    grade, said = found(tmp_path, WHOLE + LABELS, toml, seconds=1_800)
    assert "warn" == grade
    assert said.startswith("1 of its 2 features are watched in windows of 1 h; not carrier: the reference has 4 blocks")


def test_windows_that_are_no_multiple_of_blocks(tmp_path: Path) -> None:
    """What to choose is said."""
    text = f"{WHOLE}{LABELS}[monitor]\ndrift_hours = 3\n"
    grade, said = found(tmp_path, text, seconds=7_200)
    assert "warn" == grade
    assert "windows of 3 h are no multiple of the reference's blocks of 2 h: choose [monitor] drift_hours" in said


def test_a_package_without_reference_is_a_note(tmp_path: Path) -> None:
    """Nothing is wrong, and what it means is said."""
    grade, said = found(tmp_path, WHOLE + LABELS, NO_REFERENCE)
    assert "ok" == grade
    assert "not watched: the package has no [reference]" in said
