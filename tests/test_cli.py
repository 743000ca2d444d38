"""One command, a table of programs, one way to fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from compact_vit import __version__
from compact_vit.cli import COMMANDS, Parser, main, pixels, program
from compact_vit.errors import OutOfReachError, UsageError, nearest, unknown


def test_every_program_of_the_table_runs(capsys) -> None:
    for name in COMMANDS:
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0
        captured = capsys.readouterr()
        assert captured.out.startswith(f"usage: compact-vit {name}")
        assert captured.err == ""


def test_help_lists_the_programs(capsys) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    for name, (_, about) in COMMANDS.items():
        assert f"  {name} " in said
        assert about in said
    for option in ("--help", "-h"):
        with pytest.raises(SystemExit, match="0"):
            main([option])
        assert capsys.readouterr().out == said


def test_version(capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"compact-vit {__version__}\n"


def test_a_program_is_the_module(capsys) -> None:
    from compact_vit.report import main as report

    assert main(["report", "cvt_2_4", "--json"]) == 0
    said = capsys.readouterr().out
    assert report(["cvt_2_4", "--json"]) == 0
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("given", "spins"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
)
def test_threads_that_wait_give_way(given, spins) -> None:
    """GNU's OpenMP says itself what it has read; unless the user has said otherwise."""
    code = "from compact_vit.cli import main; main([]); import torch"
    names = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
    env = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env | given | {"OMP_DISPLAY_ENV": "verbose"}, capture_output=True, text=True,
    )  # fmt: skip
    told = re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr)
    if not told:
        pytest.skip("torch computes with another OpenMP here")
    assert set(told) == {spins}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_real_modules_refuse_alike(name) -> None:
    commands = [["-m", "compact_vit", name, "--hepl"], ["-m", f"compact_vit.{name}", "--hepl"]]
    for words in commands:
        done = subprocess.run(
            [sys.executable, "-W", "error", *words, "x", "y"], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (2, "")
        wanted = f"compact-vit {name}: error: unknown argument '--hepl': did you mean '--help'?\n"
        assert done.stderr == wanted


@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_goes_away_is_no_error(buffered) -> None:
    command = [sys.executable, *["-u"] * (not buffered), "-c", "from compact_vit.cli import *\n"]
    command[-1] += "@program\ndef show(argv):\n    print('much')\n    return 0\nsys.exit(show())"
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as pipe:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, env=environment)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UsageError("lr must be\na number"), 2, "error: lr must be a number\n"),
        (FileNotFoundError(2, "No such file", "a.png"), 2, "error: a.png: No such file\n"),
        (OSError("disk on fire"), 2, "error: input/output: disk on fire\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (MemoryError(), 2, "error: out of memory: ask for"),
        (RuntimeError("CUDA out of memory. Tried"), 2, "error: out of memory: ask for"),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
            2,
            "error: out of memory: ask for",
        ),
        (RuntimeError("[enforce] can't allocate memory: 9 bytes"), 2, "error: out of memory: ask"),
    ],
)
def test_how_programs_fail(capsys, error, status, said) -> None:
    @program
    def failing(argv):
        raise error

    assert failing([]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(said)
    assert captured.err.count("\n") == 1


def test_a_bug_is_not_dressed_up() -> None:
    @program
    def buggy(argv):
        raise RuntimeError("an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        buggy([])


def test_options_are_not_guessed() -> None:
    parser = Parser("train")
    parser.add_argument("--epochs")
    with pytest.raises(SystemExit):
        parser.parse_args(["--epoch", "3"])
    assert parser.parse_args(["--epochs", "3"]).epochs == "3"


def test_pixels() -> None:
    assert pixels("32") == 32
    assert pixels("32x48") == (32, 48)


def test_nearest_and_unknown() -> None:
    assert nearest("CIFAR10", ["cifar10", "mnist"]) == "cifar10"
    assert nearest("zzz", ["cifar10", "mnist"]) is None
    assert str(unknown("fruit", "aple", ["apple", "pear"])) == (
        "unknown fruit 'aple': did you mean 'apple'?"
    )
    assert str(unknown("fruit", "x", ["apple", "pear"])) == (
        "unknown fruit 'x': choose from apple, pear"
    )


def test_whoever_is_left_says_that_another_is_gone(monkeypatch, capsys) -> None:
    def gone(argv) -> int:
        raise OutOfReachError("a process is gone")

    def wrong(argv) -> int:
        raise UsageError("as the first says")

    for variable, value in (("WORLD_SIZE", "2"), ("RANK", "1")):
        monkeypatch.setenv(variable, value)
    assert (program(gone)([]), program(wrong)([])) == (2, 2)
    assert capsys.readouterr().err == "error: a process is gone\n"
