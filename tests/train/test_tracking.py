"""What TensorBoard and Weights & Biases are told, read back from the files that they keep."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.record_writer import RecordWriter

from compact_vit.errors import UsageError
from compact_vit.train import tracking
from compact_vit.train.tracking import Tracking, check_track, need_packages

CONFIG = {"lr": 5e-4, "model": "cvt_2_8", "img_size": (16, 24), "download": True, "data_dir": None}
SUMMARY = {
    "final": {"epoch": 6, "accuracy": 91.25, "loss": 0.3, "n": 16},
    "best": {"epoch": 5, "accuracy": 90.5, "loss": 0.31},
    "parameters": 283_723,
    "parameters_without_positions": 280_011,
    "macs": 5_000_000,
    "score": {"value": 7.49, "floor": 70.0},
}
RESULTS = {
    "final/accuracy": 91.25, "final/loss": 0.3, "best/accuracy": 90.5, "best/epoch": 5,
    "parameters": 283_723, "parameters_without_positions": 280_011, "macs": 5_000_000,
    "score/value": 7.49,
}  # fmt: skip
TAGS = {
    "lr": "lr",
    "loss/train": "train_loss", "accuracy/train": "train_accuracy",
    "loss/val": "val_loss", "accuracy/val": "val_accuracy", "top5/val": "val_top5",
    "pictures_per_second": "pictures_per_second", "seconds": "seconds",
}  # fmt: skip


def rows(first: int, last: int, seed: int = 0) -> list[dict[str, Any]]:
    """Lines of ``metrics.jsonl`` for the epochs ``first`` to ``last``."""
    random = np.random.default_rng([seed, first])
    names = sorted(TAGS.values())
    return [
        {"epoch": epoch, **dict(zip(names, random.random(len(names)).tolist(), strict=True))}
        for epoch in range(first, last + 1)
    ]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def begin(tmp_path, said) -> Callable[..., Tracking]:
    """Trackers of the run in ``tmp_path``, after the epochs of a history."""

    def begun(name: str, history: list[dict[str, Any]] | None = None) -> Tracking:
        return Tracking((name,), tmp_path, CONFIG, history or [], said.append)

    return begun


def tell(tracking: Tracking, told: list[dict[str, Any]]) -> None:
    for row in told:
        tracking.epoch(row)


def column(told: list[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    return [(row["epoch"], row[name]) for row in told]


# --- the choice


def test_names_are_checked() -> None:
    check_track(())
    check_track(("wandb", "tensorboard"))
    with pytest.raises(UsageError, match=r"^unknown track 'wandbb': did you mean 'wandb'\?$"):
        check_track(("wandbb",))
    with pytest.raises(UsageError, match=r"^track must hold 'wandb' once, got wandb, wandb$"):
        check_track(("wandb", "wandb"))
    for wrong in ("wandb", ["wandb"], (1,), None):
        with pytest.raises(UsageError, match=r"^track must be names of tensorboard, wandb, got "):
            check_track(wrong)  # type: ignore[arg-type]


def test_a_missing_package(monkeypatch) -> None:
    need_packages(("tensorboard", "wandb"))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "wandb" else find(n))
    need_packages(("tensorboard",))
    with pytest.raises(UsageError) as caught:
        need_packages(("tensorboard", "wandb"))
    wanted = '--track wandb needs the package wandb: pip install "compact-vit[track]"'
    assert str(caught.value) == wanted


def test_a_folder_of_runs_is_no_package(tmp_path, monkeypatch) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(UsageError, match=r"^--track wandb needs the package wandb"):
        need_packages(("wandb",))


def test_nothing_is_imported_before_it_is_asked_for(tmp_path) -> None:
    code = (
        "import sys; from pathlib import Path; from compact_vit.train import tracking as t;"
        "t.check_track(('wandb', 'tensorboard')); t.need_packages(('wandb', 'tensorboard'));"
        f"t.Tracking((), Path({str(tmp_path)!r}), {{}}, [], print).end({{}});"
        "print(sorted({'torch', 'wandb', 'tensorboard'} & set(sys.modules)))"
    )
    root = Path(tracking.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout == "[]\n"
    assert not list(tmp_path.iterdir())


# --- TensorBoard


def curves(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard"), {"scalars": 0, "tensors": 0}).Reload()


def assert_curves(folder: Path, told: list[dict[str, Any]]) -> None:
    """That there is a curve of every figure, each epoch once, to the last bit of a float32."""
    shown = curves(folder)
    assert set(TAGS) <= set(shown.Tags()["scalars"])
    for tag, name in TAGS.items():
        points = [(event.step, event.value) for event in shown.Scalars(tag)]
        assert points == [(e, float(np.float32(value))) for e, value in column(told, name)], tag


def test_tensorboard_shows_the_rows(begin, tmp_path, said) -> None:
    told = rows(1, 6)
    tracking = begin("tensorboard")
    tell(tracking, told)
    assert_curves(tmp_path, told)  # as they come, not at the end
    assert set(curves(tmp_path).Tags()["scalars"]) == set(TAGS)
    tracking.end(SUMMARY)
    tracking.close()
    shown = curves(tmp_path)
    assert set(shown.Tags()["scalars"]) == {*TAGS, *RESULTS}
    for tag, value in RESULTS.items():
        (event,) = shown.Scalars(tag)
        assert (event.step, event.value) == (6, float(np.float32(value)))
    assert not said


def test_a_run_that_learns_no_classes(begin, tmp_path, said) -> None:
    told = [{"epoch": 1, "lr": 0.1, "train_loss": 0.5, "test_loss": 0.25}]
    tracking = begin("tensorboard")
    tell(tracking, told)
    final = {"epoch": 1, "loss": 0.25}
    tracking.end({"final": final, "best": final, "parameters": 7, "score": None})
    shown = curves(tmp_path)
    points = {tag: [e.value for e in shown.Scalars(tag)] for tag in shown.Tags()["scalars"]}
    figures = {"lr": [float(np.float32(0.1))], "loss/train": [0.5], "loss/test": [0.25]}
    results = {"final/loss": [0.25], "best/epoch": [1], "parameters": [7]}
    assert points == figures | results
    assert not said


def test_pictures_learnt_by_heart_are_not_told_as_tests(begin, tmp_path) -> None:
    tracking = begin("tensorboard")
    tracking.epoch({"epoch": 1, "lr": 0.5, "train_loss": 2.0, "learnt_loss": 1.0})
    tracking.close()
    assert set(curves(tmp_path).Tags()["scalars"]) == {"lr", "loss/train", "loss/learnt"}


def test_tensorboard_shows_the_hyperparameters(begin, tmp_path) -> None:
    tracking = begin("tensorboard")
    tracking.end(SUMMARY)
    content = curves(tmp_path).PluginTagToContent("hparams")
    told = {tag.split("/")[-1]: HParamsPluginData.FromString(c) for tag, c in content.items()}
    values = told["session_start_info"].session_start_info.hparams
    assert values["lr"].number_value == 5e-4
    words = {name: value.string_value for name, value in values.items() if name != "lr"}
    assert words == {name: str(value) for name, value in CONFIG.items() if name != "lr"}
    assert len(values) == len(CONFIG)
    metrics = [info.name.tag for info in told["experiment"].experiment.metric_infos]
    assert metrics == list(RESULTS)
    assert told["session_end_info"].session_end_info.status == 1  # success


@pytest.mark.parametrize("stopped", [True, False])
def test_tensorboard_goes_on_after_a_kill(begin, tmp_path, stopped) -> None:
    first, second = rows(1, 5), rows(4, 6, seed=1)
    tracking = begin("tensorboard")
    tell(tracking, first)
    if stopped:  # else killed: nothing is closed
        tracking.close()
    again = begin("tensorboard", first[:3])
    assert_curves(tmp_path, first[:3])  # epochs 4 and 5 are gone at once
    tell(again, second)
    again.end(SUMMARY)
    assert_curves(tmp_path, first[:3] + second)


def test_a_record_that_a_kill_cut_off(begin, tmp_path) -> None:
    told = rows(1, 4)
    tell(begin("tensorboard"), told[:3])
    (path,) = (tmp_path / "tensorboard").iterdir()
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 9)  # in the third epoch's
    again = begin("tensorboard", told[:2])
    tell(again, told[2:])
    assert_curves(tmp_path, told)


# --- Weights & Biases, offline


@pytest.fixture
def offline(monkeypatch, tmp_path_factory) -> Iterator[None]:
    """Nobody is logged in, nothing is set, and whoever goes to a network from here fails."""
    for name in {*os.environ, *tracking._WANDB, "NETRC"}:
        if name.startswith("WANDB_") or name == "NETRC":
            monkeypatch.setenv(name, "")  # so that it is as it was afterwards
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(home))
    connect = socket.socket.connect

    def local(self: socket.socket, address: Any) -> None:
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1"), address
        connect(self, address)

    def nowhere(*address: object, **options: object) -> None:
        raise AssertionError(f"a look-up of {address}")

    monkeypatch.setattr(socket.socket, "connect", local)
    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    wandb.teardown()  # what an earlier session has read of the environment
    yield
    wandb.teardown()


def records(path: Path) -> list[Any]:
    """The records of a ``.wandb`` file: a log in LevelDB's format after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole, part = path.read_bytes(), 7, [], b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # in one piece, or the last one
            whole.append(Record.FromString(part))
            part = b""
    return whole


