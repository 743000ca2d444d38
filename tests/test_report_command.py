"""``compact-vit report``: what it prints, for people and for machines, and how it refuses."""

import csv
import io
import json
import math
import re
import subprocess
import sys

import pytest

from compact_vit.report import main

QUANTITIES = ("parameters", "macs", "activation_megabytes")
PAIR = ("cct_6_3x1", "cct_6_3x2")


def printed(capsys, *words):
    status = main(list(words))
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def tables(text):
    """Each table of a page: its first cell -> {row's name: the other cells}."""
    found = {}
    for block in text.split("\n\n"):
        rows = [re.split(r" {2,}", line) for line in block.splitlines()]
        found[rows[0][0].strip()] = {first: rest for first, *rest in rows[1:]}
    return found


def test_one_model_in_words(capsys):
    text = printed(capsys, "cct_6_3x1", "--num-classes", "100")
    for figure in ("3,256,933", "3,191,397", "1,013.87M", "812.48M", "40.15 MB", "13.03 MB"):
        assert figure in text
    assert tables(text)["attention"]["cct_6_3x1"] == ["6", "4", "16x16", "256", "1,572,864", "6.29"]
    assert "EncoderLayer (5)" in text
    assert max(map(len, text.splitlines())) <= 110


def test_several_models_in_one_table(capsys):
    text = printed(capsys, "cct_6_3x1", "cct_2_3x2", "vit_lite_2_4")
    rows = [line.split() for line in text.split("\n\n")[0].splitlines()]
    assert [row[0] for row in rows[2:]] == ["cct_6_3x1", "cct_2_3x2", "vit_lite_2_4"]
    assert [row[3] for row in rows[2:]] == ["256", "64", "65"]
    assert rows[2][4:8] == ["3,233,803", "3,168,267", "1,013.84M", "812.45M"]


def test_a_table_per_quantity_with_a_column_per_model(capsys):
    text = printed(capsys, *PAIR)
    found = tables(text)
    assert re.search(r"^parameters +cct_6_3x1 +% +cct_6_3x2 +%$", text, re.MULTILINE)
    kinds = ["tokenizer", "positions", "attention, linear maps", "MLP", "norms", "pooling", "head"]
    assert list(found["parameters"]) == [*kinds, "total"]
    # 27 x 256 weights, or 27 x 64 and 9 x 64 x 256; of 3,233,803 and 3,326,923
    assert found["parameters"]["tokenizer"] == ["6,912", "0.2", "149,184", "4.5"]
    assert found["parameters"]["total"] == ["3,233,803", "100.0", "3,326,923", "100.0"]
    # 6 layers x 2 products x N x N x 256
    assert found["MACs (M)"]["attention, products"] == ["201.33", "19.9", "12.58", "5.0"]
    assert "norms" not in found["MACs (M)"]
    # 4 bytes x 6 layers x (3 x N x 256 + 3 x 4 heads x N x N)
    products = ["23.59", "58.8", "2.36", "33.9"]
    assert found["activations (MB)"]["attention, products"] == products
    assert found["attention"]["cct_6_3x1"] == ["6", "4", "16x16", "256", "1,572,864", "6.29"]
    assert found["attention"]["cct_6_3x2"] == ["6", "4", "8x8", "64", "98,304", "0.39"]


def test_models_of_different_modules_side_by_side(capsys):
    found = tables(printed(capsys, "cct_2_3x2", "vit_lite_4_4", "--by", "module"))
    blocks = [f"blocks.{i}" for i in range(4)]
    every = ["tokenizer", "class_token", "positions", *blocks, "norm", "pool", "head", "total"]
    assert list(found["parameters"]) == every
    assert found["parameters"]["class_token"] == ["-", "128", "0.0"]
    assert found["parameters"]["pool"] == ["129", "0.0", "-"]
    assert found["parameters"]["blocks.3"] == ["-", "99,200", "24.0"]
    assert found["parameters"]["blocks.1"] == ["99,200", "35.0", "99,200", "24.0"]


def test_why_one_convolution_keeps_more_than_two_is_in_the_json(capsys):
    one, two = json.loads(printed(capsys, *PAIR, "--format", "json"))
    assert one["parameters"] < two["parameters"]
    assert one["activation_megabytes"] > 5 * two["activation_megabytes"]
    assert (one["tokens"], two["tokens"]) == (256, 64)
    assert one["attention_weights"] == 16 * two["attention_weights"] == 6 * 4 * 256**2

    def ratio(kind):
        return (
            one["kinds"][kind]["activation_megabytes"] / two["kinds"][kind]["activation_megabytes"]
        )

    # four times the tokens: linear parts keep four times as much, attention's products ten times
    assert ratio("MLP") == ratio("attention, linear maps") == ratio("norms") == 4
    assert ratio("attention, products") == (3 * 256 * 256 + 12 * 256**2) / (
        3 * 64 * 256 + 12 * 64**2
    )
    kept = {kind: cost["activation_megabytes"] for kind, cost in one["kinds"].items()}
    assert max(kept, key=kept.get) == "attention, products"
    more = one["activation_megabytes"] - two["activation_megabytes"]
    by_products = kept["attention, products"]
    by_products -= two["kinds"]["attention, products"]["activation_megabytes"]
    assert by_products > 0.6 * more
    for entry in (one, two):
        for parts in (entry["kinds"], entry["modules"]):
            for key in QUANTITIES:
                whole = sum(cost[key] for cost in parts.values())
                assert whole == pytest.approx(entry[key])


