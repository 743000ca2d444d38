"""One look for all pictures, and how they are written."""

from __future__ import annotations

import io
import os
import textwrap
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..files import check_is_file, write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

#: Okabe and Ito's colours, told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY, BLACK = PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
GRAY = "#666666"

#: Points, for a picture printed at its own width.
TITLE, LABEL, TICK, NOTE = 10.0, 9.0, 8.0, 7.0

#: Inches: the text width of a page, which most pictures take.
PAGE_WIDTH = 7.0
_DOTS_PER_INCH = 200
#: A letter is about so wide, as a share of its height.
LETTER = 0.6
#: Letters of a name in a legend, for which that width has room.
LEGEND_WIDTH = 80

#: Text in PDF that can be searched and edited, and files that depend on nothing but the picture.
_WRITING = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.hashsalt": "compact-vit"}
_DATES = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}


def check_picture(path: Path) -> None:
    """Refuse what cannot be a file, and an ending that is no picture's that can be written."""
    from matplotlib.figure import Figure

    kinds = Figure().canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in kinds:
        raise UsageError(f"output must end in .png, .pdf or .svg, got '{path}'")
    check_is_file(path)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write ``figure`` as the kind of picture that ``path`` ends in, whole or not at all.

    Makes the folders above it. The same figure gives the same bytes. Raises ``UsageError`` for
    other endings than a picture's.
    """
    from matplotlib import rc_context

    path = Path(path)
    check_picture(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.lower()
    drawn = io.BytesIO()
    with rc_context(_WRITING), warnings.catch_warnings():
        # a name in other letters than the font has is drawn with boxes, which says it
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(drawn, format=kind[1:], dpi=_DOTS_PER_INCH, metadata=_DATES.get(kind))
    write_whole(path, drawn.getbuffer())
    return path


def new_figure(width: float, height: float, title: str = "") -> Figure:
    """An empty figure of ``width`` by ``height`` inches that arranges itself."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    if title:
        figure.suptitle(wrapped(title, width), fontsize=TITLE)
    return figure


def label_axes(axes: Axes, x: str, y: str) -> None:
    """Name both axes, with their units, in the common sizes."""
    axes.set_xlabel(x, fontsize=LABEL)
    axes.set_ylabel(y, fontsize=LABEL)
    axes.tick_params(labelsize=TICK)


def open_axes(axes: Axes) -> None:
    """A light grid behind the data, and no frame at the top and the right."""
    axes.grid(alpha=0.3, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def log_ticks(axis: Any, low: float, high: float, *, integer: bool = False) -> None:
    """Plain numbers along a logarithmic axis that shows ``low`` to ``high``."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    narrow = high < 10 * low  # within a decade round numbers tell more than powers of ten
    axis.set_major_locator(
        MaxNLocator(6, steps=[1, 2, 5, 10], integer=integer, min_n_ticks=1)
        if narrow
        else LogLocator(subs=(1, 2, 5))
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def show_picture(axes: Axes, image: Tensor) -> None:
    """Draw ``uint8 [C, H, W]``, gray or RGB, without ticks and frame."""
    pixels = image.permute(1, 2, 0).numpy()  # [H, W, C]
    if pixels.shape[2] == 1:
        axes.imshow(pixels[..., 0], cmap="gray", vmin=0, vmax=255)
    else:
        axes.imshow(pixels)
    axes.set_axis_off()


def grid_of(count: int, columns: int) -> tuple[int, int]:
    """Rows and columns that hold ``count`` things, at most ``columns`` wide."""
    columns = max(1, min(count, columns))
    return -(-count // columns), columns


def legend_columns(names: Collection[str]) -> int:
    """How many columns a legend of ``names`` has below a picture of ``PAGE_WIDTH``."""
    return max(1, min(len(names), 90 // (10 + min(LEGEND_WIDTH, max(map(len, names))))))


def shortened(names: Sequence[str], length: int) -> list[str]:
    """``names`` as ``plain`` text of at most ``length`` characters, for where there is no room.

    The middle is left out, from where on different names stay different; where all ends are alike,
    the end is their number.
    """
    for head in range(length // 2, 0, -1):
        tail = length - 1 - head
        short = [n if len(n) <= length else f"{n[:head]}…{n[-tail:]}" for n in names]
        if all(len(set(map(f, short))) == len(set(map(f, names))) for f in (str, str.casefold)):
            return list(map(plain, short))
    ends = {name: f"…{i}" for i, name in enumerate(dict.fromkeys(names))}
    return [plain(n if len(n) <= length else n[: length - len(ends[n])] + ends[n]) for n in names]


def wrapped(title: str, width: float) -> str:
    """``title`` as ``plain`` text, on as many lines as ``width`` inches make it take."""
    return plain(textwrap.fill(title, max(12, int(width * 72 / (LETTER * TITLE)))))


def plain(text: str) -> str:
    """``text`` for matplotlib to draw as it is: a dollar in somebody's name begins no formula.

    What is no text, as bytes in the name of a folder, is escaped.
    """
    return text.encode(errors="backslashreplace").decode().replace("$", r"\$")