def kept(folder: Path) -> tuple[Path, dict[str, Any], list[dict[str, Any]], dict[str, Any]]:
    """The one run that is kept offline: its file, its configuration, history and summary."""
    wandb.teardown()  # it writes behind one's back: here it has done so
    (path,) = (folder / "wandb").glob("offline-run-*/*.wandb")
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history = []
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            config |= {u.key: json.loads(u.value_json) for u in record.run.config.update}
        elif kind == "history":
            items = {".".join(i.nested_key) or i.key: i for i in record.history.item}
            history.append({key: json.loads(i.value_json) for key, i in items.items()})
        elif kind == "summary":
            updates = {".".join(u.nested_key) or u.key: u for u in record.summary.update}
            summary |= {key: json.loads(u.value_json) for key, u in updates.items()}
    return path, config, history, summary


def assert_history(history: list[dict[str, Any]], told: list[dict[str, Any]]) -> None:
    own = [{k: v for k, v in row.items() if k in TAGS or k == "epoch"} for row in history]
    named = {"epoch": "epoch", **TAGS}
    assert own == [{tag: row[name] for tag, name in named.items()} for row in told]
    assert [row["_step"] for row in history] == [row["epoch"] for row in told]


@pytest.mark.usefixtures("offline")
def test_wandb_keeps_the_run_offline(begin, tmp_path, said, capfd) -> None:
    told = rows(1, 6)
    tracking = begin("wandb")
    tell(tracking, told)
    tracking.end(SUMMARY)
    tracking.close()
    path, config, history, summary = kept(tmp_path)
    assert_history(history, told)
    wanted = CONFIG | {"img_size": [16, 24]}
    assert {key: config[key] for key in wanted} == wanted
    assert {key: summary[key] for key in RESULTS} == RESULTS
    name = (tmp_path / "wandb" / "id").read_text()
    assert path.name == f"run-{name}.wandb"
    (run,) = (r.run for r in records(path) if r.WhichOneof("record_type") == "run")
    assert (run.run_id, run.project, run.display_name) == (name, "compact-vit", tmp_path.name)
    (metric,) = (
        r.metric
        for r in records(path)
        if r.WhichOneof("record_type") == "metric" and r.metric.glob_name == "*"
    )
    assert metric.step_metric == "epoch"
    (line,) = said
    assert line.startswith("wandb is offline (not logged in): wandb sync ")
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("stopped", [True, False])
def test_wandb_goes_on_after_a_kill(begin, tmp_path, said, stopped) -> None:
    first, second = rows(1, 5), rows(4, 6, seed=1)
    tracking = begin("wandb")
    name = (tmp_path / "wandb" / "id").read_text()
    tell(tracking, first)
    if stopped:
        tracking.close()
        assert_history(kept(tmp_path)[2], first)
    else:
        wandb.teardown()
    again = begin("wandb", first[:3])
    tell(again, second)
    again.end(SUMMARY)
    path, _, history, summary = kept(tmp_path)  # which is one
    assert path.name == f"run-{name}.wandb"
    assert_history(history, first[:3] + second)
    assert summary["score/value"] == 7.49
    assert len(said) == 2


