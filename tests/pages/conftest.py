"""A page of a made-up run, and a parser that refuses what is not balanced HTML."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from compact_vit.models.config import config_from_name
from compact_vit.pages import Sample, page_of_run
from compact_vit.published import published_results
from compact_vit.ranking import from_published, from_summary, ranked
from compact_vit.report import costs_by_kind

#: names that would be markup
WILD = ("<script>alert(1)</script>", "\"&'", "</style><b>", "-->", "{{ 7 * 7 }}", "plain")
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9Q"
    "DwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Parsed(HTMLParser):
    """The elements, attributes and words of a page whose tags are balanced."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.cells: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes), (tag, attributes)
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, tag

    def handle_data(self, text: str) -> None:
        self.words.append(text)
        if self.cells and self.open and set(self.open) & {"td", "th"}:
            self.cells[-1] += text

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def parsed() -> Callable[[str], Parsed]:
    """Parses a page; fails unless its tags are balanced and no attribute comes twice."""
    return Parsed


@pytest.fixture
def page() -> Callable[..., str]:
    """The page of a made-up run, other arguments of ``page_of_run`` by keyword."""

    def made(**changes: Any) -> str:
        classes = changes.get("classes", WILD)
        k = len(classes)
        summary = {
            "model": "cct_2_3x2",
            "dataset": "cifar10",
            "recipe": "quick",
            "num_classes": k,
            "img_size": [32, 32],
            "train_pictures": 50_000,
            "epochs": 2,
            "final": {"split": "test", "n": 10_000, "accuracy": 85.0, "top5": 99.0, "loss": 0.5},
            "parameters": 283_723,
            "parameters_without_positions": 275_531,
            "macs": 35_341_568,
            "score": {"value": 5444.0, "floor": 70.0},
            "seed": 0,
            "seconds": 61.0,
            "hardware": WILD[0],
            "versions": {"torch": "2.15"},
        }
        summary |= changes.pop("summary", {})
        results = [from_published(r, 10, "without", False) for r in published_results("cifar10")]
        sample = Sample(PIXEL, classes[0], 99.5, classes[0])
        mistake = Sample(PIXEL, classes[1], 98.5, classes[0])
        arguments: dict[str, Any] = {
            "title": f"cct_2_3x2 on {WILD[0]}",
            "config": {"data_dir": WILD[1], "img_size": [32, 48]},
            "summary": summary,
            "history": [
                {
                    "epoch": epoch,
                    "train_loss": 2.0 / epoch,
                    "train_accuracy": 40.0 * epoch,
                    "test_loss": 1.5 / epoch,
                    "test_accuracy": 42.5 * epoch,
                }
                for epoch in (1, 2)
            ],
            "training_loss": "against targets smoothed by 0.1",
            "classes": classes,
            "epoch": 2,
            "confusion": [[90 if i == j else i + j for j in range(k)] for i in range(k)],
            "reliability": ((0, 4000, 6000), (0.0, 55.0, 90.0), (0.0, 60.0, 80.0)),
            "calibration_error": 8.0,
            "ranking": ranked([from_summary(summary), *results], 70.0),
            "published": "cifar10",
            "kinds": costs_by_kind(config_from_name("cct_2_3x2")),
            "right": [sample] * 3,
            "wrong": [mistake] * 2,
            "attended": [sample._replace(maps={"sequence pool": PIXEL})],
        }
        return page_of_run(**arguments | changes)

    return made
