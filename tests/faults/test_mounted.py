"""Disks that are really full or read-only, and nowhere to print to: one line, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from compact_vit.train import epoch, resume, train
from compact_vit.train.checkpoint import load_checkpoint, previous


@pytest.fixture
def disk(tmp_path) -> Iterator[Callable[[str], Path]]:
    """Mount a disk in memory, or change how it is mounted, by ``mount -o``."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = []

    def mount(options: str) -> Path:
        again = ["-o", f"remount,{options}"] if mounted else ["-t", "tmpfs", "-o", options]
        command = ["mount", *again, "tmpfs", str(place)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError:
            pytest.skip("there is no mount here")
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        mounted.append(options)
        return place

    yield mount
    if mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(disk, few, flags, tmp_path, answer, assert_same_run) -> None:
    config = few(epochs=4)
    whole = train(config, output=tmp_path / "whole", quiet=True)
    size = (tmp_path / "whole" / "last.pt").stat().st_size
    run = disk(f"size={int(2.5 * size)}") / "run"  # a third checkpoint finds no room
    said = answer("train", *flags(config), "--output", str(run), "--quiet")
    assert said.status == 2
    assert f"error: {run}/last.pt: No space left on device; make room and try again" in said.err
    assert {path.name for path in run.iterdir()} == {
        "config.json", "metrics.jsonl", "last.pt", "last.previous.pt"
    }  # fmt: skip
    assert load_checkpoint(run / "last.pt")["epoch"] == 2
    assert load_checkpoint(previous(run / "last.pt"))["epoch"] == 1
    assert [json.loads(line)["epoch"] for line in (run / "metrics.jsonl").open()] == [1, 2, 3]
    assert "No space left" in answer("train", "--resume", str(run), "--quiet").err
    assert load_checkpoint(run / "last.pt")["epoch"] == 2
    disk(f"size={8 * size}")
    assert_same_run(whole, resume(run, quiet=True))


def test_a_full_disk_when_asked_to_stop(disk, few, tmp_path, once) -> None:
    """The save of an epoch under way fails: the checkpoint before it stays."""
    config = few(epochs=4)
    train(config, output=tmp_path / "whole", quiet=True)
    size = (tmp_path / "whole" / "last.pt").stat().st_size
    run = disk(f"size={int(2.5 * size)}") / "run"
    # the first step of the third epoch
    once(epoch, "train_step", 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(OSError, match="No space left") as caught:
        train(config, output=run, quiet=True)
    assert caught.value.filename == str(run / "last.pt")
    assert load_checkpoint(run / "last.pt")["epoch"] == 2


def test_a_full_disk_for_pictures_and_tables(disk, place, answer) -> None:
    full = disk("size=4k")
    (full / "filler").write_bytes(bytes(4096))
    for words in (
        f"evaluate run --device cpu --output {full}/confusion.png",
        f"plot curves run --output {full}/curves.png",
        f"score --published cifar10 --output {full}/table.txt",
        f"report cct_2_3x2 cvt_2_4 --plot {full}/sizes.png",
    ):
        said = answer(*words.split())
        assert said.status == 2
        assert "No space left on device" in said.err
        assert [path.name for path in full.iterdir()] == ["filler"]


def test_a_disk_that_is_read_only(disk, place, few, flags, answer) -> None:
    here = disk("size=64m")
    shutil.copytree("run", here / "run")
    disk("ro")
    before = {path.name: path.read_bytes() for path in (here / "run").iterdir()}
    run = here / "run"
    for words in (
        ["train", *flags(few()), "--output", f"{here}/other", "--quiet"],
        ["evaluate", str(run), "--device", "cpu"],
        ["plot", "curves", str(run)],
    ):
        said = answer(*words)
        assert said.status == 2
        assert "may not be written to: choose a folder that can be written to" in said.err
        assert str(here) in said.err
    assert answer("predict", str(run), "a.png", "--device", "cpu").status == 0
    assert answer("train", "--resume", str(run), "--quiet").status == 0  # it is finished
    assert answer("evaluate", str(run), "--device", "cpu", "--output", "c.png").status == 0
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_disk_that_becomes_read_only(disk, few, tmp_path, once, assert_same_run) -> None:
    config = few()
    whole = train(config, output=tmp_path / "whole", quiet=True)
    run = disk("size=64m") / "run"
    once(epoch, "train_step", 3, lambda: disk("ro"))
    with pytest.raises(OSError, match="Read-only") as caught:
        train(config, output=run, quiet=True)
    assert caught.value.filename == str(run / "metrics.jsonl")
    disk("rw")
    assert load_checkpoint(run / "last.pt")["epoch"] == 1
    assert_same_run(whole, resume(run, quiet=True))


# --- what commands are printed to


@pytest.mark.parametrize("target", ["/dev/full", None])
def test_where_nothing_can_be_printed(target) -> None:
    if target is not None and not Path(target).exists():
        pytest.skip(f"no {target} here")
    command = f"{sys.executable} -m compact_vit.report cct_2_3x2 cvt_2_4"
    command += " >&-" if target is None else f" > {target}"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, env=environment)
    if target is None:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 2
        assert done.stderr.startswith("error: standard output: No space left on device")
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("target", ["&-", "/dev/full"])
def test_where_no_error_can_be_printed(place, target, tmp_path) -> None:
    """Closed, as services start programs, or full: the status is right and the run is made."""
    if target != "&-" and not Path(target).exists():
        pytest.skip(f"no {target} here")

    def status(words: str) -> int:
        command = f"{sys.executable} -m compact_vit {words} 2>{target}"
        return subprocess.run(["sh", "-c", command], stdout=subprocess.DEVNULL).returncode

    assert status("report nowhere") == 2
    run = tmp_path / "silent"
    assert status(f"train --epochs 1 --train-pictures 100 --device cpu --output {run}") == 0
    assert (run / "summary.json").exists()


def test_a_current_folder_that_was_removed(tmp_path) -> None:
    (tmp_path / "gone").mkdir()
    command = (
        f"cd {tmp_path}/gone && rmdir ../gone && {sys.executable} -m compact_vit.report cvt_2_4"
    )
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: the current folder is no longer there: change to one that is\n"


def test_names_that_are_no_text(place, tmp_path) -> None:
    """A file name of any bytes is told, also to a terminal that shows text only."""
    name = os.fsdecode(b"\xff\xfe.png")
    shutil.copy("a.png", name)
    command = [sys.executable, "-m", "compact_vit.predict", "run", name, "--device", "cpu"]
    done = subprocess.run(
        command, capture_output=True, env=os.environ | {"PYTHONUTF8": "1", "LC_ALL": "C.UTF-8"}
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(rb"\udcff\udcfe.png")
