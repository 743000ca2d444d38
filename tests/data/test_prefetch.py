"""Sets that stream: the same batches, made ahead by threads that end, in a bounded memory."""

from __future__ import annotations

import gc
import itertools
import mmap
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from compact_vit.data import loader as loading, prefetch as prefetching
from compact_vit.data.datasets import load_dataset
from compact_vit.data.loader import BatchLoader
from compact_vit.data.pictures import Pictures
from compact_vit.data.prefetch import announce, is_mapped, prefetch
from compact_vit.errors import UsageError

ROOT = Path(__file__).parents[2]
COUNT = 103


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.fixture
def pictures() -> Pictures:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (COUNT, 3, 8, 10), dtype=torch.uint8, generator=random)
    return Pictures(images, torch.arange(COUNT))


@pytest.fixture
def mapped(pictures, tmp_path) -> Pictures:
    """The same pictures in a file."""
    np.save(tmp_path / "pictures.npy", pictures.images.numpy())
    array = np.load(tmp_path / "pictures.npy", mmap_mode="c")
    return Pictures(torch.from_numpy(array), pictures.labels)


def loader(pictures: Pictures, prefetch: int | None, *, size: int = 10) -> BatchLoader:
    generator = torch.Generator().manual_seed(3)
    return BatchLoader(pictures, size, shuffle=True, generator=generator, prefetch=prefetch)


# --- the batches


@pytest.mark.parametrize("prefetch", [0, 1, 3, 50])
def test_the_same_batches_whatever_the_prefetch(pictures, mapped, prefetch):
    order = torch.Generator().manual_seed(3)
    for kind in (pictures, mapped):
        order.manual_seed(3)
        ahead = loader(kind, prefetch)
        for _ in range(2):
            rows = torch.randperm(COUNT, generator=order).split(10)
            for (images, labels), wanted in zip(ahead, rows, strict=True):
                assert torch.equal(labels, wanted)
                assert torch.equal(images, torch.stack([pictures.images[i] for i in wanted]))
        assert not threads()


def test_pictures_in_any_layout(pictures):
    channels_last = pictures.images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    every_other = torch.stack([pictures.labels, -pictures.labels], 1)[:, 0]
    one = loader(Pictures(channels_last, every_other), 2)
    for got, wanted in zip(one, loader(pictures, None), strict=True):
        assert torch.equal(got[0], wanted[0])
        assert torch.equal(got[1], wanted[1])


def test_only_what_was_handed_over_counts(pictures):
    ahead = loader(pictures, 4)
    batches = iter(ahead)
    for handed_over in range(1, 4):
        next(batches)
        assert ahead.state_dict()["position"] == 10 * handed_over


def test_wrong_prefetch(pictures):
    with pytest.raises(UsageError, match="prefetch: wanted 0 or more batches, got -1"):
        loader(pictures, -1)


# --- the threads


def test_results_come_in_order_and_so_many_ahead():
    jobs = iter(range(100))
    results = prefetch(lambda job: job * job, jobs, 3)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert next(jobs) == 5 + 3  # taken so far: those handed over, and three
    results.close()
    assert list(prefetch(str, range(2), 5)) == ["0", "1"]
    assert list(prefetch(str, [], 5)) == []


def test_they_are_made_side_by_side():
    together = threading.Barrier(3)
    assert list(prefetch(lambda job: together.wait(30) >= 0, range(6), 3)) == [True] * 6


def test_an_error_comes_where_its_result_would():
    def fail(job: int) -> int:
        if job == 4:
            raise OSError("the disk is gone")
        return job

    results = prefetch(fail, range(9), 3)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)
    assert not threads()


def test_an_error_of_the_loader_reaches_its_caller(pictures, monkeypatch):
    ahead = loader(pictures, 3)
    gathered = itertools.count()
    fill = ahead._fill

    def fail(job):
        if next(gathered) >= 4:
            raise MemoryError
        return fill(job)

    monkeypatch.setattr(ahead, "_fill", fail)
    with pytest.raises(MemoryError):
        list(ahead)
    assert ahead.state_dict()["position"] <= 40
    assert not threads()
    monkeypatch.undo()
    assert sorted(torch.cat([labels for _, labels in ahead]).tolist()) == list(range(COUNT))


