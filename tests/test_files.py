"""Files whole at every moment: what the system is asked, in which order, and what it may refuse."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compact_vit import files
from compact_vit.errors import UsageError
from compact_vit.files import append_line, check_is_file, lock, write_whole

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def refused(patch: pytest.MonkeyPatch, owner: object, name: str, error: OSError = FULL) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise error

    patch.setattr(owner, name, refuse)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_parts_are_joined_and_the_old_file_may_be_kept(tmp_path) -> None:
    path, old = tmp_path / "a", tmp_path / "b"
    write_whole(path, b"one", memoryview(b", two"), keep=old)  # there is nothing to keep
    assert names(tmp_path) == ["a"]
    write_whole(path, b"three", keep=old)
    write_whole(path, b"four")
    assert (path.read_bytes(), old.read_bytes()) == (b"four", b"one, two")
    write_whole(path, b"five", keep=old)
    assert (path.read_bytes(), old.read_bytes()) == (b"five", b"four")
    assert names(tmp_path) == ["a", "b"]


def test_the_file_is_synced_before_it_takes_its_name_and_the_folder_after(
    tmp_path, monkeypatch
) -> None:
    path = tmp_path / "a"
    asked: list[tuple[str, object]] = []
    fsync, replace, close = os.fsync, Path.replace, os.close

    def synced(handle: int) -> None:
        of = "folder" if os.path.samestat(os.fstat(handle), tmp_path.stat()) else "file"
        asked.append((f"sync {of}", os.fstat(handle).st_size if of == "file" else handle))
        fsync(handle)

    def renamed(self: Path, target: Path) -> Path:
        asked.append(("rename", target))
        return replace(self, target)

    def closed(handle: int) -> None:
        asked.append(("close", handle))
        close(handle)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "close", closed)
    monkeypatch.setattr(Path, "replace", renamed)
    write_whole(path, b"abc")
    handle = asked[2][1]
    assert asked == [
        ("sync file", 3), ("rename", path), ("sync folder", handle), ("close", handle)
    ]  # fmt: skip


@pytest.mark.parametrize(("owner", "name"), [(os, "fsync"), (Path, "replace")])
def test_what_cannot_be_written_is_named_and_leaves_all_as_it_was(tmp_path, owner, name) -> None:
    path = tmp_path / "a"
    write_whole(path, b"old")
    with pytest.MonkeyPatch.context() as patch:
        refused(patch, owner, name)
        with pytest.raises(OSError, match="No space left") as caught:
            write_whole(path, b"new")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert caught.value.__cause__ is FULL
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_an_error_without_a_number_keeps_its_words(tmp_path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        refused(patch, os, "fsync", OSError("the line is cut"))
        with pytest.raises(OSError, match="the line is cut") as caught:
            write_whole(tmp_path / "a", b"new")
    assert caught.value.filename == str(tmp_path / "a")


def test_a_folder_that_is_gone_is_what_is_told(tmp_path) -> None:
    path = tmp_path / "gone" / "a"
    for write in (lambda: write_whole(path, b"new"), lambda: append_line(path, "new")):
        with pytest.raises(FileNotFoundError) as caught:
            write()
        assert caught.value.filename == str(path)


@pytest.mark.parametrize("name", ["fsync", "open"])
def test_folders_need_not_be_synced(tmp_path, name) -> None:
    """As on systems that cannot: the file is there, and nothing is left open."""
    path = tmp_path / "a"
    original, closed = getattr(os, name), []

    def call(first: object, *args: object) -> object:
        if first == tmp_path or (isinstance(first, int) and not os.fstat(first).st_size == 3):
            raise OSError(errno.EINVAL, "not a file")
        return original(first, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, call)
        patch.setattr(os, "close", lambda handle, close=os.close: closed.append(close(handle)))
        write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert len(closed) == (name == "fsync")


def test_where_there_are_no_links_the_old_file_moves_aside(tmp_path) -> None:
    path, old = tmp_path / "a", tmp_path / "b"
    write_whole(path, b"one")
    (tmp_path / "a.old").write_bytes(b"of a process that was killed")
    with pytest.MonkeyPatch.context() as patch:
        refused(patch, os, "link")
        write_whole(path, b"two", keep=old)
    assert (path.read_bytes(), old.read_bytes()) == (b"two", b"one")
    assert names(tmp_path) == ["a", "b"]


def test_two_writers_at_once_are_not_in_each_others_way(tmp_path, monkeypatch) -> None:
    path, own = tmp_path / "a", tmp_path / "a.tmp"
    own.write_bytes(b"somebody's")
    sync = os.fsync

    def meanwhile(handle: int) -> None:
        monkeypatch.setattr(os, "fsync", sync)
        write_whole(path, b"the other's")
        assert path.read_bytes() == b"the other's"
        sync(handle)

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_whole(path, b"one's")
    assert path.read_bytes() == b"one's"
    assert own.read_bytes() == b"somebody's"
    assert names(tmp_path) == ["a", "a.tmp"]


@pytest.mark.parametrize("under", ["folder", "file/a", "nowhere/a"])
def test_what_cannot_become_a_file_is_refused(tmp_path, under) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    check_is_file(tmp_path / "folder" / "new" / "a")
    check_is_file(tmp_path / "file")
    with pytest.raises(UsageError, match=r"^output must be a f(ile|older), got "):
        check_is_file(tmp_path / under)


# --- lines


class Slow(io.FileIO):
    """A file that takes four bytes at a time."""

    def write(self, data) -> int:
        return super().write(memoryview(data)[:4])


class Full(Slow):
    """Takes four bytes, and no more."""

    def write(self, data) -> int:
        if len(data) < 7:
            raise FULL
        return super().write(data)


def test_lines_are_added_and_synced(tmp_path, monkeypatch) -> None:
    path, sizes = tmp_path / "log", []
    monkeypatch.setattr(os, "fsync", lambda handle: sizes.append(os.fstat(handle).st_size))
    append_line(path, "one")
    append_line(path, "zwei: ä")
    assert path.read_bytes() == "one\nzwei: ä\n".encode()
    assert sizes == [4, 13]


def test_a_line_is_added_whole_or_not_at_all(tmp_path, monkeypatch) -> None:
    path = tmp_path / "log"
    append_line(path, "one")
    with monkeypatch.context() as patch:
        patch.setattr(files, "open", lambda path, mode, buffering: Slow(path, mode), raising=False)
        append_line(path, "twenty")
    assert path.read_bytes() == b"one\ntwenty\n"
    for name, owner in (("open", files), ("fsync", os)):
        with monkeypatch.context() as patch:
            if name == "open":
                patch.setattr(
                    owner, name, lambda path, mode, buffering: Full(path, mode), raising=False
                )
            else:
                refused(patch, owner, name)
            with pytest.raises(OSError, match="No space left") as caught:
                append_line(path, "twenty-one")
        assert caught.value.filename == str(path)
        assert path.read_bytes() == b"one\ntwenty\n"


def test_a_lock_ends_with_the_last_process_that_holds_it(tmp_path) -> None:
    pytest.importorskip("fcntl")
    ours, others = (os.open(tmp_path, os.O_RDONLY) for _ in range(2))
    assert lock(ours)
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(ours,)
    )
    os.close(ours)
    assert not lock(others)
    child.kill()
    child.communicate()
    assert lock(others)
    os.close(others)
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP])
def test_without_locks_nobody_is_kept_out(tmp_path, monkeypatch, number) -> None:
    fcntl = pytest.importorskip("fcntl")
    with open(tmp_path / "a", "w") as file, open(tmp_path / "a") as other:
        assert lock(file.fileno())
        assert not lock(other.fileno())
        refused(monkeypatch, fcntl, "flock", OSError(number, os.strerror(number)))
        assert lock(other.fileno())
        monkeypatch.setitem(sys.modules, "fcntl", None)
        assert lock(other.fileno())
