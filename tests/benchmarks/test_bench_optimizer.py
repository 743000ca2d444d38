"""``benchmarks/bench_optimizer.py``: every optimiser steps, and Muon as this processor suits it."""

from __future__ import annotations

import torch

from compact_vit.train.machine import multiplies_bf16
from compact_vit.train.rules import OPTIMIZERS


def test_every_optimiser_steps(script, capsys) -> None:
    words = ["--models", "cvt_2_8", "--rounds", "1", "--threads", "1", "--device", "cpu"]
    assert script("bench_optimizer").main(words) == 0
    heading, *rows = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert heading.startswith("cvt_2_8, ms a step")
    others = [name for name in OPTIMIZERS if name != "adamw"]
    assert [row[:15].strip() for row in rows] == ["adamw", *others, "muon in bf16"]


def test_the_last_row_is_timms_own(script) -> None:
    cpu = torch.device("cpu")
    built = script("bench_optimizer").build_all("cvt_2_8", cpu)
    same = type(built["muon"]) is type(built["muon in bf16"])
    assert same == multiplies_bf16(cpu)
