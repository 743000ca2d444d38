"""Checkpoints: whole or not at all, read without running code, damage noticed."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import random
from pathlib import Path

import pytest
import torch

from compact_vit.errors import UsageError
from compact_vit.train.checkpoint import (
    load_checkpoint,
    newest,
    previous,
    save_checkpoint,
    unfit,
)


class Bomb:
    """Fails half-way through being saved."""

    def __reduce__(self):
        raise OSError("no space left")


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


class Killed(BaseException):
    """The process is gone."""


def failing(error: Exception):
    def fail(*args, **options):
        raise error

    return fail


def killed_at(moment: int, calls, original):
    """``original``, but the call number ``moment`` of all kills the process."""

    def call(*args, **options):
        if next(calls) == moment:
            raise Killed
        return original(*args, **options)

    return call


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message


def sealed(path: Path, content: object) -> None:
    """Save what no run saves, under a checksum that is right."""
    memory = io.BytesIO()
    torch.save(content, memory)
    seal = f"\ncompact_vit sha256 {hashlib.sha256(memory.getvalue()).hexdigest()}"
    path.write_bytes(memory.getvalue() + seal.encode())


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"weights": {"a": torch.arange(2000.0)}, "epoch": 3, "names": ["x"]})
    return path


def test_round_trip(saved) -> None:
    content = load_checkpoint(saved)
    assert torch.equal(content["weights"]["a"], torch.arange(2000.0))
    assert (content["epoch"], content["names"]) == (3, ["x"])
    assert [path.name for path in saved.parent.iterdir()] == ["last.pt"]


def test_a_save_that_fails_leaves_the_old_file_whole(saved) -> None:
    before = saved.read_bytes()
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(saved, {"weights": {"a": torch.zeros(5)}, "bomb": Bomb()})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == ["last.pt"]


def test_a_first_save_that_fails_leaves_nothing(tmp_path) -> None:
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(tmp_path / "last.pt", {"bomb": Bomb()})
    assert list(tmp_path.iterdir()) == []


def test_the_name_is_taken_only_when_all_is_written(saved, monkeypatch) -> None:
    """Whoever reads while a checkpoint is being written finds the old one."""
    seen = []
    before = saved.read_bytes()
    write = torch.save

    def watched(content: object, file: object) -> None:
        write(content, file)
        seen.append(saved.read_bytes())

    monkeypatch.setattr(torch, "save", watched)
    save_checkpoint(saved, {"epoch": 4})
    assert seen == [before]
    assert load_checkpoint(saved)["epoch"] == 4


def test_code_is_refused_and_not_run(tmp_path) -> None:
    target, path = tmp_path / "made_by_the_payload", tmp_path / "last.pt"
    torch.save({"format": 1, "weights": Payload(target)}, path)
    assert "damaged or not a checkpoint" in refusal(path)
    path.write_bytes(pickle.dumps(Payload(target)))
    assert "damaged or not a checkpoint" in refusal(path)
    save_checkpoint(path, {"weights": Payload(target)})  # the checksum is right
    assert "damaged or not a checkpoint" in refusal(path)
    assert not target.exists()


def test_missing(tmp_path) -> None:
    assert "no checkpoint at" in refusal(tmp_path / "last.pt")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_truncated(saved, share) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    assert "damaged or not a checkpoint" in refusal(saved)


def test_one_flipped_bit_is_noticed(saved) -> None:
    data = bytearray(saved.read_bytes())
    place = data.find(torch.arange(2000.0).numpy().tobytes()) + 4001
    assert place > 4001
    data[place] ^= 1
    saved.write_bytes(data)
    assert "damaged or not a checkpoint" in refusal(saved)


@pytest.mark.parametrize("content", [b"", b"hello, world\n", b"\x80\x02}q\x00.", b"\xff" * 4000])
def test_other_files(tmp_path, content) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    assert "damaged or not a checkpoint" in refusal(path)


@pytest.mark.parametrize("content", [{"weights": 1}, {"format": 99}, [1, 2], torch.zeros(3)])
def test_checkpoints_of_others(tmp_path, content) -> None:
    path = tmp_path / "last.pt"
    torch.save(content, path)
    assert "damaged or not a checkpoint" in refusal(path)


def test_a_checkpoint_of_another_version(tmp_path) -> None:
    save_checkpoint(tmp_path / "last.pt", {"format": 99, "weights": 1})
    assert "not a checkpoint of this version" in refusal(tmp_path / "last.pt")


@pytest.mark.parametrize(
    "content",
    [{"weights": 1}, {"format": "2"}, {"format": torch.tensor([2, 2])}, [2], torch.zeros(3)],
)
def test_other_contents_under_a_checksum_that_is_right(tmp_path, content) -> None:
    sealed(tmp_path / "last.pt", content)
    assert "not a checkpoint of this version" in refusal(tmp_path / "last.pt")


@pytest.mark.parametrize("epoch", [-1, 1.5, "1", None])
def test_an_epoch_that_is_none(tmp_path, epoch) -> None:
    save_checkpoint(tmp_path / "last.pt", {"epoch": epoch})
    said = f"is damaged: its epoch must be a whole number, got {epoch!r}"
    assert refusal(tmp_path / "last.pt").endswith(said)
    save_checkpoint(tmp_path / "last.pt", {"epoch": 0})
    assert load_checkpoint(tmp_path / "last.pt")["epoch"] == 0
    save_checkpoint(tmp_path / "last.pt", {"weights": 1})
    assert load_checkpoint(tmp_path / "last.pt")["weights"] == 1


def test_what_cannot_be_read_is_no_damage(tmp_path) -> None:
    with pytest.raises(OSError, match=r"directory|denied"):
        load_checkpoint(tmp_path)


def test_a_content_that_does_not_fit_is_told_in_one_line(tmp_path) -> None:
    error = RuntimeError("two errors:\n  unexpected b\n  size mismatch for a: " + "x" * 200)
    said = str(unfit(tmp_path / "last.pt", "cvt_2_8", error))
    mismatch = "size mismatch for a: " + "x" * 129
    assert said == f"'{tmp_path / 'last.pt'}' is not a checkpoint of cvt_2_8: {mismatch}"


def test_every_flip_and_every_truncation_is_noticed(saved) -> None:
    """600 bytes and 200 lengths at random, and all of the last hundred of both."""
    whole, draw = saved.read_bytes(), random.Random(0)
    end = len(whole)
    places = [*draw.sample(range(end - 100), 600), *range(end - 100, end)]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draw.randrange(8)
        saved.write_bytes(flipped)
        refusal(saved)
    for length in [*draw.sample(range(end - 100), 200), *range(end - 100, end)]:
        saved.write_bytes(whole[:length])
        refusal(saved)
    saved.write_bytes(whole)
    assert load_checkpoint(saved)["epoch"] == 3


def test_torch_reads_it_too(saved) -> None:
    """The checksum after the archive is in nobody's way."""
    assert torch.load(saved, weights_only=True)["epoch"] == 3


