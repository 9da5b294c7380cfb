"""The store of packages: whole or not at all, never changed, and only ordinary files."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.errors import ConfigError, SetupError
from streams.models import store
from streams.models.store import FileStore, Store, digest, open_store, read
from tests.models.small_packages import write

FILES = {"manifest.toml": b"name", "deep/er/model.txt": b"tree\n" * 1000}


def test_what_is_put_is_got(tmp_path: Path) -> None:
    """Files come back byte for byte, folders included."""
    kept: Store = FileStore(tmp_path / "not" / "there" / "yet")
    kept.put("d" * 64, FILES)
    kept.put("d" * 64, {"other": b""})
    assert FILES == kept.get("d" * 64)


def test_the_digest_is_of_paths_and_contents() -> None:
    """It is the documented sum; moving a byte from one file, or name, to the next changes it, and order does not."""
    parts = [b"deep/a", b"12", b"z", b""]
    summed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert hashlib.sha256(summed).digest() == digest({"z": b"", "deep/a": b"12"})
    assert digest({"a": b"1", "b": b"2"}) == digest({"b": b"2", "a": b"1"})
    alike = [{"a": b"1", "b": b"2"}, {"a": b"12", "b": b""}, {"a": b"", "b": b"12"}, {"ab": b"12"}, {"a": b"1b2"}]
    assert len(alike) == len({digest(files) for files in alike})


def test_a_name_stands_for_one_package_for_ever(tmp_path: Path) -> None:
    """Claiming again is no change; claiming for another is refused."""
    kept = FileStore(tmp_path)
    kept.claim("late", "1", "a" * 64)
    kept.claim("late", "1", "a" * 64)
    with pytest.raises(ConfigError, match="never changed"):
        kept.claim("late", "1", "b" * 64)
    assert "a" * 64 == kept.find("late", "1")


def test_of_many_who_claim_at_once_one_wins(tmp_path: Path) -> None:
    """Threads claim the same version for different packages: exactly one is told yes, and everybody reads that one."""
    for turn in range(20):
        kept, start = FileStore(tmp_path / str(turn)), threading.Barrier(4)
        won: list[str] = []

        def claim(digest: str, kept: FileStore, won: list[str], start: threading.Barrier) -> None:
            start.wait()
            try:
                kept.claim("late", "1", digest)
                won.append(digest)
            except ConfigError:
                return

        threads = [threading.Thread(target=claim, args=(c * 64, kept, won, start)) for c in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [kept.find("late", "1")] == won
        assert [] == list(kept.root.rglob(".new-*"))


def test_a_package_that_was_cut_off_is_not_there(tmp_path: Path) -> None:
    """A process that died while writing leaves its half beside the place, and the next one writes the whole."""
    kept = FileStore(tmp_path)
    write({"model.txt": b"tr"}, tmp_path / "packages" / ".new-0123456789abcdef")
    write({"digest": b"a"}, tmp_path / "names" / "late" / ".new-0123456789abcdef")
    with pytest.raises(ConfigError, match="Registered are: none"):
        kept.find("late", "1")
    kept.put("d" * 64, FILES)
    assert FILES == kept.get("d" * 64)


def test_what_is_not_registered_is_told_with_what_is(tmp_path: Path) -> None:
    """A typing error should be seen at once."""
    kept = FileStore(tmp_path)
    kept.claim("late", "1", "a" * 64)
    with pytest.raises(ConfigError, match=r"late 2 is not in file://.*Registered are: late 1\. See `streams models"):
        kept.find("late", "2")


@pytest.mark.parametrize(
    ("name", "version"), [("..", "1"), ("late", "../../x"), ("a/b", "1"), ("late", ""), ("é", "1")]
)
def test_names_do_not_lead_out_of_the_store(tmp_path: Path, name: str, version: str) -> None:
    """A name is one file name that every file system spells alike."""
    with pytest.raises(ConfigError, match="names and versions look like"):
        FileStore(tmp_path).find(name, version)


def test_a_damaged_entry_is_told(tmp_path: Path) -> None:
    """An entry that holds no digest is damage, not an unknown model."""
    write({"digest": b"../../etc"}, tmp_path / "names" / "late" / "1")
    with pytest.raises(SetupError, match="holds no digest"):
        FileStore(tmp_path).find("late", "1")


def test_a_store_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    """A file in the store's place, and a package that is gone."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SetupError, match="cannot write"):
        FileStore(tmp_path / "file").put("d" * 64, FILES)
    with pytest.raises(SetupError, match="No such file"):
        FileStore(tmp_path / "none").get("d" * 64)


def test_only_ordinary_files_are_packed(tmp_path: Path) -> None:
    """A link (to a file or a folder), a pipe, an odd name or a hidden file is refused by name."""
    (tmp_path / "outside").mkdir()
    makers: dict[str, Callable[[Path], object]] = {
        "link": lambda path: path.symlink_to(tmp_path / "outside" / "secret"),
        "folder": lambda path: path.symlink_to(tmp_path / "outside"),
        "pipe": os.mkfifo,
        "odd name": lambda path: path.write_bytes(b""),
        ".hidden": lambda path: path.write_bytes(b""),
        "über": lambda path: path.write_bytes(b""),
    }
    for name, make in makers.items():
        folder = write(FILES, tmp_path / f"with-{name}")
        make(folder / "deep" / name)
        with pytest.raises(ConfigError, match=f"deep/{name}"):
            read(folder)


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path) -> None:
    """It must not be left out of the package in silence."""
    with pytest.raises(ConfigError, match="none: No such file or directory"):
        read(tmp_path / "none")


def test_a_package_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bytes of all files together, and in files."""
    folder = write(FILES, tmp_path / "large")
    with monkeypatch.context() as patch:
        patch.setattr(store, "BYTES_MAX", 5_003)
        with pytest.raises(ConfigError, match="more than a package may be"):
            read(folder)
        patch.setattr(store, "BYTES_MAX", 5_004)
        patch.setattr(store, "FILES_MAX", 1)
        with pytest.raises(ConfigError, match="more than a package may be"):
            read(folder)
        patch.setattr(store, "FILES_MAX", 2)
        assert FILES == read(folder)


@pytest.mark.parametrize("url", ["s3://bucket/models", "/var/models", "file://host/models", "file:models", ""])
def test_other_stores_are_refused(url: str) -> None:
    """Only a folder that all workers share is supported so far, and the error says how to spell it."""
    with pytest.raises(ConfigError, match="only a folder"):
        open_store(url)


def test_opens_a_folder(tmp_path: Path) -> None:
    """A URL may be quoted; the store knows its own URL."""
    (tmp_path / "my models").mkdir()
    url = (tmp_path / "my models").as_uri()
    assert url == str(open_store(url))
    assert "%20" in url
