"""Damaged files of all kinds: an answer or one line, never a traceback, a hang or a stray write.

The damage is drawn from fixed seeds; each test says how many cases it tries.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from compact_vit.data.decoding import read_picture
from compact_vit.errors import UsageError
from compact_vit.train.checkpoint import _SEAL, load_checkpoint, save_checkpoint

#: Seconds that one answer may take: each needs a tenth.
PATIENCE = 30


# --- damage


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


#: Values that stand where others should.
ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 3, 2**31, 10**12, 10**400, 1.5, -0.0, 1e-320, 1e308,
    float("nan"), float("inf"), "", "x", "1", "\ud800", "a\0b", "../../mine.txt", "nowhere/x",
    "/dev/null", [], [1, 2, 3], ["a", None], {}, {"a": {}}, nested(60), "9" * 5000, "dogs\ncats",
)  # fmt: skip


def changed_bytes(data: bytes, draw: random.Random) -> bytes:
    """``data`` with one to three places changed, in one of seven ways each."""
    for _ in range(draw.randint(1, 3)):
        start = draw.randrange(len(data) + 1)
        end = min(len(data), start + draw.choice((1, 1, 2, 4, 16, 64)))
        piece = data[start:end]
        replaced = draw.choice((
            bytes(b ^ (1 << draw.randrange(8)) for b in piece),
            b"",
            bytes(len(piece)),
            b"\xff" * len(piece),
            draw.randbytes(len(piece)),
            piece + piece,
            piece + draw.choice((b"[", b"{", b'"', b"\n", b"-", b"9" * 40, b"\0", b"NaN", b"\\u")),
        ))  # fmt: skip
        data = data[:start] + replaced + data[end:]
        if draw.random() < 0.05:
            data = data[: draw.randrange(len(data) + 1)]
    return data


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container within ``value`` with every key or index of it, from the outside in."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    yield from ((value, key) for key in keys)
    for key in keys:
        if isinstance(value[key], (dict, list)) and value[key]:
            yield from places(value[key])


def changed_value(value: Any, draw: random.Random, odd: tuple[Any, ...] = ODD) -> Any:
    """``value`` with one place, outer ones more often, replaced, taken out or named otherwise."""
    value = copy.deepcopy(value)
    everywhere = list(places(value))
    where, key = everywhere[int(len(everywhere) * draw.random() ** 2)]
    act = draw.random()
    if act < 0.75:
        where[key] = copy.deepcopy(draw.choice(odd))
    elif act < 0.9 or not isinstance(where, dict):
        del where[key]
    else:
        where[f"{key}s"] = where.pop(key)
    return value


def sealed(payload: bytes) -> bytes:
    """``payload`` with the checksum that makes it a checkpoint's."""
    return payload + _SEAL + hashlib.sha256(payload).hexdigest().encode()


# --- answers


@pytest.fixture(autouse=True)
def nothing_drawn_nothing_fetched(monkeypatch) -> None:
    """Drawing takes ten times as long as all the rest; nobody is asked over the network."""
    from matplotlib.figure import Figure

    def refuse(*args: object) -> None:
        raise OSError("no network here")

    for name in (
        "plots.plot_confusion",
        "plots.plot_reliability",
        "plot.figures.draw_curves",
        "plot.figures.plot_schedule",
    ):
        monkeypatch.setattr(f"compact_vit.{name}", lambda *args, **options: Figure())
    monkeypatch.setattr("compact_vit.plots.save_figure", lambda figure, path: Path(path))
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def tried(place, answer, soon, surroundings) -> Callable[[str], None]:
    """Give the command; its status must be one of those that are promised, nothing else touched."""
    around = place.parent

    def trying(words: str) -> int:
        before = surroundings(around)
        with soon(PATIENCE):
            status = answer(*words.split()).status
        assert status in ((0, 2, 124) if "--time-limit" in words else (0, 2)), words
        assert surroundings(around) == before, words
        return status

    return trying


READERS = (
    "evaluate run --device cpu",
    "predict run a.png --device cpu",
    "train --resume run --quiet --time-limit 1s",
    "score --runs run",
    "plot curves run",
    "plot schedule run",
)


def fuzzed(place: Path, name: str, tried, damage, cases: int, readers=READERS) -> dict[int, int]:
    """``cases`` damages of ``run/name``, a reader each in turn; how often which status came."""
    whole = {path: path.read_bytes() for path in (place / "run").iterdir()}
    statuses: dict[int, int] = {}
    for case in range(cases):
        draw = random.Random(f"{name} {case}")
        (place / "run" / name).write_bytes(damage(whole[place / "run" / name], draw))
        words = readers[case % len(readers)]
        try:
            status = tried(words)
        except BaseException:
            print(f"case {case}: {words}\n{(place / 'run' / name).read_bytes()[:3000]!r}")
            raise
        statuses[status] = statuses.get(status, 0) + 1
        for path in (place / "run").iterdir():
            path.unlink()
        for path, content in whole.items():
            path.write_bytes(content)
    print(f"{cases} of {name}: {statuses}")
    return statuses


def changed_json(data: bytes, draw: random.Random) -> bytes:
    return json.dumps(changed_value(json.loads(data), draw)).encode()


