"""What a run tells while it works: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from ..errors import tell
from ..plots.curves import WATCHED
from ..tables import duration


def _figures(loss: float, accuracy: float | None) -> str:
    """Loss and accuracy in percent, if there are answers to be right."""
    return f"loss {loss:.3f}" + ("" if accuracy is None else f" accuracy {accuracy:.2f}%")


class Progress:
    """Epoch and step bars on standard error if it is a terminal; else one line an epoch.

    With ``quiet`` nothing is shown.
    """

    def __init__(self, epochs: int, pictures: int, done: int = 0, quiet: bool = False) -> None:
        self.epochs, self.pictures, self.quiet = epochs, pictures, quiet
        self.started = self.shown = time.perf_counter()
        self.first = done
        self.bars = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._epoch_bar: Any = None
        self._step_bar: Any = None
        if self.bars:
            from tqdm import tqdm

            self._epoch_bar = tqdm(total=epochs, initial=done, desc="epochs", unit="epoch")

    def say(self, text: str) -> None:
        """A line that stays, above the bars."""
        if self.bars:
            self._epoch_bar.write(text, file=sys.stderr)
        elif not self.quiet:
            tell(text)

    def warn(self, text: str) -> None:
        """A line that is said even where nothing is shown."""
        if self.bars:
            self.say(text)
        else:
            tell(text)

    def start_epoch(self, epoch: int) -> None:
        if self.bars:
            from tqdm import tqdm

            self._step_bar = tqdm(
                total=self.pictures,
                desc=f"epoch {epoch}",
                unit=" pictures",
                unit_scale=True,
                leave=False,
            )

    def advance(self, pictures: int) -> None:
        if self._step_bar is not None:
            self._step_bar.update(pictures)

    def due(self) -> bool:
        """Whether it is time to ``show`` figures: twice a second in bars, else once a minute."""
        return time.perf_counter() - self.shown > (0.5 if self.bars else 60) and not self.quiet

    def show(self, loss: float, accuracy: float | None, pictures: int) -> None:
        """The epoch's figures after ``pictures`` pictures."""
        self.shown = time.perf_counter()
        figures = _figures(loss, accuracy)
        if self._step_bar is not None:
            self._step_bar.set_postfix_str(figures)
        else:
            self.say(f"  {pictures:,} of {self.pictures:,} pictures, {figures}")

    def end_epoch(self, row: dict[str, Any]) -> None:
        if self._step_bar is not None:
            self._step_bar.close()
            self._step_bar = None
        text = ", ".join(
            f"{split} {_figures(row[f'{split}_loss'], row.get(f'{split}_accuracy'))}"
            for split in ("train", *WATCHED)
            if f"{split}_loss" in row
        )
        epoch = row["epoch"]
        left = (time.perf_counter() - self.started) / (epoch - self.first) * (self.epochs - epoch)
        line = f"epoch {epoch}/{self.epochs}: {text}, {row['pictures_per_second']:,.0f} pictures/s"
        self.say(line if self.bars or epoch == self.epochs else f"{line}, {duration(left)} left")
        if self.bars:
            self._epoch_bar.update()

    def close(self) -> None:
        for bar in (self._step_bar, self._epoch_bar):
            if bar is not None:
                bar.close()
