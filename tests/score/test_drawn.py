"""Rankings as pictures: what is drawn, and against what."""

from __future__ import annotations

import pytest

from compact_vit.latency import latencies_ms
from compact_vit.models.config import config_from_name
from compact_vit.models.names import config_of
from compact_vit.score import Result, drawn, ranked


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")]
)
def test_pictures_are_files_of_their_kind(printed, tmp_path, suffix, start) -> None:
    picture = tmp_path / f"front{suffix}"
    printed("--published", "cifar100", "--plot", picture)
    assert picture.read_bytes().startswith(start)
    assert [entry.name for entry in tmp_path.iterdir()] == [picture.name]
    if suffix == ".png":
        from PIL import Image

        with Image.open(picture) as image:
            image.load()
            assert min(image.size) > 500
    if suffix == ".svg":
        drawn = picture.read_text()
        for text in (
            "cifar100: accuracy against parameters",
            "accuracy (%)",
            "parameters (millions, counted without positions; others as published)",
            "MicroNet entry",
            "Pareto front",
        ):
            assert text in drawn


@pytest.mark.parametrize(
    ("against", "costs"),
    [("parameters", (0.275531, 3.17)), ("macs", (35.341568, 1013.84)), ("latency", (4.0, 4.0))],
)
def test_what_is_drawn_is_what_it_costs(monkeypatch, against, costs) -> None:

    monkeypatch.setattr(drawn, "latencies_ms", lambda configs: [4.0] * len(configs))
    config = config_from_name("cct_2_3x2")
    results = [
        Result(
            name=name,
            origin="run",
            accuracy=accuracy,
            parameters=parameters,
            counted="with positions",
            macs=macs,
            config=config,
        )
        for name, accuracy, parameters, macs in (
            ("a", 85.0, 275_531, 35_341_568),
            ("b", 90.0, 3_170_000, 1_013_840_000),
        )
    ]
    figure, missing = drawn.draw(ranked(results, 70.0), against, "cifar10")
    (axes,) = figure.axes
    (points, _, _), *_ = (c.lines for c in axes.containers)
    assert sorted(zip(*points.get_data(), strict=True)) == [(costs[0], 85), (costs[1], 90)]
    assert missing == []
    if against == "parameters":
        assert axes.get_xlabel() == "parameters (millions, counted with positions)"


def test_a_summary_without_macs_is_not_drawn_against_them(printed, write_run, tmp_path) -> None:
    runs = [
        write_run(tmp_path / "old", 85.0, macs=None),
        write_run(tmp_path / "new", 86.0, model="cvt_2_4"),
    ]
    picture = tmp_path / "macs.svg"
    text = printed("--runs", *runs, "--plot", picture, "--against", "macs")
    assert "not in the picture, macs unknown: cct_2_3x2" in text
    drawn = picture.read_text()
    assert "multiply-accumulates of one picture (millions)" in drawn
    assert "cvt_2_4" in drawn
    assert "cct_2_3x2" not in drawn


def test_a_folder_of_pictures_is_called_by_its_name(printed, write_run, tmp_path) -> None:
    config = {"data_dir": "/somewhere/leaves/"}
    run = write_run(tmp_path / "run", 85.0, dataset="folder", config=config)
    picture = tmp_path / "front.svg"
    printed("--runs", run, "--plot", picture)
    assert "<!-- leaves: accuracy against parameters -->" in picture.read_text()


def test_latency_is_measured_on_this_machine(printed, write_run, tmp_path, monkeypatch) -> None:

    asked = []

    def measured(configs):
        asked.extend(configs)
        return [float(i + 1) for i in range(len(configs))]

    monkeypatch.setattr(drawn, "latencies_ms", measured)
    run = write_run(tmp_path / "run", 85.0)
    picture = tmp_path / "latency.svg"
    printed("--runs", run, "--published", "--plot", picture, "--against", "latency")
    assert len(asked) == len(set(asked)) == 10  # each once; the run is one of the published
    assert config_from_name("cct_2_3x2") in asked
    said = picture.read_text()
    assert "latency of one picture (ms, median of 5 turns in float32)" in said
    assert "measured on this machine: " in said


def test_the_latency_of_baselines_is_measured_too(
    printed, write_run, tmp_path, monkeypatch
) -> None:
    import timm

    asked = {}

    def one_turn(configs):
        asked.update(zip(configs, latencies_ms(configs, rounds=1), strict=True))
        return list(asked.values())

    monkeypatch.setattr(drawn, "latencies_ms", one_turn)
    monkeypatch.setattr(timm.models, "load_pretrained", None)  # no weights are asked for
    options = {"widths": [64], "batch_norm": True}
    runs = [
        write_run(tmp_path / "mlp", 85.0, model="mlp_naive", config={"model_options": options}),
        write_run(tmp_path / "resnet", 86.0, model="resnet_8_cifar"),
        write_run(
            tmp_path / "timm",
            87.0,
            model="timm/test_efficientnet",
            config={"model_options": {"pretrained": True, "input_size": 40}},
        ),
    ]
    text = printed("--runs", *runs, "--plot", tmp_path / "a.svg", "--against", "latency")
    assert "not in the picture" not in text
    assert set(asked) == {
        config_of("timm/test_efficientnet", num_classes=10, img_size=32, in_chans=3, input_size=40),
        config_of("resnet_8_cifar", num_classes=10, img_size=32, in_chans=3),
        config_of("mlp_naive", num_classes=10, img_size=32, in_chans=3, **options),
    }
    assert min(asked.values()) > 0
