"""``compact-vit suggest``: what fits, against the published counts and against built models."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import subprocess
import sys

import pytest
import torch

from compact_vit.errors import UsageError
from compact_vit.models.config import FAMILIES
from compact_vit.models.zoo import create_model
from compact_vit.report import summarize
from compact_vit.suggest import main, members, suggest

# name, parameters and without positions at 10 classes, parameters at 100, millions of MACs
PUBLISHED = [
    ("vit_lite_2_4", 214_666, 206_346, 226_276, 15.34),
    ("vit_lite_4_4", 413_066, 404_746, 424_676, 30.28),
    ("vit_lite_6_4", 3_190_538, 3_173_898, 3_213_668, 218.24),
    ("vit_lite_7_4", 3_716_874, 3_700_234, 3_740_004, 254.48),
    ("cvt_2_4", 214_539, 206_347, 226_149, 15.09),
    ("cvt_4_4", 412_939, 404_747, 424_549, 29.77),
    ("cvt_6_4", 3_190_283, 3_173_899, 3_213_413, 214.73),
    ("cvt_7_4", 3_716_619, 3_700_235, 3_739_749, 250.38),
    ("cct_2_3x2", 283_723, 275_531, 295_333, 35.34),
    ("cct_4_3x2", 482_123, 473_931, 493_733, 50.02),
    ("cct_6_3x1", 3_233_803, 3_168_267, 3_256_933, 1013.84),
    ("cct_6_3x2", 3_326_923, 3_310_539, 3_350_053, 253.46),
    ("cct_7_3x1", 3_760_139, 3_694_603, 3_783_269, 1181.62),
    ("cct_7_3x2", 3_853_259, 3_836_875, 3_876_389, 289.11),
]


@pytest.fixture(scope="module")
def everyone() -> dict[str, dict]:
    """All members for ten classes of 32 pixels."""
    return {row["name"]: row for row in suggest(max_parameters=10**9, top=1000)}


def printed(capsys, words: str) -> str:
    status = main(words.split())
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


@pytest.mark.parametrize(("name", "whole", "without", "hundred", "macs"), PUBLISHED)
def test_published_counts(everyone, name, whole, without, hundred, macs) -> None:
    row = everyone[name]
    assert row["parameters"] == whole
    assert row["parameters_without_positions"] == without
    assert f"{row['macs'] / 1e6:.2f}" == f"{macs:.2f}"
    (member,) = [m for m in members(32, 100) if m.name == name]
    assert member.parameters == hundred


def test_published_counts_of_large_pictures() -> None:
    got = {m.name: (m.tokens, m.parameters, m.macs) for m in members(224, 1000)}
    tokens, parameters, macs = got["cct_14_7x2"]
    assert (tokens, parameters) == (196, 22_367_273)
    assert f"{macs / 1e9:.3f}" == "5.522"
    assert {m.name: m.parameters for m in members(224, 102)}["cct_7_7x2"] == 4_573_735
    assert {m.name: m.parameters for m in members(384, 1000)}["cct_14_7x2"] == 22_513_193


@pytest.mark.parametrize(("img_size", "in_chans"), [(32, 3), (28, 1), ((45, 30), 4), (224, 3)])
def test_every_figure_is_the_models_own(img_size, in_chans) -> None:
    """Of a drawn member of every family."""
    drawn = random.Random(str(img_size))
    rows = suggest(max_parameters=10**9, img_size=img_size, in_chans=in_chans, top=1000)
    for family in FAMILIES:
        row = drawn.choice([r for r in rows if re.fullmatch(rf"{family}_\d+_[\dx]+", r["name"])])
        with torch.device("meta"):
            model = create_model(row["name"], img_size=img_size, num_classes=10, in_chans=in_chans)
        size = (in_chans, *model.config.height_width)
        own = summarize(model, size)
        tokens = model.forward_features(torch.zeros(1, *size, device="meta"))
        assert row["tokens"] == tokens.shape[1], row["name"]
        assert row["parameters"] == own.parameters, row["name"]
        assert row["parameters_without_positions"] == own.parameters_without_positions, row["name"]
        assert row["macs"] == own.macs, row["name"]
        assert row["activation_megabytes"] == own.activation_megabytes, row["name"]


def test_what_is_looked_at(everyone) -> None:
    assert len(everyone) == len(list(members(32, 10)))
    names = set(everyone)
    assert {f"cct_{d}_{k}x{c}" for d in (2, 14) for k in (3, 5, 7) for c in (1, 2)} <= names
    assert {f"{f}_{d}_{p}" for f in ("cvt", "vit_lite") for d in (4, 8) for p in (2, 4, 8)} <= names
    assert all(4 <= row["tokens"] <= 1024 for row in everyone.values())
    assert not any("_5" in name for name in names if not name.startswith("cct"))  # 32 / 5
    wide = {m.name for m in members((32, 48), 10)}
    assert "cvt_2_16" in wide
    assert "cvt_2_32" not in wide


def test_worth_is_published_accuracy_and_then_size() -> None:
    rows = suggest(max_parameters=500_000, num_classes=100, top=1000)
    assert [row["name"] for row in rows[:2]] == ["cct_4_3x2", "cct_2_3x2"]
    assert rows[0]["published"] == [{"epochs": 200, "accuracy": 70.46}]
    rest = rows[2:]
    assert not any(row["published"] for row in rest)
    sizes = [(row["parameters"], row["macs"]) for row in rest]
    assert sizes == sorted(sizes, reverse=True)
    fitting = {m.name for m in members(32, 100) if m.parameters <= 500_000}
    assert {row["name"] for row in rows} == fitting
    best = suggest(max_parameters=4_000_000, num_classes=100, top=2)
    assert [row["name"] for row in best] == ["cct_7_3x1", "cct_6_3x1"]  # 77.05 and 76.71 at 200
    assert best[0]["published"] == [
        {"epochs": 200, "accuracy": 77.05},
        {"epochs": 300, "accuracy": 80.92},
        {"epochs": 1500, "accuracy": 82.72},
        {"epochs": 5000, "accuracy": 82.87},
    ]
    assert best[1]["published"][0] == {"epochs": 200, "accuracy": 76.71}  # not the report's 75.145
    ten = suggest(max_parameters=4_000_000, num_classes=10, top=2)
    assert [row["name"] for row in ten] == ["cct_6_3x1", "cct_7_3x1"]  # 94.81 and 94.78


def test_limits_hold_together() -> None:
    rows = suggest(max_parameters=3_400_000, max_macs=230_000_000, num_classes=100, top=1000)
    assert all(r["parameters"] <= 3_400_000 and r["macs"] <= 230_000_000 for r in rows)
    assert rows[0]["name"] == "cvt_6_4"  # both CCT-6 and the sevens cost more
    exact = suggest(max_parameters=295_333, max_macs=10**8, num_classes=100, top=1)
    assert exact[0]["name"] == "cct_2_3x2"
    assert all(row["parameters"] < 295_333 for row in suggest(max_parameters=295_332, top=1000))


def test_other_pictures_have_no_published_results() -> None:
    for options in (
        {"num_classes": 7},
        {"img_size": 64},
        {"in_chans": 1},
        {"dataset": "svhn"},  # CIFAR-10's size and number of classes, but other pictures
        {"dataset": "cifar100", "num_classes": 10},
    ):
        rows = suggest(max_parameters=500_000, **options)
        assert not any(row["published"] for row in rows)
        sizes = [row["parameters"] for row in rows]
        assert sizes == sorted(sizes, reverse=True)


def test_a_pair_of_equal_sides_is_that_size() -> None:
    pair = suggest(max_parameters=300_000, img_size=(32, 32))
    assert pair == suggest(max_parameters=300_000, img_size=32)
    assert pair[0]["published"]


def test_python_refuses_like_the_command() -> None:
    for option in ("max_parameters", "max_macs", "num_classes", "in_chans", "top"):
        with pytest.raises(UsageError, match=f"{option} must be at least 1, got 0"):
            suggest(**{option: 0})
    with pytest.raises(UsageError, match="did you mean 'cifar100'"):
        suggest(dataset="cifar-100", num_classes=100)


def test_latency_limits_what_was_measured(monkeypatch) -> None:
    from compact_vit import latency

    def by_depth(configs, rounds):
        return [float(config.depth) for config in configs]

    monkeypatch.setattr(latency, "latencies_ms", by_depth)
    rows = suggest(max_latency_ms=4.0, num_classes=100, top=3)
    assert [(r["name"], r["latency_ms"]) for r in rows[:2]] == [("cct_4_3x2", 4), ("cct_2_3x2", 2)]
    assert all(row["latency_ms"] <= 4 for row in rows)
    with pytest.raises(UsageError, match=r"within 1\.5 ms: the quickest here is \w+_2_\w+ with 2"):
        suggest(max_latency_ms=1.5)


def test_latency_is_really_measured(capsys) -> None:
    words = "--max-latency 60s --max-parameters 300k --img-size 16 --top 1"
    text = printed(capsys, words)
    header, row, *_ = text.splitlines()
    assert "latency ms" in header
    *_, latency = row.split()
    assert 0 < float(latency) < 60_000
    assert "latency of one picture in float32, measured here: " in text


def test_the_table(capsys) -> None:
    text = printed(capsys, "--max-parameters 500k --img-size 32 --num-classes 100 --top 2")
    table, notes = text.split("\n\n")
    assert table.splitlines()[1].split() == [
        "cct_4_3x2", "64", "493,733", "485,541", "50.03M", "2.48", "70.46", "(200)"
    ]  # fmt: skip
    assert "latency" not in table
    assert len(table.splitlines()) == 3
    assert "100 classes of 32x32 pixels" in notes
    assert "accuracy on cifar100" in notes


def test_formats_say_the_same(capsys, tmp_path) -> None:
    words = "--max-parameters 4M --max-macs 300M --dataset cifar100 --top 3 --format "
    whole = json.loads(printed(capsys, words + "json"))
    assert whole["published_on"] == "cifar100"
    assert (whole["num_classes"], whole["img_size"], whole["in_chans"]) == (100, 32, 3)
    table = list(csv.DictReader(io.StringIO(printed(capsys, words + "csv"))))
    for row, line in zip(whole["rows"], table, strict=True):
        assert line["name"] == row["name"]
        assert int(line["parameters"]) == row["parameters"]
        assert line["published"].startswith(f"{row['published'][0]['accuracy']:.2f} (200)")
    markdown = printed(capsys, words + "markdown").splitlines()
    first = "| cct_7_3x2 | 64 | 3,876,389 | 3,860,005 | 289.14M | 7.95 | 74.92 (200) |"
    assert markdown[2] == first
    path = tmp_path / "deep" / "fits.json"
    assert printed(capsys, f"{words}json --output {path}") == ""
    assert json.loads(path.read_text()) == whole


def test_a_data_set_brings_its_pictures(capsys) -> None:
    words = "--max-parameters 300k --dataset mnist --top 1 --format json"
    whole = json.loads(printed(capsys, words))
    assert (whole["num_classes"], whole["img_size"], whole["in_chans"]) == (10, 28, 1)
    other = json.loads(printed(capsys, f"{words} --num-classes 7"))
    assert (other["num_classes"], other["img_size"]) == (7, 28)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "no limit given: say --max-parameters, --max-macs or --max-latency"),
        ("--max-parameters 1k", "nothing fits: the smallest is cvt_2_4 with 214,539 parameters"),
        ("--max-macs 1k", "the cheapest is"),
        ("--max-parameters 0", "such as 3191397, 3.19M or 500k, got '0'"),
        ("--max-parameters lots", "got 'lots'"),
        ("--max-macs -3", "whole number of at least 1"),
        ("--max-latency 5", "a time above 0 with its unit, such as 5ms or 0.5s, got '5'"),
        ("--max-latency 0ms", "a time above 0"),
        ("--max-parameters 1M --img-size 3.5", "wanted pixels such as 32 or 32x48"),
        ("--max-parameters 1M --img-size 2", "img_size must be"),
        (
            "--max-parameters 1M --img-size 10000",
            "no member makes 4 to 1,024 tokens of 10000x10000 pixels",
        ),
        ("--max-parameters 1M --num-classes 0", "num_classes must be at least 1, got 0"),
        ("--max-parameters 1M --in-chans 0", "in_chans must be at least 1, got 0"),
        ("--max-parameters 1M --top 0", "argument --top"),
        ("--max-parameters 1M --dataset cifar-100", "did you mean 'cifar100'?"),
        (
            "--max-parameters 1M --dataset folder",
            "say --num-classes: the data set folder has none of its own",
        ),
        ("--max-parameters 1M --format jsn", "did you mean 'json'?"),
        ("--max-parameter 1M", "did you mean '--max-parameters'?"),
    ],
)
def test_bad_input(capsys, words, said) -> None:
    try:
        status = main(words.split())
    except SystemExit as leaving:
        status = leaving.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_help_states_the_bounds_without_torch() -> None:
    code = (
        "import sys, compact_vit.suggest as suggest\n"
        "try: suggest.main(['--help'])\n"
        "except SystemExit as done: assert done.code == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    said = " ".join(done.stdout.split())
    assert "the depths 2, 4, 6, 7, 8, 14" in said
    assert "kernels of 3, 5, 7 and 1, 2, 3 convolutions" in said
    assert "4 to 1,024 tokens" in said


def test_nothing_is_built_for_it() -> None:
    code = (
        "import sys\nfrom compact_vit.suggest import suggest\nsuggest(max_parameters=500_000)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