@pytest.mark.usefixtures("offline")
def test_wandb_tells_its_server_what_that_does_not_have(begin, monkeypatch, said) -> None:
    logged: list[tuple[int, dict[str, Any]]] = []
    calls: list[dict[str, Any]] = []

    class Resumed:
        starting_step, summary, disabled = 3, {}, False  # it has epochs 1 and 2

        def define_metric(self, name: str, step_metric: str | None = None) -> None: ...

        def log(self, figures: dict[str, Any], step: int, commit: bool) -> None:
            assert commit
            logged.append((step, figures))

        def finish(self, exit_code: int) -> None:
            logged.append((-1, {"exit_code": exit_code}))

    def init(**options: Any) -> Resumed:
        calls.append(options)
        return Resumed()

    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setattr(wandb, "init", init)
    tracking = begin("wandb", rows(1, 4))
    tell(tracking, rows(5, 5))
    tracking.close()
    begin("wandb").end(SUMMARY)
    assert [step for step, _ in logged] == [3, 4, 5, -1, -1]
    assert [logged[at][1]["exit_code"] for at in (3, 4)] == [1, 0]
    assert calls[0] == calls[1]
    assert (calls[0]["resume"], calls[0]["mode"], len(calls[0]["id"])) == ("allow", None, 8)
    assert not said


