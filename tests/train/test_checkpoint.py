"""Checkpoints: whole or not at all, read without running code, damage noticed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from compact_vit.errors import UsageError
from compact_vit.train.checkpoint import load_checkpoint, save_checkpoint


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


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message


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
    assert "not a checkpoint of this version" in refusal(path)
