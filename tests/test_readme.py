"""What the README says runs, and prints what it says it prints."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from compact_vit import create_model
from compact_vit.report import summarize
from compact_vit.train.cli import build_parser
from compact_vit.train.config import TrainConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```\n*(?:```text\n(.*?)```)?", README, re.DOTALL)
PYTHON = [(code, output) for language, code, output in BLOCKS if language == "python"]
COMMANDS = [line for language, code, _ in BLOCKS if language == "sh" for line in code.splitlines()]
TABLE = re.findall(r"\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,.]+)M \|", README)


def commands(program: str) -> list[list[str]]:
    words = [shlex.split(line) for line in COMMANDS]
    start = ["python", "-m", f"compact_vit.{program}"]
    return [line[3:] for line in words if line[:3] == start]


@pytest.mark.parametrize(("code", "output"), PYTHON)
def test_python_prints_what_it_says(code, output, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == output


def test_every_python_block_is_run() -> None:
    assert len(PYTHON) == README.count("```python") >= 4


@pytest.mark.parametrize("words", [words for words in commands("train") if "--resume" not in words])
def test_training_commands_are_complete_configurations(words) -> None:
    given = vars(build_parser().parse_args(words))
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    fields = {k: v for k, v in given.items() if k in names}
    config = TrainConfig(**fields)
    assert {name: getattr(config, name) for name in fields} == fields


def test_commands_on_a_run(tmp_path, monkeypatch, capsys) -> None:
    from sklearn.datasets import load_digits
    from torchvision.transforms.functional import to_pil_image

    from compact_vit.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["train", "--epochs", "1", "--output", "RUN", "--quiet"]) == 0
    to_pil_image((load_digits().images[0] * 255 / 16).round().astype("uint8")).save("picture.png")
    on_a_run = [line.split()[2:] for line in COMMANDS if re.search(" RUN| EXPORTED", line)]
    assert len(on_a_run) == 12
    for module, *words in on_a_run:
        capsys.readouterr()
        assert main([module.removeprefix("compact_vit."), *words]) == 0
        assert capsys.readouterr().out


def test_weights_in_the_package(capsys, monkeypatch) -> None:
    from compact_vit.predict import main

    monkeypatch.chdir(ROOT)
    words = [line for line in commands("predict") if "EXPORTED" not in line and "RUN" not in line]
    assert len(words) == 1
    assert main([*words[0], "--device", "cpu", "--top", "1"]) == 0
    assert capsys.readouterr().out.split()[-1] == "ship"


@pytest.mark.parametrize("words", commands("report"))
def test_report_commands(words, capsys) -> None:
    from compact_vit.report import main

    assert main(words) == 0
    assert "cct_6_3x1" in capsys.readouterr().out


@pytest.mark.parametrize("program", ["plot", "score", "suggest"])
def test_commands_without_a_run(program, tmp_path, monkeypatch, capsys) -> None:
    from compact_vit.cli import main

    monkeypatch.chdir(tmp_path)
    words = [line for line in commands(program) if "RUN" not in line]
    assert words
    for line in words:
        assert main([program, *line]) == 0
        assert capsys.readouterr().out


@pytest.mark.parametrize("words", commands("bench"))
def test_bench_commands(words, capsys) -> None:
    from compact_vit.bench import main

    assert main([*words, "--rounds", "1"]) == 0
    assert words[0] in capsys.readouterr().out


@pytest.mark.parametrize(("name", "parameters", "without", "macs"), TABLE)
def test_table_of_models(name, parameters, without, macs) -> None:
    size = summarize(create_model(name, num_classes=100), (3, 32, 32))
    assert f"{size.parameters:,}" == parameters
    assert f"{size.parameters_without_positions:,}" == without
    assert f"{size.macs / 1e6:,.2f}" == macs


def test_the_gate_runs_the_two_commands() -> None:
    gate = (ROOT / ".ci" / "run").read_text()
    assert "pip install . && python -m compact_vit.train" in COMMANDS
    assert 'pip install -e ".[test]" && pytest' in COMMANDS
    for command in ("install --quiet . && python -m compact_vit.train", '-e ".[test]" && pytest'):
        assert command in gate


def test_nothing_is_left_to_fill_in() -> None:
    tables = [line for line in README.splitlines() if line.startswith("|")]
    assert not [line for line in tables if re.search(r"\| [A-Z_]+ \|", line)]


def test_files_it_points_to_exist() -> None:
    for target in re.findall(r"\]\((?!http|#)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
