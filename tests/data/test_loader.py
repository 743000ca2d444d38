"""The batch loader: every picture once an epoch, in an order that can be taken up again."""

from __future__ import annotations

import pytest
import torch

from compact_vit.data.loader import BatchLoader
from compact_vit.data.pictures import Pictures
from compact_vit.errors import UsageError


def numbered(count: int = 23) -> Pictures:
    """Pictures that show their number, which is also their label."""
    labels = torch.arange(count)
    return Pictures(labels.byte()[:, None, None, None].expand(-1, 3, 2, 2).contiguous(), labels)


def shuffled(seed: int = 0, drop_last: bool = False, prefetch: int | None = None) -> BatchLoader:
    return BatchLoader(
        numbered(),
        5,
        shuffle=True,
        generator=torch.Generator().manual_seed(seed),
        drop_last=drop_last,
        prefetch=prefetch,
    )


def epoch(loader: BatchLoader) -> list[list[int]]:
    return [labels.tolist() for _, labels in loader]


def flat(batches: list[list[int]]) -> list[int]:
    return [label for batch in batches for label in batch]


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (torch.rand(4, 3, 8, 8), torch.zeros(4).long(), "must be uint8 .* got torch.float32"),
        (torch.zeros(4, 3, 8, 8).byte(), torch.zeros(4).int(), "int64 .*, got .* torch.int32"),
        (torch.zeros(4, 3, 8, 8).byte(), torch.zeros(5).long(), "got 4 pictures and 5 labels"),
        (torch.zeros(4, 8, 8).byte(), torch.zeros(4).long(), r"got torch.uint8 \[4, 8, 8\] and"),
        (torch.zeros(4, 3, 8, 8).byte(), torch.zeros(4, 1).long(), r"int64 \[4, 1\]$"),
    ],
)
def test_pictures_that_are_none(images, labels, said):
    with pytest.raises(UsageError, match=said):
        Pictures(images, labels)


def test_in_order():
    loader = BatchLoader(numbered(7), 3, shuffle=False, generator=None)
    assert len(loader) == 3
    assert epoch(loader) == [[0, 1, 2], [3, 4, 5], [6]]
    assert epoch(loader) == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("prefetch", [None, 2])
def test_two_iterations_at_once_are_two_epochs(prefetch):
    loader = BatchLoader(numbered(10), 3, shuffle=False, generator=None, prefetch=prefetch)
    whole = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    pairs = [(a[1].tolist(), b[1].tolist()) for a, b in zip(loader, loader, strict=True)]
    assert pairs == [(batch, batch) for batch in whole]
    first, second = iter(loader), iter(loader)
    next(first)
    assert [labels.tolist() for _, labels in second] == whole
    assert [labels.tolist() for _, labels in first] == whole[1:]


def test_batches_are_pictures_with_their_labels():
    for images, labels in shuffled():
        assert images.dtype == torch.uint8
        assert images.shape == (len(labels), 3, 2, 2)
        assert labels.dtype == torch.int64
        assert torch.equal(images[:, 2, 1, 0].long(), labels)


def test_shuffled_epoch_holds_every_picture_once():
    loader = shuffled()
    one, two = epoch(loader), epoch(loader)
    assert [len(batch) for batch in one] == [5, 5, 5, 5, 3]
    assert sorted(flat(one)) == sorted(flat(two)) == list(range(23))
    assert one != two
    assert flat(one) != list(range(23))


def test_order_is_the_generators_permutation():
    loader, generator = shuffled(seed=4), torch.Generator().manual_seed(4)
    for _ in range(2):
        assert flat(epoch(loader)) == torch.randperm(23, generator=generator).tolist()


def test_drop_last():
    loader = shuffled(drop_last=True)
    batches = epoch(loader)
    assert len(loader) == len(batches) == 4
    assert all(len(batch) == 5 for batch in batches)
    assert len(set(flat(batches))) == 20
    assert flat(batches) != flat(epoch(loader))