@pytest.mark.usefixtures("offline")
def test_wandbs_own_variables_hold(begin, tmp_path, said, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    monkeypatch.setenv("WANDB_NAME", "a name")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        begin("wandb").end(SUMMARY)
        server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody came
            server.accept()
    path, *_ = kept(tmp_path)
    (run,) = (r.run for r in records(path) if r.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name) == ("mine", "a name")
    assert not said


@pytest.mark.usefixtures("offline")
def test_wandb_is_switched_off_by_its_variable(begin, tmp_path, said, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    tracking = begin("wandb", rows(1, 2))
    tell(tracking, rows(3, 3))
    tracking.end(SUMMARY)
    assert [path.name for path in (tmp_path / "wandb").iterdir()] == ["id"]
    assert not said


@pytest.mark.usefixtures("offline")
def test_a_server_that_does_not_answer(begin, tmp_path, said, monkeypatch, capfd) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    told = rows(1, 3)
    tracking = begin("wandb", told[:1])
    tell(tracking, told[1:])
    tracking.end(SUMMARY)
    assert_history(kept(tmp_path)[2], told)
    assert len(said) == 1
    assert "\n" not in said[0]
    assert said[0].startswith("wandb is offline (")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("variables", "entry", "reason"),
    [
        ({}, "", "not logged in"),
        ({"WANDB_API_KEY": "k"}, "", None),
        ({"WANDB_IDENTITY_TOKEN_FILE": "f"}, "", None),
        ({}, "machine wandb.example login user password k\n", None),
        ({}, "machine other.example login user password k\n", "not logged in"),
        ({}, "machine api.wandb.ai login user password k\n", "not logged in"),
        ({}, "no netrc", "not logged in"),
    ],
)
def test_who_is_logged_in(tmp_path, monkeypatch, variables, entry, reason) -> None:
    from types import SimpleNamespace

    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "netrc").write_text(entry)
    settings = SimpleNamespace(mode="online", api_key=None, base_url="https://wandb.example")
    assert tracking._offline_because(settings) == reason
    if "api.wandb.ai" in entry:
        settings.base_url = "https://api.forge.coreweave.com"
        assert tracking._offline_because(settings) is None
    settings.api_key = "k"
    assert tracking._offline_because(settings) is None
    settings.api_key, settings.mode = None, "offline"
    assert tracking._offline_because(settings) is None


# --- both


@pytest.mark.usefixtures("offline")
def test_a_run_that_is_killed_and_goes_on(tmp_path, said) -> None:
    first, second = rows(1, 5), rows(4, 6, seed=1)
    code = (
        "import json, os, sys; from pathlib import Path; from compact_vit.train import tracking\n"
        "folder, config, told = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])\n"
        "both = tracking.Tracking(tracking.TRACKERS, folder, config, [], lambda line: None)\n"
        "for row in told: both.epoch(row)\n"
        "os.kill(os.getpid(), 9)"
    )
    words = [str(tmp_path), json.dumps(CONFIG), json.dumps(first)]
    root = Path(tracking.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code, *words], cwd=root).returncode == -9
    both = Tracking(tracking.TRACKERS, tmp_path, CONFIG, first[:3], said.append)
    tell(both, second)
    both.end(SUMMARY)
    assert_curves(tmp_path, first[:3] + second)
    assert_history(kept(tmp_path)[2], first[:3] + second)


# --- what fails


def test_a_full_disk_ends_the_tracking_alone(begin, tmp_path, said, monkeypatch, capfd) -> None:
    told = rows(1, 4)
    tracking = begin("tensorboard")
    tell(tracking, told[:2])

    def full(self: RecordWriter, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left\non device")

    with monkeypatch.context() as patch:
        patch.setattr(RecordWriter, "write", full)
        tell(tracking, told[2:3])
    tell(tracking, told[3:])
    tracking.end(SUMMARY)
    assert said == [
        "warning: tensorboard fails, and the run goes on without it: "
        "[Errno 28] No space left on device"
    ]
    assert_curves(tmp_path, told[:2])
    assert capfd.readouterr() == ("", "")


def test_a_tracker_that_cannot_begin(tmp_path, said) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    Tracking(("tensorboard",), tmp_path, CONFIG, [], said.append).end(SUMMARY)
    (line,) = said
    assert line.startswith("warning: tensorboard fails, and the run goes on without it: ")


@pytest.mark.usefixtures("offline")
def test_one_that_fails_leaves_the_other(tmp_path, said, monkeypatch) -> None:
    told = rows(1, 3)
    both = Tracking(("wandb", "tensorboard"), tmp_path, CONFIG, [], said.append)
    both.epoch(told[0])
    with monkeypatch.context() as patch:
        patch.setattr(wandb.Run, "log", lambda *_, **__: 1 / 0)
        both.epoch(told[1])
    both.epoch(told[2])
    both.end(SUMMARY)
    assert said[1:] == ["warning: wandb fails, and the run goes on without it: division by zero"]
    assert_curves(tmp_path, told)
    assert_history(kept(tmp_path)[2], told[:1])


def test_an_interrupt_is_no_failure(begin, monkeypatch, said) -> None:
    tracking = begin("tensorboard")

    def interrupted(self: RecordWriter, data: bytes) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RecordWriter, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            tell(tracking, rows(1, 1))
    tracking.close()
    assert not said
