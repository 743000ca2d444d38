"""Grids of pictures: samples of an augmentation, and mistakes."""

from __future__ import annotations

import pytest
import torch

from compact_vit.errors import UsageError
from compact_vit.plots import plot_errors, plot_samples


def pictures(count: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    size = (count, channels, 6, 8)
    return torch.randint(256, size, generator=generator, dtype=torch.uint8)


def shown(axes) -> torch.Tensor:
    """The pixels that are drawn, ``[H, W, C]`` or ``[H, W]``."""
    (image,) = axes.images
    return torch.as_tensor(image.get_array().data)


@pytest.mark.parametrize("channels", [1, 3])
def test_samples_stand_below_their_originals(channels) -> None:
    originals, draws = pictures(3, channels), [pictures(3, channels) // k for k in (2, 3)]
    figure = plot_samples(originals, draws, ["cat", "dog", "a_very_long_name"], "quick")
    assert figure.get_suptitle() == "quick"
    panels = figure.axes
    assert len(panels) == 9
    for row, images in enumerate((originals, *draws)):
        for axes, image in zip(panels[3 * row : 3 * row + 3], images, strict=True):
            wanted = image.permute(1, 2, 0) if channels == 3 else image[0]
            assert torch.equal(shown(axes), wanted)
            assert axes.images[0].get_clim() == (0, 255) or channels == 3
    assert [axes.get_title() for axes in panels[:3]] == ["cat", "dog", "a_very…_name"]
    said = [axes.texts[0].get_text() for axes in panels[::3]]
    assert said == ["original", "draw 1", "draw 2"]
    with pytest.raises(UsageError, match="at least one picture"):
        plot_samples(originals[:0], [], [])


def test_the_surest_mistakes_come_first() -> None:
    images, labels = pictures(6), torch.tensor([0, 1, 2, 0, 1, 2])
    said = torch.tensor([0, 2, 1, 1, 1, 0])  # wrong: 1, 2, 3 and 5
    sure = torch.tensor([0.99, 0.5, 0.8, 0.61239, 0.9, 0.4])
    probabilities = ((1 - sure) / 2)[:, None].expand(6, 3).scatter(1, said[:, None], sure[:, None])
    figure = plot_errors(images, labels, probabilities, ["cat", "dog", "eel"], "cct_2", count=3)
    assert figure.get_suptitle() == "cct_2: 3 surest of 4 mistakes in 6 pictures"
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in drawn] == [
        "dog 80.0%\ntrue: eel",
        "dog 61.2%\ntrue: cat",
        "eel 50.0%\ntrue: dog",
    ]
    for axes, i in zip(drawn, (2, 3, 1), strict=True):
        assert torch.equal(shown(axes), images[i].permute(1, 2, 0))


def test_fewer_mistakes_than_asked_for() -> None:
    images, labels = pictures(9), torch.zeros(9, dtype=torch.long)
    probabilities = torch.tensor([[0.3, 0.7]]).expand(9, 2)
    figure = plot_errors(images, labels, probabilities, ["a", "b"])
    assert sum(bool(axes.images) for axes in figure.axes) == 9
    assert not any(axes.axison for axes in figure.axes)  # the empty fields show nothing
    with pytest.raises(UsageError, match="no mistakes to show: all 9 pictures are right"):
        plot_errors(images, labels + 1, probabilities, ["a", "b"])
    with pytest.raises(UsageError, match=r"count must be .* at least 1, got 0"):
        plot_errors(images, labels, probabilities, ["a", "b"], count=0)


def test_titles_of_neighbours_do_not_touch() -> None:
    names = ["caterpillar_of_a_long_name", "aquarium_fish_of_a_long_name"]
    labels = torch.zeros(12, dtype=torch.long)
    figure = plot_errors(pictures(12), labels, torch.tensor([[0.0, 1.0]]).expand(12, 2), names)
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes]
    for i, box in enumerate(boxes):
        others = [axes.get_window_extent() for axes in figure.axes]
        assert not any(box.overlaps(other) for other in boxes[:i] + others)