# --- the one before


def test_the_one_before_is_kept(saved) -> None:
    save_checkpoint(saved, {"epoch": 4}, keep=True)
    assert load_checkpoint(previous(saved))["epoch"] == 3
    assert load_checkpoint(saved)["epoch"] == 4
    save_checkpoint(saved, {"epoch": 5}, keep=True)
    assert load_checkpoint(previous(saved))["epoch"] == 4
    save_checkpoint(saved, {"epoch": 6})
    assert load_checkpoint(previous(saved))["epoch"] == 4
    names = {path.name for path in saved.parent.iterdir()}
    assert names == {"last.pt", "last.previous.pt"}


def test_a_damaged_one_falls_back_to_the_one_before(saved) -> None:
    assert newest(saved)[2] == ""
    save_checkpoint(saved, {"epoch": 4}, keep=True)
    saved.write_bytes(saved.read_bytes()[:-1])
    path, content, warning = newest(saved)
    assert (path, content["epoch"]) == (previous(saved), 3)
    assert warning == (
        f"warning: '{saved}' is damaged or not a checkpoint; "
        f"going on from the one before it, '{previous(saved)}'"
    )
    saved.unlink()
    assert newest(saved)[1]["epoch"] == 3
    previous(saved).write_bytes(b"")
    with pytest.raises(UsageError, match=r"last.previous.pt' is damaged"):
        newest(saved)
    previous(saved).unlink()
    with pytest.raises(UsageError, match=r"no checkpoint at '.*last.pt': give the folder of a run"):
        newest(saved)


@pytest.mark.parametrize("linked", [True, False])
def test_there_is_a_whole_one_at_every_moment(saved, monkeypatch, linked) -> None:
    """Killed at every call to the file system in turn: one of the two can always be read."""
    if not linked:  # as on a memory stick
        monkeypatch.setattr(os, "link", failing(OSError("no links here")))
    for moment in range(30):
        epoch = newest(saved)[1]["epoch"]
        with pytest.MonkeyPatch.context() as patch:
            calls = iter(range(100))
            for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "fsync"), (os, "link")):
                patch.setattr(owner, name, killed_at(moment, calls, getattr(owner, name)))
            try:
                save_checkpoint(saved, {"epoch": epoch + 1}, keep=True)
                finished = True
            except Killed:
                finished = False
        found = newest(saved)[1]["epoch"]
        assert found == epoch + 1 if finished else found in (epoch, epoch + 1)
        if finished:
            assert moment > 3
            return
    raise AssertionError("it never finished")