@pytest.mark.parametrize("leave", ["break", "close", "drop", "raise"])
def test_an_epoch_left_early_leaves_no_thread(pictures, leave):
    batches = iter(loader(pictures, 3))
    next(batches)
    assert threads()
    if leave == "close":
        batches.close()
    elif leave == "break":
        for _ in batches:
            break
    elif leave == "raise":
        with pytest.raises(ZeroDivisionError):
            [1 / 0 for _ in batches]
    del batches
    gc.collect()
    assert not threads()


def test_the_interpreter_ends_in_the_middle_of_an_epoch():
    script = (
        "import torch; from compact_vit.data.loader import BatchLoader\n"
        "from compact_vit.data.pictures import Pictures\n"
        "images = torch.zeros(100, 3, 4, 4, dtype=torch.uint8)\n"
        "pictures = Pictures(images, torch.zeros(100, dtype=torch.int64))\n"
        "batches = iter(BatchLoader(pictures, 5, shuffle=False, generator=None, prefetch=3))\n"
        "next(batches); print('in the middle')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, timeout=60, check=True
    )
    assert (done.stdout.strip(), done.stderr) == (b"in the middle", b"")


def test_what_is_in_memory_takes_no_threads(pictures, mapped):
    for kind in (pictures, mapped):
        batches = iter(loader(kind, None))
        next(batches)
        assert not threads()


def test_a_file_over_half_of_the_memory_streams(pictures, mapped, monkeypatch):
    room = 2 * pictures.images.nbytes
    announced = []
    monkeypatch.setattr(loading, "announce", lambda images, rows: announced.append(rows))
    for kind, memory, asked, streams in (
        (mapped, room - 2, None, True),
        (mapped, room, None, False),
        (mapped, room, 3, True),
        (mapped, None, None, False),
        (pictures, room - 2, None, False),
    ):
        monkeypatch.setattr(prefetching, "machine_memory", lambda memory=memory: memory)
        announced.clear()
        batches = iter(loader(kind, asked))
        seen = [next(batches)[1]]
        assert bool(threads()) == streams
        seen += [labels for _, labels in batches]
        announced.sort(key=lambda rows: [torch.equal(rows, labels) for labels in seen].index(True))
        assert [rows.tolist() for rows in announced] == [
            labels.tolist() for labels in seen if streams and not asked
        ]


def test_a_part_of_a_file_that_does_not_fit_is_not_copied(pictures, mapped, monkeypatch):
    monkeypatch.setattr(prefetching, "machine_memory", lambda: pictures.images.nbytes)
    index = torch.randperm(COUNT, generator=torch.Generator().manual_seed(7))[:60]
    again = torch.arange(0, 60, 2)
    part, few = mapped.part(index), mapped.part(index).part(again)
    for held, rows in ((part, index), (few, index[again])):
        assert held.images.data_ptr() == mapped.images.data_ptr()
        assert len(held) == len(rows)
        assert torch.equal(held.at(torch.arange(len(rows))), pictures.images[rows])
        batches = loader(held, None)
        assert batches.memory()["resident"] == len(rows) * (8 + 8 + 8)
        for asked in (None, 0):
            seen = 0
            for images, labels in loader(held, asked):  # a label is its picture's number
                assert torch.equal(images, pictures.images[labels])
                seen += len(labels)
            assert seen == len(rows)
    monkeypatch.setattr(prefetching, "machine_memory", lambda: None)
    copied = mapped.part(index)
    assert copied.rows is None
    assert torch.equal(copied.images, pictures.images[index])
    on_hand = loader(part, None)  # what fits is gathered without threads
    assert all(torch.equal(images, pictures.images[labels]) for images, labels in on_hand)


# --- the memory


def test_what_lies_in_a_file(pictures, mapped, picture_folder):
    assert is_mapped(mapped.images)
    assert is_mapped(mapped.images[50:, 1])
    assert is_mapped(load_dataset("folder", data_dir=picture_folder).test.images)
    for other in (mapped.images.clone(), pictures.images, torch.empty(0), torch.zeros(1 << 22)):
        assert not is_mapped(other)
    assert not is_mapped(torch.zeros(1 << 20).share_memory_())
    assert not is_mapped(torch.empty(5, device="meta"))


