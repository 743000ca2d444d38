"""The page of a run: whole HTML, nothing from elsewhere, every name escaped, every figure there."""

from __future__ import annotations

import re

import pytest

from compact_vit.models.config import config_from_name
from compact_vit.published import published_results
from compact_vit.ranking import from_published, ranked
from compact_vit.report import costs_by_kind, summary_of
from compact_vit.scoring import score_interval

WILD = ("<script>alert(1)</script>", "\"&'", "</style><b>", "-->", "{{ 7 * 7 }}", "plain")
FINAL = {"split": "test", "n": 10_000, "accuracy": 85.0, "top5": 99.0, "loss": 0.5}
ADDRESSES = ("src", "href", "srcset", "data", "action", "poster", "xlink:href", "background")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"published": None, "kinds": None, "attended": [], "right": [], "wrong": []},
        {"classes": tuple(f"{name} {i}" for i in range(8) for name in WILD)},
    ],
    ids=["full", "bare", "48 classes"],
)
def test_it_is_one_whole_file_that_asks_for_nothing(page, parsed, changes) -> None:
    text = page(**changes)
    found = parsed(text)
    assert text.startswith("<!DOCTYPE html>")
    assert {"script", "link", "iframe", "object", "base"}.isdisjoint(tag for tag, _ in found.tags)
    for tag, attributes in found.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ADDRESSES:
                assert (value or "").startswith("data:image/png;base64,"), (tag, name, value)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert not re.search(r"url\((?!#hatch)|@import|https?:", style)
    policy = found.all("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_names_are_words_and_never_markup(page, parsed) -> None:
    text = page()
    found = parsed(text)
    assert "<script" not in text
    assert text.count("</style>") == 1
    for name in WILD:
        assert name in found.text  # as people read it, all of it
        assert found.cells.count(name) == 2  # the confusion matrix: a row and a column
    captions = found.all("img")
    assert {image["alt"] for image in captions} == {WILD[0], "sequence pool"}
    assert "data_dir \"&'" in found.text
    (titles,) = re.findall(r"<title>(.*?)</title>\n<style>", text)
    assert titles == "cct_2_3x2 on &lt;script&gt;alert(1)&lt;/script&gt;"


def test_what_a_run_had_to_tell_is_there(page, parsed) -> None:
    notes = ["not compiled: torch.compile fails here: <no compiler>", WILD[0]]
    text = page(summary={"notes": notes})
    assert all(note in parsed(text).text for note in notes)
    assert "<script" not in text


def test_the_figures_that_come_first(page, parsed) -> None:
    said = parsed(page()).text
    for part in (
        "accuracy 85.00% last epoch, 10,000 test pictures; 95%: 84.29 to 85.69 (Wilson)",
        "top-5 accuracy 99.00%",
        "score 5,444.0 100 x (accuracy - 70) / millions of parameters without positions, 0 below",
        "parameters 275,531 without positions; 283,723 with",
        "MACs 35.3M",
        "training 61 s 2 epochs on 50,000 pictures, with tests",
    ):
        assert part in said
    assert "best epoch" not in said
    picked = {"best": {"epoch": 1, "accuracy": 84.5, "picked_on": "val"}, "seconds": 7300.0}
    said = parsed(page(summary=picked)).text
    assert "best epoch 84.50% test, epoch 1, picked on the validation split; evaluate, pre" in said
    assert "training 2 h 2 min" in said
    early = {"epochs": 9, "final": FINAL | {"epoch": 7}}
    said = parsed(page(summary=early)).text
    assert "7 epochs on 50,000 pictures, with tests; stopped early, of 9" in said
    once = {"epochs": 1, "train_pictures": 200}
    assert "1 epoch on 200 pictures, with tests" in parsed(page(summary=once)).text


def test_two_losses_on_two_scales_are_told_so(page, parsed) -> None:
    said = parsed(page()).text
    told = "The training loss is against targets smoothed by 0.1, so the two losses are not on one"
    assert told in said
    assert "two losses" not in parsed(page(training_loss="")).text


def test_whose_answers_they_are(page, parsed) -> None:
    headings = [f"{name}, epoch 7" for name in ("Confusion", "Calibration", "Predictions")]
    said = parsed(page(epoch=7)).text
    for words in (*headings, "Attention, epoch 7", "answers those of the weights of epoch 7."):
        assert words in said
    assert "picked" not in said
    picked = {"best": {"epoch": 7, "accuracy": 84.5, "picked_on": "val"}}
    said = parsed(page(epoch=7, summary=picked)).text
    assert "of epoch 7, which was picked on the validation split and which evaluate, pred" in said


def test_few_classes_have_no_top_5(page, parsed) -> None:
    assert "top-5" not in parsed(page(classes=("a", "b", "c"))).text


def test_the_score_among_the_published(page, parsed) -> None:
    text = page()
    cells = parsed(text).cells
    assert text.count('<tr class="own">') == 1
    start = cells.index("cct_2_3x2")
    low, high = score_interval(85.0, 275_531, 10_000)
    assert cells[start - 1 : start + 8] == [
        "2", "cct_2_3x2", "85.00", "2", "275,531", "5,444.0",
        f"{low:,.1f} to {high:,.1f}", "", "this run",
    ]  # fmt: skip
    assert cells.count("CCT-7/3x1") == 4
    said = parsed(text).text
    assert "Score among the published" in said
    assert "none as accurate is smaller this run published" in said  # the key
    assert "Published on cifar10" in said
    assert "counted without positions" in said
    alone = parsed(page(published=None)).text
    assert "Score among the published" not in alone
    assert "No results are kept here that were published on these pictures" in alone


def test_how_others_are_counted_is_said(page, parsed) -> None:
    assert "counted by source" not in parsed(page()).cells  # all are counted alike
    published = published_results("cifar100")
    rows = ranked([from_published(r, 100, "without", False) for r in published], 70.0)
    found = parsed(page(ranking=rows, published="cifar100"))
    assert "those of other architectures as their source does" in found.text
    start = found.cells.index("MicroNet entry")
    assert found.cells[start + 3 : start + 5] == ["464,918", "not said"]
    start = found.cells.index("CCT-6/3x2")
    assert found.cells[start + 3 : start + 5] == ["3,333,669", ""]


def test_a_folder_is_compared_with_a_warning(page, parsed) -> None:
    said = parsed(page(summary={"dataset": "folder"})).text
    assert "comparable as far as the folder holds the same" in said
    for classes, offered in ((10, True), (100, True), (7, False)):  # of whom there are figures
        own = {"dataset": "folder", "num_classes": classes}
        alone = parsed(page(summary=own, published=None)).text
        assert ("--published" in alone) == offered


def test_sizes_by_kind_add_up(page, parsed) -> None:
    cells = parsed(page()).cells
    summary = summary_of(config_from_name("cct_2_3x2"))
    start = cells.index("total")
    assert cells[start + 1 : start + 7] == [
        f"{summary.parameters:,}", "100.0",
        f"{summary.macs / 1e6:,.2f}", "100.0",
        f"{summary.activation_megabytes:,.2f}", "100.0",
    ]  # fmt: skip
    mlp = costs_by_kind(config_from_name("cct_2_3x2"))["MLP"]
    start = cells.index("MLP")
    assert cells[start + 1] == f"{mlp.parameters:,}"
    assert cells[start + 2] == f"{100 * mlp.parameters / summary.parameters:.1f}"
    assert "class token" not in cells
    assert "Size" not in parsed(page(kinds=None)).text


def test_the_confusion_matrix_of_few_classes(page, parsed) -> None:
    cells = parsed(page(classes=("ab", "cd"), confusion=[[3, 1], [0, 0]])).cells
    start = len(cells) - 1 - cells[::-1].index("ab")
    assert cells[start : start + 6] == ["ab", "75.0", "25.0", "cd", "", ""]
    said = parsed(page(classes=("ab", "cd"), confusion=[[3, 1], [1, 9]])).text
    assert "Balanced accuracy 82.50%, the mean share" in said


def test_the_confusion_matrix_of_many_classes(page, parsed) -> None:
    classes = tuple(f"class {i}" for i in range(30))
    confusion = [[100 if i == j else 0 for j in range(30)] for i in range(30)]
    confusion[4][9], confusion[9][4] = 25, 3
    found = parsed(page(classes=classes, confusion=confusion))
    (matrix,) = [i for i in found.all("img") if i["alt"] == "the confusion matrix of 30 classes"]
    assert (matrix["class"], matrix["style"]) == ("shaded", "image-rendering: pixelated")
    start = found.cells.index("class 4")
    assert found.cells[start : start + 8] == [
        "class 4", "class 9", "25", "20.0%", "class 9", "class 4", "3", "2.9%",
    ]  # fmt: skip


def test_predictions_say_what_was_true_where_they_are_wrong(page, parsed) -> None:
    found = parsed(page(classes=("cat", "dog", "cow")))
    assert found.text.count("dog 98.5% true: cat") == 2
    assert found.text.count("cat 99.5%") == 4  # three that are right, one with attention
    assert "cat 99.5% true" not in found.text
    none = parsed(page(right=[], wrong=[], attended=[])).text
    assert "No picture is wrong." in none
    assert "No picture is right." in none
    assert "Attention" not in none


def test_every_choice_is_listed(page, parsed) -> None:
    said = parsed(page(config={"lr": 0.002, "flip": True, "img_size": [32, 48], "x": None})).text
    assert "lr 0.002 flip yes img_size 32 x 48 x None" in said
    assert "torch 2.15" in said
