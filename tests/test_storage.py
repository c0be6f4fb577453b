"""Files on disk: replaced whole or not at all, with the permissions that their owner gave them."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from textvae.errors import RunError
from textvae.storage import alone_in, append_line, write_atomically


def full_disk(handle: int) -> None:
    raise OSError(28, "No space left on device")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def private() -> Iterator[None]:
    """What is made is the user's alone."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("private")
def test_a_new_file_has_the_permissions_that_the_mask_allows(tmp_path: Path) -> None:
    write_atomically(tmp_path / "deep" / "new", b"mine")
    assert (tmp_path / "deep" / "new").read_bytes() == b"mine" and mode(tmp_path / "deep" / "new") == 0o600


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    for permissions in (0o600, 0o664):
        (tmp_path / "old").write_bytes(b"old")
        (tmp_path / "old").chmod(permissions)
        write_atomically(tmp_path / "old", b"new")
        assert (tmp_path / "old").read_bytes() == b"new" and mode(tmp_path / "old") == permissions


def test_on_a_full_disk_all_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    append_line(path, "first")
    monkeypatch.setattr(os, "fsync", full_disk)
    for write in (lambda: write_atomically(path, b"other"), lambda: append_line(path, "second")):
        with pytest.raises(RunError, match="the disk is full; what stood there before is untouched"):
            write()
    assert path.read_text() == "first\n" and list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    append_line(path, "second")
    assert path.read_text() == "first\nsecond\n"


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".npy")
    write_atomically(path, b"mine")
    assert [one.read_bytes() for one in tmp_path.iterdir()] == [b"mine"]


def test_one_process_alone_writes_into_a_folder(tmp_path: Path) -> None:
    """What one that was killed has left half-written goes, and what others have put there stays."""
    folder = tmp_path / "deep" / "run"
    with alone_in(folder, ["weights.bin"]):
        with (
            pytest.raises(RunError, match=r"another process is at work in .*run: wait for it, or choose another folder"),
            alone_in(folder, []),
        ):
            pass
        for name in (".weights.bin.0123abcd", ".other.bin.0123abcd", ".weights.bin.mine", "weights.bin"):
            (folder / name).touch()
    with alone_in(folder, ["weights.bin"]):
        assert sorted(path.name for path in folder.iterdir()) == [".other.bin.0123abcd", ".weights.bin.mine", "weights.bin"]
    with alone_in(tmp_path / "empty", []):
        pass
    assert not (tmp_path / "empty").exists()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"), alone_in(tmp_path / "file" / "run", []):
        pass


def test_on_a_disk_without_locks_nothing_of_others_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unable(handle: int, operation: int) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", unable)
    with alone_in(tmp_path / "run", ["weights.bin"]):
        (tmp_path / "run" / ".weights.bin.0123abcd").touch()
        with alone_in(tmp_path / "run", ["weights.bin"]):
            assert (tmp_path / "run" / ".weights.bin.0123abcd").exists()