@pytest.mark.parametrize("by", ["kind", "module"])
def test_csv(capsys, by):
    text = printed(capsys, *PAIR, "--num-classes", "100", "--format", "csv", "--by", by)
    rows = list(csv.DictReader(io.StringIO(text)))
    for name, parameters in zip(PAIR, (3_256_933, 3_350_053), strict=True):
        mine = [row for row in rows if row["model"] == name]
        *parts, total = mine
        assert total[by] == "total"
        assert int(total["parameters"]) == parameters
        assert {row["num_classes"] for row in mine} == {"100"}
        for key in QUANTITIES:
            whole = float(total[key])
            assert sum(float(row[key]) for row in parts) == pytest.approx(whole)
            for row in mine:
                share = 100 * float(row[key]) / whole
                assert float(row[f"{key}_percent"]) == pytest.approx(share, abs=6e-4)


@pytest.mark.parametrize("names", [PAIR, PAIR[:1]], ids=["several", "one"])
def test_markdown(capsys, names):
    text = printed(capsys, *names, "--format", "markdown")
    bare = re.sub(r"```text\n.*?\n```", "", text, flags=re.DOTALL)
    assert ("EncoderLayer (5)" in text) == (len(names) == 1)
    assert "EncoderLayer" not in bare
    rows = [block.splitlines() for block in bare.split("\n\n") if block.startswith("|")]
    assert len(rows) == (5 if len(names) > 1 else 4)
    for table in rows:
        assert len({line.count("|") for line in table}) == 1
        assert set(table[1]) <= set("|-: ")
    cells = [cell.strip() for table in rows for line in table for cell in line.split("|")]
    assert "3,233,803" in cells
    assert "58.8" in cells


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("b/a.svg", b"<?xml")])
def test_plot(capsys, tmp_path, name, start):
    alone = printed(capsys, *PAIR, "--json")
    assert printed(capsys, *PAIR, "--json", "--plot", str(tmp_path / name)) == alone
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_plot_that_cannot_be_written(capsys, tmp_path):
    for name, words in (("a.txt", PAIR), ("a.png", ("cct_6_3y1",))):
        assert main([*words, "--plot", str(tmp_path / name)]) == 2
        captured = capsys.readouterr()
        assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert list(tmp_path.iterdir()) == []


def test_json(capsys):
    one = json.loads(printed(capsys, "cct_6_3x1", "--num-classes", "100", "--json"))
    assert one["model"] == "cct_6_3x1"
    assert one["num_classes"] == 100
    assert one["img_size"] == [32, 32]
    assert one["parameters"] == 3_256_933
    assert one["parameters_without_positions"] == 3_191_397
    assert one["macs"] - one["macs_without_attention"] == 6 * 2 * 256**3 + 256**2
    assert one["weight_megabytes"] == pytest.approx(13.027732)
    several = json.loads(
        printed(capsys, "cct_2_3x2", "cvt_2_4", "--img-size", "32x48", "--in-chans", "1", "--json")
    )
    assert [entry["model"] for entry in several] == ["cct_2_3x2", "cvt_2_4"]
    assert [entry["img_size"] for entry in several] == [[32, 48], [32, 48]]
    assert [entry["tokens"] for entry in several] == [96, 96]
    assert several[0]["parameters"] == 283_723 + (96 - 64) * 128 - 2 * 9 * 64


def test_positions_and_published_names(capsys):
    named = json.loads(printed(capsys, "cct_2_3x2_32_sine_c100", "--json"))
    asked = "cct_2_3x2", "--num-classes", "100", "--positional-embedding", "sine", "--json"
    assert {**json.loads(printed(capsys, *asked)), "model": named["model"]} == named
    without = 295_333 - 64 * 128
    assert named["trainable_parameters"] == named["parameters_without_positions"] == without
    none = json.loads(printed(capsys, "cct_2_3x2", "--positional-embedding", "none", "--json"))
    assert none["parameters"] == none["parameters_without_positions"] == 275_531


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cct_6_3y1"], "did you mean 'cct_6_3x1'?"),
        (["cct_6_3x1", "vit_light_6_4"], "did you mean 'vit_lite_6_4'?"),
        (["cct_6_3x1", "--positional-embedding", "sin"], "did you mean 'sine'?"),
        (["cct_6_3x1", "--img-size", "0"], "img_size must be"),
        (["vit_lite_6_4", "--img-size", "32x3"], "at least 4 pixels"),
        (["cct_6_3x1", "--img-size", "99999999"], "99999999x99999999 pixels"),
        (["cct_6_3x1", "--num-classes", "-1"], "num_classes must be"),
        (["cct_6_3x1", "--num-classes", "9" * 24], "num_classes must be at most 1,000,000,000"),
        (["cct_6_3x1", "--in-chans", "0"], "in_chans must be"),
    ],
)
def test_bad_input(capsys, words, said):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "required: NAME"),
        (["cct_6_3x1", "--img-size", "3.5"], "wanted pixels such as 32 or 32x48, got '3.5'"),
        (["cct_6_3x1", "--num-clases", "9"], "did you mean '--num-classes'?"),
        (["cct_6_3x1", "--num-classes", "many"], "invalid int value: 'many'"),
        (
            ["cct_6_3x1", "--format", "markdwn"],
            "unknown format 'markdwn': did you mean 'markdown'?",
        ),
        (["cct_6_3x1", "--by", "layer"], "unknown grouping 'layer': choose from kind, module"),
    ],
)
def test_bad_options(capsys, words, said):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("words", [[*PAIR], ["cct_14_7x2", "--json"]], ids=["several", "json"])
def test_formulas_need_no_torch(words):
    code = (
        "import sys, compact_vit.report as report\n"
        f"assert report.main({words!r}) == 0\n"
        "sys.exit(bool({'torch', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_runs_as_a_module():
    command = [sys.executable, "-m", "compact_vit.report", "cvt_2_4", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["parameters"] == 214_539
    assert math.isfinite(json.loads(result.stdout)["activation_megabytes"])
    assert result.stderr == ""
