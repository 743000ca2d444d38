"""The bars of a picture of sizes are as long as the parts are large."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from compact_vit.errors import UsageError
from compact_vit.models.config import config_from_name
from compact_vit.plots import save_figure
from compact_vit.plots.sizes import plot_sizes
from compact_vit.plots.style import GRAY, PALETTE
from compact_vit.report.costs import costs_by_kind, summary_of

NAMES = ("cct_6_3x1", "cct_6_3x2", "vit_lite_2_4")
CONFIGS = [config_from_name(name) for name in NAMES]
MODELS = list(zip(NAMES, CONFIGS, strict=True))
# what a panel shows -> its title, its unit, and how many of it that is
PANELS = {
    "parameters": ("parameters", "millions", 1e6),
    "macs": ("MACs of one picture", "billions (10⁹)", 1e9),
    "activation_megabytes": ("activations of one picture", "MB", 1),
}


def test_bars() -> None:
    panels = plot_sizes(MODELS, "three models").axes
    for axes, (field, (title, unit, scale)) in zip(panels, PANELS.items(), strict=True):
        assert (axes.get_title(), axes.get_xlabel()) == (title, unit)
        lengths, ends = [{} for _ in MODELS], [0.0 for _ in MODELS]
        for bars in axes.containers:
            for i, bar in enumerate(bars):
                assert bar.get_x() == pytest.approx(ends[i])  # one begins where the other ends
                assert bar.get_y() + bar.get_height() / 2 == i
                ends[i] += bar.get_width()
                lengths[i][bars.get_label().lstrip("_")] = bar.get_width() * scale
        for length, end, config in zip(lengths, ends, CONFIGS, strict=True):
            costs = costs_by_kind(config)
            assert length == pytest.approx({k: getattr(c, field) for k, c in costs.items()})
            assert end * scale == pytest.approx(getattr(summary_of(config), field))
            assert end < axes.get_xlim()[1]
        low, high = axes.get_ylim()
        assert low > len(MODELS) - 1 > 0 > high  # the first is on top


def test_names_and_numbers() -> None:
    figure = plot_sizes(MODELS, "three models")
    assert figure.get_suptitle() == "three models"
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == ["cct_6_3x1\n256 tokens", "cct_6_3x2\n64 tokens", "vit_lite_2_4\n65 tokens"]
    texts = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    for shown, totals in zip(
        texts,
        (["3.23", "3.33", "0.215"], ["1.01", "0.253", "0.0153"], ["40.1", "6.97", "0.950"]),
        strict=True,
    ):
        assert shown[-3:] == totals
    # attention's products make 59% of what 3x1 keeps
    assert "59" in texts[2]


def test_every_kind_that_can_be_seen_is_in_the_key_in_a_colour_of_its_own() -> None:
    (key,) = plot_sizes(MODELS).legends
    kinds = [text.get_text() for text in key.get_texts()]
    assert kinds == [
        "tokenizer",
        "positions",
        "attention, linear maps",
        "attention, products",
        "MLP",
        "norms",
        "pooling",
    ]
    colours = [to_hex(patch.get_facecolor()) for patch in key.get_patches()]
    assert len(set(colours)) == len(colours)
    assert set(colours) <= {colour.lower() for colour in (*PALETTE, GRAY)}
    (key,) = plot_sizes([("large head", config_from_name("cvt_2_4", num_classes=1000))]).legends
    assert "head" in [text.get_text() for text in key.get_texts()]


@pytest.mark.parametrize("count", [1, 3, 9])
def test_nothing_overlaps(tmp_path, count) -> None:
    names = ["cct_14_7x2_384_sine_c100", *NAMES, "cvt_7_4", "cct_2_3x1", "vit_lite_8_16"] * 2
    models = [(name, config_from_name(name)) for name in names[:count]]
    figure = plot_sizes(models, "title")
    save_figure(figure, tmp_path / "sizes.png")
    renderer = FigureCanvasAgg(figure).get_renderer()
    whole, (key,) = figure.bbox, figure.legends
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes] + [
        key.get_window_extent(renderer)
    ]
    for i, box in enumerate(boxes):
        assert whole.x0 <= box.x0 < box.x1 <= whole.x1
        assert whole.y0 <= box.y0 < box.y1 <= whole.y1
        for other in boxes[:i]:
            assert not box.overlaps(other)
    for axes in figure.axes:  # the totals stay in their panels
        for text in axes.texts:
            assert text.get_window_extent(renderer).x1 <= axes.bbox.x1 + 1


def test_no_models() -> None:
    with pytest.raises(UsageError, match="needs at least one model"):
        plot_sizes([])
