"""`bench run --repeat`: fresh processes, numbered reports, what a signal and a failure leave."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from hc_deploy.bench.report import read_report
from hc_deploy.bench.table import spread_line
from hc_deploy.commands.bench_reports import numbered
from tests.bench.fakes import make_report
from tests.video.toys import save_toy, toy_spec

ROOT = Path(bench.__file__).parent
TOY = ("--size", "64x96", "--warmup", "1", "--threads", "1")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_toy(tmp_path / "toy.onnx", toy_spec())


def start(*arguments: object, program: tuple[str, ...] = ("-m", "hc_deploy", "bench"), cwd: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
    )  # fmt: skip


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("program", [("-m", "hc_deploy", "bench"), (str(ROOT / "bench.py"),)])
def test_each_run_is_a_process_of_its_own(model: Path, tmp_path: Path, program: tuple[str, ...]) -> None:
    """By the program that was called, with the options that it was given."""
    options = ("--rounds", 7, "--within", "3.5", "--frame", "33x47", "--baseline", "b", "--repeat", 2, *TOY)
    process = start("run", "a=toy.onnx", "b=toy.onnx", "-o", "out/r.json", *options, program=program, cwd=tmp_path)
    said, progress = process.communicate(timeout=100)
    assert process.returncode in (0, 5), progress  # 5: the machine was too busy
    assert progress.startswith("run 1 of 2\n") and "run 2 of 2\n" in progress
    assert names(tmp_path / "out") == ["r.1.json", "r.2.json"]
    reports = [read_report(tmp_path / "out" / name) for name in names(tmp_path / "out")]
    assert reports[0].models != reports[1].models
    for report in reports:
        assert (report.baseline, [one.name for one in report.models]) == ("b", ["a", "b"])
        assert (report.workload.rounds, report.workload.warmup, report.workload.frame) == (7, 1, (33, 47))
        assert report.models[0].threads == 1
    assert said.count("where the time goes") == 1 and spread_line(reports) in said
    assert re.search(r"medians of 2 runs, end to end, ms: a \S+ to \S+ \(\S+%\); b \S+ to \S+ \(\S+%\)\n", said)
    assert "reports: out/r.1.json to r.2.json" in said


def test_a_checkpoint_is_loaded_in_each_process(tmp_path: Path) -> None:
    import models
    from hc_deploy.export.checkpoint import CheckpointInfo, save_checkpoint

    save_checkpoint(
        tmp_path / "c.safetensors",
        models.build("fcn32_resnet18", width=4),
        CheckpointInfo("fcn32_resnet18", {"width": 4}),
    )
    arguments = ("run", "c.safetensors", "-o", "r.json", "--rounds", 6, "--repeat", 2, *TOY)
    process = start(*arguments, program=(str(ROOT / "bench.py"),), cwd=tmp_path)
    process.communicate(timeout=100)
    assert process.returncode in (0, 5)
    assert [read_report(tmp_path / f"r.{run}.json").models[0].provider for run in (1, 2)] == ["torch-cpu"] * 2


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")]
)
def test_a_signal_keeps_the_finished_runs(model: Path, tmp_path: Path, number: int, code: int, word: str) -> None:
    """To the command alone, which ends the run under way, wherever that is."""
    process = start("run", "toy.onnx", "-o", "r.json", "--rounds", 60, "--repeat", 50, *TOY, cwd=tmp_path)
    assert process.stderr is not None
    while process.stderr.readline() != "run 3 of 50\n":
        assert process.poll() is None
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    held = re.search(rf"^{word} in run (\d+) of 50; kept: r\.1\.json to r\.(\d+)\.json\n\Z", said, re.MULTILINE)
    assert process.returncode == code and "Traceback" not in said and held is not None, said
    under_way, last = map(int, held.groups())
    assert under_way == last + 1 >= 3
    finished = {f"r.{run}.json" for run in range(1, under_way)}
    assert finished <= set(names(tmp_path)) <= finished | {f"r.{under_way}.json", "toy.onnx"}
    assert {read_report(tmp_path / name).workload.rounds for name in finished} == {60}


def test_ctrl_c_in_a_terminal_keeps_the_rounds_of_the_run_under_way(model: Path, tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.environ["PYTHONPATH"] = str(ROOT)
        command = [sys.executable, "-m", "hc_deploy", "bench", "run", "toy.onnx", "-o", "r.json", "--repeat", "2", *TOY]
        os.execv(sys.executable, [*command, "--rounds", "100000"])
    shown = b""
    while not re.search(rb"round \d\d", shown):
        assert select.select([terminal], [], [], 60)[0], shown
        shown += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    with contextlib.suppress(OSError):  # that is the end of a terminal
        while more := os.read(terminal, 4096):
            shown += more
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert re.search(
        rb"after \d+ rounds; r\.1\.json holds them\r\ninterrupted in run 1 of 2; no run before it\r\n$", shown
    )
    assert names(tmp_path) == ["r.1.json", "toy.onnx"]
    assert read_report(tmp_path / "r.1.json").workload.stop == "interrupted"


def test_a_run_that_fails_ends_the_command(model: Path, tmp_path: Path, invoke) -> None:
    """Once, with its own message and exit code."""
    arguments = ("run", "toy.onnx", "-o", "r.json", "--rounds", 6, "--size", "64x96", "--expect-sha256", "0" * 64)
    process = start(*arguments, "--repeat", 3, cwd=tmp_path)
    said = process.communicate(timeout=60)[1]
    single = start(*arguments, cwd=tmp_path)
    alone = single.communicate(timeout=60)[1]
    assert (process.returncode, single.returncode) == (1, 1)
    assert said == f"run 1 of 3\n{alone}run 1 of 3 failed; no run before it\n"
    assert names(tmp_path) == ["toy.onnx"]


def test_every_name_is_claimed_before_any_work(invoke, model: Path, tmp_path: Path) -> None:
    (tmp_path / "r.3.json").mkdir()
    ended = invoke("run", model, "-o", tmp_path / "r.json", "--repeat", 3)
    assert ended.code == 1 and "r.3.json is a folder" in ended.err and "run 1" not in ended.err
    aside = model.rename(tmp_path / "toy.2.json")
    ended = invoke("run", f"a={aside}", "-o", tmp_path / "toy.json", "--repeat", 2)
    assert ended.code == 2 and "both input and output" in ended.err and "run 1" not in ended.err


@pytest.mark.parametrize("repeat", ["0", "-1", "101", "many"])
def test_numbers_of_runs_that_are_refused(invoke, model: Path, tmp_path: Path, repeat: str) -> None:
    ended = invoke("run", model, "-o", tmp_path / "r.json", "--repeat", repeat)
    assert ended.code == 2 and "--repeat" in ended.err and names(tmp_path) == ["toy.onnx"]


def test_names_of_runs() -> None:
    assert numbered(Path("a/r.v1.json"), 1) == [Path("a/r.v1.json")]
    assert numbered(Path("a/r.v1.JSON"), 2) == [Path("a/r.v1.1.JSON"), Path("a/r.v1.2.JSON")]


def test_spread_of_runs() -> None:
    reports = [
        make_report({"a": a - 1.5, "b": b - 1.5}, noise=1e-6) for a, b in ((26.0, 2.5), (25.3, 6.75), (28.4, 2.5))
    ]
    assert spread_line(reports) == ("medians of 3 runs, end to end, ms: a 25.3 to 28.4 (12.3%); b 2.50 to 6.75 (170%)")
