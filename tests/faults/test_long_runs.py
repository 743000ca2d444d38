"""Long runs take no more than short ones, and their log can be read at any moment."""

from __future__ import annotations

import dataclasses
import importlib
import json
import threading
from pathlib import Path
from types import ModuleType

import pytest
import torch

from compact_vit.train import train
from compact_vit.train.run import RunFolder

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc here")


@pytest.fixture
def script(monkeypatch):
    """Import a file of ``benchmarks/`` by its name, in a process of one thread."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield importlib.import_module
    torch.set_num_threads(threads)


@needs_proc
def test_memory_and_files_over_150_epochs(script, tmp_path) -> None:
    """``benchmarks/long_run.py`` looks at 2,000 of them in the same way."""
    long_run: ModuleType = script("long_run")
    pictures = script("_tiny").draw_pictures(tmp_path / "pictures", long_run.SIDE, 4, 2)
    samples = long_run.watched(tmp_path / "run", pictures, 150, 25)
    assert [sample.epoch for sample in samples] == [25, 50, 75, 100, 125, 150]
    memory, files = long_run.grown(samples)
    assert memory < long_run.GROWTH
    assert files == 0
    assert samples[-1].threads == samples[0].threads


@needs_proc
def test_a_leak_is_seen(script, tmp_path, monkeypatch) -> None:
    long_run: ModuleType = script("long_run")
    kept, append = [], RunFolder.append_metrics

    def leaking(folder: RunFolder, row: dict[str, float]) -> None:
        append(folder, row)
        kept.append((folder.path / "config.json").open())

    monkeypatch.setattr(RunFolder, "append_metrics", leaking)
    pictures = script("_tiny").draw_pictures(tmp_path / "pictures", long_run.SIDE, 4, 2)
    samples = long_run.watched(tmp_path / "run", pictures, 20, 5)
    for file in kept:
        file.close()
    assert long_run.grown(samples)[1] == 15
    first, last = (
        dataclasses.replace(samples[0], epoch=e, memory=m) for e, m in ((5, 10), (9, 50))
    )
    assert long_run.grown([first, samples[1], last]) == (10.0, 0)
    before = long_run.resident()
    block = torch.ones(64 << 20, dtype=torch.uint8)  # the system hands it out anew
    assert long_run.resident() - before > len(block) // 2


def test_it_says_what_it_sees(script, capsys) -> None:
    long_run: ModuleType = script("long_run")
    assert long_run.main(["--epochs", "5"]) == 2
    assert "epochs must be at least 20" in capsys.readouterr().err


def test_the_log_is_whole_whenever_it_is_read(few, tmp_path) -> None:
    log, done = tmp_path / "run" / "metrics.jsonl", threading.Event()
    texts: list[str] = []

    def read() -> None:
        while not done.is_set():
            if log.exists():
                texts.append(log.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        train(few(epochs=20, batch_size=8), output=tmp_path / "run", quiet=True)
    finally:
        done.set()
        reader.join()
    lengths = []
    for text in dict.fromkeys(texts):
        rows = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
        lengths.append(len(rows))
    print(f"read {len(texts)} times, at {len(lengths)} lengths")
    assert lengths == sorted(lengths)
    assert len(lengths) > 10


def test_a_line_is_one_write(tmp_path, monkeypatch) -> None:
    """However long it is: what is buffered would come in parts."""
    sizes: list[int] = []
    row = {"epoch": 1, "classes": "x" * 100_000}

    class Counted:
        def __init__(self, path: Path, mode: str, buffering: int) -> None:
            self.file = open(path, mode, buffering)  # noqa: SIM115

        def __enter__(self):
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            sizes.append(len(data))
            return self.file.write(data)

        def __getattr__(self, name: str):
            return getattr(self.file, name)

    monkeypatch.setattr("compact_vit.files.open", Counted, raising=False)
    for _ in range(2):
        RunFolder(tmp_path).append_metrics(row)
    text = (tmp_path / "metrics.jsonl").read_text()
    assert sizes == [len(text) // 2] * 2
    assert [json.loads(line) for line in text.splitlines()] == [row, row]