def changed_line(data: bytes, draw: random.Random) -> bytes:
    """Lines of JSON with one of them changed, doubled, taken out or put elsewhere."""
    lines = data.splitlines()
    place = draw.randrange(len(lines))
    line = changed_json(lines[place], draw)
    act = draw.random()
    if act < 0.7:
        lines[place] = line
    elif act < 0.8:
        del lines[place]
    elif act < 0.9:
        lines.insert(place, lines[place])
    else:
        draw.shuffle(lines)
    return b"".join(line + b"\n" for line in lines)


@pytest.mark.parametrize("damage", [changed_bytes, changed_json])
def test_120_configurations(place, tried, damage) -> None:
    statuses = fuzzed(place, "config.json", tried, damage, 120)
    assert statuses[2] > 30


@pytest.mark.parametrize("damage", [changed_bytes, changed_line])
def test_60_logs(place, tried, damage) -> None:
    statuses = fuzzed(place, "metrics.jsonl", tried, damage, 60, (READERS[2], READERS[4]))
    assert statuses[2] > 20


@pytest.mark.parametrize("damage", [changed_bytes, changed_json])
def test_100_summaries(place, tried, damage) -> None:
    words = (
        "score --runs run",
        "train --resume run --quiet",
        "score --runs run --effective",
        "train --resume run --quiet --json",
    )
    statuses = fuzzed(place, "summary.json", tried, damage, 100, words)
    assert statuses[2] > 20


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"[" * 200_000, b'{"a":' * 200_000, b"9" * 100_000, b"\xff\xfe"]
)
@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "summary.json"])
def test_files_of_something_else(place, tried, name, content) -> None:
    (place / "run" / name).write_bytes(content)
    known = name == "metrics.jsonl" and len(content) > 100_000  # test_reported.py
    for words in READERS:
        if not (known and words == "plot curves run"):
            tried(words)


# --- checkpoints


def test_500_sealed_checkpoints_are_read_or_refused(place, soon) -> None:
    """As whoever knows how a seal is made would forge them: the content itself is damaged."""
    path = place / "run" / "last.pt"
    save_checkpoint(path, {"weights": {"a": torch.ones(3)}, "epoch": 1, "classes": ["a", "b"]})
    payload = path.read_bytes()[: -len(_SEAL) - 64]
    refused = 0
    for case in range(500):
        path.write_bytes(sealed(changed_bytes(payload, random.Random(case))))
        try:
            with soon(PATIENCE):
                content = load_checkpoint(path)
        except UsageError as refusal:
            assert "\n" not in str(refusal)  # noqa: PT017
            refused += 1
        else:
            assert isinstance(content, dict)
    print(f"{refused} of 500 refused")
    assert refused > 100


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_120_checkpoints_with_odd_values(place, tried, name) -> None:
    odd = tuple(v for v in ODD if v != 10**400)  # no pickle of this kind holds it

    def damage(data: bytes, draw: random.Random) -> bytes:
        content = torch.load(io.BytesIO(data), weights_only=True)
        save_checkpoint(place / "other.pt", changed_value(content, draw, odd))
        forged = (place / "other.pt").read_bytes()
        (place / "other.pt").unlink()
        return forged

    readers = READERS[:2] if name == "best.pt" else READERS[2:3]
    (place / "run" / "last.previous.pt").unlink()
    fuzzed(place, name, tried, damage, 120, readers)


class Payload:
    """Makes the file ``canary`` when it is unpickled."""

    def __reduce__(self):
        return (os.mkdir, ("canary",))


@pytest.mark.parametrize("words", READERS[:3])
def test_a_checkpoint_that_would_run_code_is_refused(place, tried, words) -> None:
    import pickle

    for name in ("last.pt", "best.pt", "last.previous.pt"):
        path = place / "run" / name
        memory = io.BytesIO()
        torch.save({"format": 2, "weights": Payload(), "epoch": 2}, memory)
        for content in (memory.getvalue(), pickle.dumps(Payload())):
            for forged in (content, sealed(content)):
                path.write_bytes(forged)
                tried(words)
                assert not (place / "canary").exists()
    assert tried(words) == 2
    pickle.loads(pickle.dumps(Payload()))  # it would have
    assert (place / "canary").exists()


# --- pictures

KINDS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")


@pytest.mark.parametrize("kind", KINDS)
def test_200_pictures_of_a_kind_are_read_or_refused(tmp_path, soon, kind) -> None:
    memory, path = io.BytesIO(), tmp_path / f"a.{kind.lower()}"
    pixels = np.random.default_rng(0).integers(0, 255, (12, 9, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(memory, kind)
    refused = 0
    for case in range(200):
        path.write_bytes(changed_bytes(memory.getvalue(), random.Random(case)))
        try:
            with soon(PATIENCE):
                pixels = read_picture(str(path), 8, 8)
        except UsageError as refusal:
            assert "\n" not in str(refusal)  # noqa: PT017
            refused += 1
        else:
            assert (pixels.shape, pixels.dtype) == ((8, 8, 3), np.uint8)
    print(f"{refused} of 200 refused")
    assert list(tmp_path.iterdir()) == [path]


def test_50_pictures_are_told_or_refused(place, tried) -> None:
    whole = (place / "a.png").read_bytes()
    for case in range(50):
        (place / "a.png").write_bytes(changed_bytes(whole, random.Random(case)))
        tried("predict run a.png --device cpu")
