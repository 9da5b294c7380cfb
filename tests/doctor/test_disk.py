"""The state directory, tried."""

import fcntl
from pathlib import Path

import pytest

from streams.doctor import disk
from streams.doctor.disk import try_disk
from streams.errors import SetupError, StateError


def test_a_folder_that_is_there_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    grade, check, text, code = try_disk(tmp_path)
    assert ("ok", "disk", 0) == (grade, check, code)
    assert text.startswith(f"{tmp_path} can be written and locked, ")
    assert [] == list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    """Whoever runs the doctor may be somebody else than the worker's user."""
    assert "can be made" in try_disk(tmp_path / "a" / "b").text
    assert [] == list(tmp_path.iterdir())


def test_what_cannot_be_written_is_a_state_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateError, match=r"app\.state_dir"):
        try_disk(tmp_path / "file" / "state")


def test_little_room_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "FREE_BYTES_MIN", 1 << 62)
    assert "warn" == try_disk(tmp_path).grade


def test_locks_that_do_not_lock_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on network file systems that take every lock and tell nobody."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    with pytest.raises(SetupError, match="do not lock"):
        try_disk(tmp_path)