def test_announced_are_the_pages_of_the_rows(mapped, monkeypatch):
    calls = []
    monkeypatch.setattr(prefetching, "_madvise", lambda: lambda *call: calls.append(call))
    rows = torch.tensor([COUNT - 1, 0, 17])
    announce(mapped.images, rows)
    for row, (address, length, advice) in zip(rows.tolist(), calls, strict=True):
        picture = mapped.images[row]
        assert address % mmap.PAGESIZE == 0
        assert 0 <= picture.data_ptr() - address < mmap.PAGESIZE
        assert address + length == picture.data_ptr() + 3 * 8 * 10
        assert advice == mmap.MADV_WILLNEED


def test_the_system_takes_announcements(mapped):
    madvise = prefetching._madvise()
    if madvise is None:
        pytest.skip("this system has no madvise")
    page = mapped.images.data_ptr() // mmap.PAGESIZE * mmap.PAGESIZE
    assert madvise(page, mapped.images.nbytes, mmap.MADV_WILLNEED) == 0
    announce(mapped.images, torch.arange(COUNT))


def test_memory_as_computed_by_hand(pictures, mapped):
    picture, label = 3 * 8 * 10, 8
    both = COUNT * (label + 8)  # labels and order
    assert loader(pictures, None).memory() == {
        "resident": COUNT * picture + both,
        "mapped": 0,
        "in_flight": 2 * 10 * (picture + label),
    }
    assert loader(mapped, 3).memory() == {
        "resident": both,
        "mapped": COUNT * picture,
        "in_flight": 5 * 10 * (picture + label),
    }
    assert loader(mapped, 0, size=500).memory()["in_flight"] == 2 * COUNT * (picture + label)


STREAM = """
import sys, torch, numpy as np
from compact_vit.data.loader import BatchLoader
from compact_vit.data.pictures import Pictures
def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))
images = torch.from_numpy(np.load(sys.argv[1], mmap_mode="c"))
labels = torch.arange(len(images))
def epoch(images):
    global peak
    loader = BatchLoader(Pictures(images, labels[:len(images)]), 50, shuffle=True,
                         generator=torch.Generator().manual_seed(0), prefetch=3)
    seen = 0
    for pictures, numbers in loader:
        assert torch.equal(pictures[:, 0, 0, :4].contiguous().view(torch.int32)[:, 0], numbers)
        seen += len(pictures)
        peak = max(peak, anonymous())
    assert seen == len(images)
    return loader.memory()
peak = 0
epoch(images[:500].clone())  # what importing and the first thread cost is not the loader's
before = peak = anonymous()
memory = epoch(images)
print(peak - before, memory["resident"] + memory["in_flight"], memory["mapped"])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_an_epoch_stays_within_the_memory_stated(tmp_path):
    path, count = tmp_path / "large.npy", 10_000
    shape = (count, 3, 64, 64)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    array[:, 0, 0, :4] = np.arange(count, dtype=np.int32).view(np.uint8).reshape(-1, 4)
    array.flush()
    done = subprocess.run(
        [sys.executable, "-c", STREAM, path], cwd=ROOT, capture_output=True, timeout=60, check=True
    )
    taken, stated, in_file = map(int, done.stdout.split())
    margin = 4 << 20  # what the heaps of three threads begin with
    assert in_file == count * 3 * 64 * 64 > 10 * (stated + margin)
    assert taken <= stated + margin


@pytest.mark.parametrize(("told", "memory"), [("1000000\n", 1_000_000), ("max\n", None)])
def test_a_container_may_have_less_memory_than_its_machine(tmp_path, monkeypatch, told, memory):
    (tmp_path / "memory.max").write_text(told)
    monkeypatch.setattr(prefetching, "_LIMITS", ())
    whole = prefetching.machine_memory()
    monkeypatch.setattr(prefetching, "_LIMITS", (tmp_path / "none", tmp_path / "memory.max"))
    assert prefetching.machine_memory() == (memory or whole)
