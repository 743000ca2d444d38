"""How ``compact-vit score`` refuses: one line, status 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from compact_vit.score import main


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "nothing to score: give --accuracy with --parameters, --runs, --published"),
        ("--accuracy 101 --parameters 1M", "percentage from 0 to 100, got 101.0"),
        ("--accuracy -1 --parameters 1M", "percentage from 0 to 100, got -1.0"),
        ("--accuracy nan --parameters 1M", "percentage from 0 to 100, got nan"),
        ("--accuracy 0.75 --parameters 1M", "must be in percent, got 0.75: was 75 meant?"),
        ("--accuracy 75%% --parameters 1M", "--accuracy: invalid float value"),
        ("--accuracy 75 --parameters 0", "such as 3191397, 3.19M or 500k, got '0'"),
        ("--accuracy 75 --parameters -5", "whole number of at least 1"),
        ("--accuracy 75 --parameters many", "got 'many'"),
        ("--accuracy 75 --parameters 3,19M", "got '3,19M'"),
        ("--accuracy 75 --parameters 3.17", "got '3.17'"),
        ("--accuracy 75 --parameters 0.0000001M", "got '0.0000001M'"),
        ("--accuracy 75", "--accuracy needs its size: either --parameters N or --effective FILE"),
        ("--accuracy 75 --effective", "--accuracy needs its size"),
        ("--accuracy 75 --effective f --parameters 9", "--accuracy needs its size: either"),
        ("--accuracy 75 --effective nowhere.bin", "nowhere.bin: No such file"),
        ("--accuracy 75 --effective empty.bin", "'empty.bin' is empty"),
        ("--accuracy 75 --effective run/last.pt", "use --runs 'run' --effective"),
        ("--accuracy 75 --parameters 1M --floor 170", "floor must be a percentage"),
        ("--accuracy 75 --parameters 1M --n 0", "argument --n: wanted a whole number"),
        (
            "--accuracy 75 --parameters 1M --positions wiht",
            "--positions: unknown kind 'wiht': did you mean 'with'?",
        ),
        ("--accuracy 75 --parameters 1M --format jsn", "did you mean 'json'?"),
        ("--accuracy 75 --parameters 1M --plot a.txt", "must end in .png, .pdf or .svg"),
        (
            "--accuracy 75 --parameters 1M --plot a.png --against mac",
            "unknown cost 'mac': did you mean 'macs'?",
        ),
        ("--accuracy 75 --parameters 1M --plot a.png --against macs", "nothing to draw"),
        ("--accuracy 75 --parameters 1M --runs run", "exclude each other: a run brings its own"),
        ("--parameters 1M", "belong to --accuracy, which is missing"),
        ("--runs run --n 5", "belong to --accuracy, which is missing"),
        ("--runs run --effective f", "--effective takes a FILE with --accuracy only"),
        ("--runs run --effective --positions with", "exclude each other: bytes count everything"),
        ("--runs", "--runs: expected at least one argument"),
        ("--runs nowhere", "nothing to rank: 'nowhere' is not the folder of a run"),
        ("--runs unfinished", "'unfinished' has no summary.json: its run has not finished"),
        ("--runs run digits", "nothing comparable is left: 'digits' is of digits"),
        (
            "--runs run --effective",
            "nothing to rank: 'run' cannot be ranked: no checkpoint at 'run/last.pt'",
        ),
        ("--runs digits --published", "nothing is published here of digits, only of cifar10"),
        ("--runs run --published cifar100", "nothing to rank with the results published on"),
        ("--published", "--published needs a data set without --runs: cifar10 or cifar100"),
        ("--published cifar-10", "did you mean 'cifar10'?"),
        ("--published imagenet", "unknown data set with published results 'imagenet'"),
        ("--runs run --as-published", "--as-published is of published results: add --published"),
        ("--runs run --against latency", "--against is of the picture: add --plot FILE"),
        ("--publishd cifar10", "did you mean '--published'?"),
    ],
)
def test_bad_input(capsys, write_run, tmp_path, monkeypatch, words, said) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("run"), 85.0)
    write_run(Path("digits"), 85.0, dataset="digits", n=360)
    (write_run(Path("unfinished"), 85.0) / "summary.json").unlink()
    Path("empty.bin").touch()
    before = sorted(tmp_path.rglob("*"))
    try:
        status = main(words.split())
    except SystemExit as leaving:
        status = leaving.code
    captured = capsys.readouterr()
    assert (status, captured.out) == (2, "")
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
