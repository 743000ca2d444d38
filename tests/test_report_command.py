"""``compact-vit report``: what it prints, for people and for machines, and how it refuses."""

import json
import math
import subprocess
import sys

import pytest

from compact_vit.report import main


def printed(capsys, *words):
    status = main(list(words))
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def test_one_model_in_words(capsys):
    text = printed(capsys, "cct_6_3x1", "--num-classes", "100")
    for figure in ("3,256,933", "3,191,397", "1,013.87M", "812.48M", "40.15 MB", "13.03 MB"):
        assert figure in text
    assert "6 layers x 4 heads x 256 x 256 tokens = 1,572,864" in text
    assert "EncoderLayer (5)" in text
    assert max(map(len, text.splitlines())) <= 110


def test_several_models_in_one_table(capsys):
    text = printed(capsys, "cct_6_3x1", "cct_2_3x2", "vit_lite_2_4")
    rows = [line.split() for line in text.split("\n\n")[0].splitlines()]
    assert [row[0] for row in rows[2:]] == ["cct_6_3x1", "cct_2_3x2", "vit_lite_2_4"]
    assert [row[3] for row in rows[2:]] == ["256", "64", "65"]
    assert rows[2][4:8] == ["3,233,803", "3,168,267", "1,013.84M", "812.45M"]


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
        (["cct_6_3x1", "--num-classes", "9" * 24], "as large as these options ask"),
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
    ],
)
def test_bad_options(capsys, words, said):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_help_needs_no_torch():
    code = (
        "import sys, compact_vit.report as report\n"
        "try: report.main(['--help'])\n"
        "except SystemExit as done: assert done.code == 0\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_runs_as_a_module():
    command = [sys.executable, "-m", "compact_vit.report", "cvt_2_4", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["parameters"] == 214_539
    assert math.isfinite(json.loads(result.stdout)["activation_megabytes"])
    assert result.stderr == ""
