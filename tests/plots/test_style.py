"""How pictures are written, and the ticks of a logarithmic axis."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
from matplotlib.figure import Figure

from compact_vit.errors import UsageError
from compact_vit.plots import check_picture, save_figure
from compact_vit.plots.style import grid_of, log_ticks, new_figure, plain, shortened


def drawn() -> Figure:
    figure = Figure()
    figure.subplots().plot([1, 2, 3], label="a line")
    figure.axes[0].legend()
    return figure


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml"), ("A.PNG", b"\x89PNG")],
)
def test_kinds_of_files(tmp_path, name, start) -> None:
    path = tmp_path / "new" / "folder" / name
    check_picture(path)
    assert save_figure(drawn(), path) == path
    first = path.read_bytes()
    assert first.startswith(start)
    assert [entry.name for entry in path.parent.iterdir()] == [name]
    save_figure(drawn(), str(path))
    assert path.read_bytes() == first


def test_text_in_a_pdf_is_text(tmp_path) -> None:
    path = save_figure(drawn(), tmp_path / "a.pdf")
    assert b"/TrueType" in path.read_bytes() or b"/CIDFontType2" in path.read_bytes()
    assert b"/Type3" not in path.read_bytes()


@pytest.mark.parametrize("name", ["a.png", "a.pdf", "a.svg"])
def test_a_name_that_the_font_has_no_letters_for(tmp_path, name) -> None:
    """It is drawn as boxes, without a line of warning; other warnings are still heard."""
    figure = drawn()
    figure.axes[0].set_title("horse \N{HORSE} \N{CJK UNIFIED IDEOGRAPH-99AC}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(figure, tmp_path / name)
    figure.savefig = lambda *args, **options: warnings.warn("heard", stacklevel=1)
    with pytest.warns(UserWarning, match="heard"):
        save_figure(figure, tmp_path / name)


@pytest.mark.parametrize("name", ["matrix", "matrix.doc", "matrix.png.txt", ".png"])
def test_other_kinds_are_refused(tmp_path, name) -> None:
    for refuse in (check_picture, lambda path: save_figure(drawn(), path)):
        with pytest.raises(UsageError, match=r"output must end in \.png, \.pdf or \.svg, got"):
            refuse(tmp_path / "new" / name)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_fails_leaves_the_old_one(tmp_path) -> None:
    path = save_figure(drawn(), tmp_path / "a.png")
    before = path.read_bytes()
    broken = drawn()
    broken.axes[0].set_title("$\\notmath$")  # found out only when it is written
    with pytest.raises(ValueError, match="notmath"):
        save_figure(broken, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(1, 200, {1, 2, 5, 10, 20, 50, 100, 200}), (1, 6, {1, 2, 3, 4, 5, 6}), (1, 2, {1, 2})],
)
def test_log_ticks_are_plain_numbers(low, high, wanted) -> None:
    axes = Figure().subplots()
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    log_ticks(axes.xaxis, low, high, integer=True)
    ticks = {float(t) for t in axes.get_xticks() if low <= t <= high}
    assert ticks == wanted
    said = [label.get_text() for label in axes.get_xticklabels()]
    assert set(map(float, said)) >= wanted
    assert not any("$" in text for text in said)
    assert not any(label.get_text() for label in axes.get_xticklabels(minor=True))


def test_grids_and_short_names() -> None:
    assert [grid_of(n, 6) for n in (1, 5, 6, 7, 24)] == [(1, 1), (1, 5), (1, 6), (2, 6), (4, 6)]
    assert shortened(["cat", "caterpillar"], 5) == ["cat", "ca…ar"]


def test_a_dollar_is_a_dollar(tmp_path) -> None:
    names = shortened(["US$ and $\\frac{"], 40)
    figure = new_figure(4, 3, "$a_{b$ on $ c")
    figure.subplots().set_title(names[0])
    save_figure(figure, tmp_path / "a.svg")
    assert plain("$5") == r"\$5"


@pytest.mark.parametrize("width", [2.5, 4.0, 7.0])
def test_a_long_title_stays_inside(width) -> None:
    words = "vit_lite_7_4 on fashion_mnist, test, epoch 310: 24 surest of 1,234 mistakes in 10,000"
    figure = new_figure(width, 3, words)
    figure.subplots()
    figure.draw_without_rendering()
    assert figure.get_suptitle().replace("\n", " ") == words
    (title,) = figure.texts
    box = title.get_window_extent()
    assert figure.bbox.containsx(box.x0)
    assert figure.bbox.containsx(box.x1)


def test_importing_the_package_imports_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, compact_vit.plots as p\n"
        "assert 'plot_curves' in dir(p)\n"
        "sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_drawing_leaves_pyplot_alone() -> None:
    code = (
        "import sys\nfrom compact_vit.plots import plot_schedule\n"
        "plot_schedule([0, 1], [1, 0])\nsys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


TOMATOES = ["Tomato___Tomato_Yellow_Leaf_Curl_Virus", "Tomato___Tomato_mosaic_virus"]


@pytest.mark.parametrize("length", [12, 14, 24])
def test_short_names_are_told_apart(length) -> None:
    alike = [f"{'a' * 40}{i}{'b' * 40}" for i in range(30)]
    for names in (TOMATOES, ["healthy", *TOMATOES], alike, [*alike, "Aaaa"], ["x" * 30, "X" * 30]):
        short = shortened([*names, names[-1]], length)
        assert len({*short}) == len({*names})
        assert short[-1] == short[-2]
        for name, label in zip(names, short, strict=False):
            assert len(label) == min(length, len(name))
            assert label[: length // 4] == name[: length // 4]
    first, second = (label.casefold() for label in shortened(TOMATOES, length))
    assert first != second  # a capital alone is overlooked
    assert first.endswith("virus")
    assert second.endswith("virus")