@pytest.mark.parametrize("prefetch", [None, 0, 2, 9])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("stop", [0, 1, 2, 4])
def test_resumed_in_the_middle_of_an_epoch(stop, drop_last, prefetch):
    whole = shuffled(drop_last=drop_last)
    wanted = [epoch(whole) for _ in range(3)]

    first = shuffled(drop_last=drop_last, prefetch=prefetch)
    assert epoch(first) == wanted[0]
    batches = iter(first)
    seen = [next(batches)[1].tolist() for _ in range(stop)]
    state, random = first.state_dict(), first._generator.get_state()

    second = shuffled(seed=99, drop_last=drop_last, prefetch=prefetch)
    second.load_state_dict(state)
    second._generator.set_state(random)
    rest = epoch(second)
    assert seen + rest == wanted[1]
    assert epoch(second) == wanted[2]


def test_state_survives_a_checkpoint(tmp_path):
    loader = shuffled()
    next(iter(loader))
    torch.save(loader.state_dict(), tmp_path / "state.pt")
    other = shuffled(seed=1)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert len(flat(epoch(other))) == 18


def test_state_between_epochs_starts_a_new_one():
    loader = shuffled()
    epoch(loader)
    other = shuffled(seed=5)
    other.load_state_dict(loader.state_dict())
    assert epoch(other) == epoch(shuffled(seed=5))


@pytest.mark.parametrize("prefetch", [None, 3])
def test_state_after_the_last_batch_has_nothing_left(prefetch):
    loader = shuffled(prefetch=prefetch)
    for _ in loader:
        state = loader.state_dict()
    assert state["position"] == 23
    other = shuffled(seed=5)
    other.load_state_dict(state)
    assert epoch(other) == []
    assert epoch(other) == epoch(shuffled(seed=5))


@pytest.mark.parametrize("prefetch", [None, 3])
@pytest.mark.parametrize("resumed", [False, True])
def test_an_epoch_left_early_is_not_taken_up_unasked(resumed, prefetch):
    loader = shuffled(prefetch=prefetch)
    next(iter(loader))
    if resumed:
        loader.load_state_dict(loader.state_dict())
        next(iter(loader))
    assert sorted(flat(epoch(loader))) == list(range(23))


def test_state_of_another_data_set():
    state = shuffled().state_dict()
    loader = shuffled()
    iter(loader)
    state = loader.state_dict()
    other = BatchLoader(numbered(7), 3, shuffle=False, generator=None)
    with pytest.raises(UsageError, match=r"epoch of 23 pictures: the data set now has 7"):
        other.load_state_dict(state)


def test_wrong_batch_sizes():
    with pytest.raises(UsageError, match="wanted 1 or more, got 0"):
        BatchLoader(numbered(), 0, shuffle=False, generator=None)
    with pytest.raises(UsageError, match="wanted at most 23"):
        BatchLoader(numbered(), 24, shuffle=False, generator=None, drop_last=True)
    assert len(BatchLoader(numbered(), 24, shuffle=False, generator=None)) == 1


def test_shuffling_wants_a_generator():
    with pytest.raises(ValueError, match="generator"):
        BatchLoader(numbered(), 4, shuffle=True, generator=None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("prefetch", [None, 0, 1, 4])
@pytest.mark.parametrize("fits", [True, False])
def test_on_an_accelerator(fits, prefetch, monkeypatch):
    monkeypatch.setattr("compact_vit.data.loader._fits", lambda images, device: fits)
    labels = torch.arange(5003)
    images = labels.int().view(torch.uint8).view(-1, 4, 1, 1).expand(-1, -1, 40, 40).contiguous()
    loader, plain = (
        BatchLoader(
            Pictures(images, labels),
            128,
            shuffle=True,
            generator=torch.Generator().manual_seed(0),
            device=device,
            prefetch=ahead,
        )
        for device, ahead in (("cuda", prefetch), ("cpu", None))
    )
    waste = torch.ones(4096, 4096, device="cuda")
    for _ in range(2):
        for (images, labels), (wanted, numbers) in zip(loader, plain, strict=True):
            assert images.is_cuda
            assert labels.is_cuda
            waste = waste @ waste  # the device lags behind: pinned memory must not be reused yet
            assert torch.equal(images.cpu(), wanted)
            assert torch.equal(labels.cpu(), numbers)
