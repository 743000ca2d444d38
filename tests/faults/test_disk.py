"""A disk that fails, the power, a folder that is deleted: one line, nothing lost that was whole."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from compact_vit import files
from compact_vit.errors import Stopped
from compact_vit.train import epoch, objective, resume, save, train
from compact_vit.train.checkpoint import newest
from compact_vit.train.run import RunFolder

# --- a disk that fails once, at every call in turn


class Disk:
    """Counts what is asked of the file system under ``root``, and fails at call ``moment``."""

    def __init__(self, root: Path, moment: int, number: int) -> None:
        self.root, self.moment, self.number = root, moment, number
        self.calls = 0
        self.failed = ""

    def asked(self, what: str, path: object) -> None:
        if not os.fspath(path).startswith(str(self.root)):  # type: ignore[call-overload]
            return
        self.calls += 1
        if self.calls == self.moment:
            self.failed = what
            # as the system: it names the file where it was given the name
            name = () if what in ("write", "fsync") else (os.fspath(path),)
            raise OSError(self.number, os.strerror(self.number), *name)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Within, the run's files lie on this disk."""
        disk, opened = self, open

        def open_on_it(path: Path, mode: str, buffering: int = -1) -> Any:
            disk.asked("open", path)
            file = opened(path, mode, buffering=0)
            write = file.write

            def write_on_it(data: Any) -> int:
                try:
                    disk.asked("write", path)
                except OSError:
                    write(memoryview(data)[: len(data) // 2])
                    raise
                return write(data)

            wrapper = Written(file)
            wrapper.write = write_on_it
            return wrapper

        def at(owner: object, name: str) -> None:
            original = getattr(owner, name)

            def call(path: Any, *args: Any, **options: Any) -> Any:
                shown = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else path
                disk.asked(name, shown)
                return original(path, *args, **options)

            patch.setattr(owner, name, call)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(files, "open", open_on_it, raising=False)
            for owner, name in ((os, "fsync"), (os, "link"), (Path, "replace"), (Path, "mkdir")):
                at(owner, name)
            yield


class Written:
    """A file whose ``write`` can be another."""

    def __init__(self, file: io.RawIOBase) -> None:
        self.file = file

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here")


def whole_lines(log: Path) -> list[dict[str, Any]]:
    text = log.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@needs_proc
def test_a_disk_that_fails_at_every_call_in_turn(
    few, flags, tmp_path, answer, assert_same_run
) -> None:
    """Full, broken or read-only: a line that names the file, and the run goes on afterwards."""
    config = few()
    whole = train(config, output=tmp_path / "whole", quiet=True)
    refusals: list[str] = []
    for moment in range(1, 200):
        number = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT)[moment % 4]
        output = tmp_path / f"failed{moment}"
        disk = Disk(output, moment, number)
        with disk.used():
            said = answer("train", *flags(config), "--output", str(output), "--quiet")
        if not disk.failed:
            break
        if said.status == 2:
            assert os.strerror(number) in said.err
            assert str(output) in said.err
            assert ".tmp" not in said.err
            refusals.append(disk.failed)
        else:  # what a file system need not have
            assert said.status == 0
            assert disk.failed in ("link", "fsync")
        if output.exists():
            assert not list(output.glob("*.tmp"))
        if (output / "metrics.jsonl").exists():
            whole_lines(output / "metrics.jsonl")
        if (output / "last.pt").exists():
            newest(output / "last.pt")
        if (output / "config.json").exists():
            assert_same_run(whole, resume(output, quiet=True))
        else:
            train(config, output=output, quiet=True)
        shutil.rmtree(output)
    print(f"{len(refusals)} refusals in {moment - 1} failures")
    assert set(refusals) >= {"open", "write", "fsync", "replace", "mkdir"}
    assert len(refusals) > 20


# --- a power cut


class PowerCutError(Exception):
    """The machine is off."""


@needs_proc
def test_what_was_synced_is_enough_after_a_power_cut(
    few, tmp_path, monkeypatch, assert_same_run
) -> None:
    """Files keep what was last synced, and nothing else, at the end of every writing in turn."""
    config = few(epochs=3)
    whole = train(config, output=tmp_path / "whole", quiet=True)
    synced: dict[int, bytes] = {}
    fsync = os.fsync

    def noting(handle: int) -> None:
        fsync(handle)
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if path.is_file():
            synced[path.stat().st_ino] = path.read_bytes()

    def cut_after(owner: object, name: str, moment: int, patch: pytest.MonkeyPatch) -> None:
        original, calls = getattr(owner, name), []

        def call(*args: Any, **options: Any) -> None:
            original(*args, **options)
            calls.append(1)
            if len(calls) == moment:
                raise PowerCutError

        patch.setattr(owner, name, call)

    monkeypatch.setattr(os, "fsync", noting)
    moments = [(RunFolder, "append_metrics", n) for n in (1, 2, 3)]
    moments += [(save, "save_checkpoint", n) for n in (1, 2, 3, 4)]
    for number, (owner, name, moment) in enumerate(moments):
        output, left = tmp_path / f"cut{number}", tmp_path / f"left{number}"
        with pytest.MonkeyPatch.context() as patch:
            cut_after(owner, name, moment, patch)
            with pytest.raises(PowerCutError):
                train(config, output=output, quiet=True)
        left.mkdir()
        for path in output.iterdir():
            (left / path.name).write_bytes(synced.get(path.stat().st_ino, b""))
        assert_same_run(whole, resume(left, quiet=True))


# --- a folder that is deleted under the run

DELETED = {
    "in the first step": (epoch, "train_step", 1, "metrics.jsonl"),
    "in a later step": (epoch, "train_step", 4, "metrics.jsonl"),
    "in an evaluation": (objective, "evaluate_model", 2, "metrics.jsonl"),
    "before a checkpoint": (save, "save_checkpoint", 2, "last.pt"),
    "before the summary": (RunFolder, "write_json", 2, "summary.json"),
}


@pytest.mark.parametrize("when", DELETED)
def test_a_folder_deleted_under_the_run(few, flags, tmp_path, answer, once, when) -> None:
    owner, name, call, file = DELETED[when]
    run, other = tmp_path / "here" / "run", tmp_path / "here" / "other"
    other.mkdir(parents=True)
    (other / "last.pt").write_bytes(b"another run's")
    once(owner, name, call, lambda: shutil.rmtree(run))
    said = answer("train", *flags(few()), "--output", str(run), "--quiet")
    assert said.status == 2
    assert said.err == f"error: {run / file}: No such file or directory\n"
    assert not run.exists()
    assert (other / "last.pt").read_bytes() == b"another run's"


def test_a_folder_deleted_before_it_is_asked_to_stop(few, tmp_path, once) -> None:
    def act() -> None:
        shutil.rmtree(tmp_path / "run")
        os.kill(os.getpid(), signal.SIGTERM)

    once(epoch, "train_step", 2, act)
    with pytest.raises(FileNotFoundError) as caught:
        train(few(), output=tmp_path / "run", quiet=True)
    assert caught.value.filename == str(tmp_path / "run" / "last.pt")
    assert not isinstance(caught.value, Stopped)
