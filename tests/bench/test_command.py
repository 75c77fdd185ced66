"""`python bench.py` as a user runs it: files, tables, messages and exit codes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

import bench
from hc_deploy.bench.report import Clock, read_report
from hc_deploy.commands import bench as bench_command
from hc_deploy.commands.bench_models import name_models, with_runners
from hc_deploy.errors import UsageError
from hc_deploy.ran import Runtime
from tests.bench.fakes import FakeSession
from tests.video.toys import save_toy, toy_spec

ROUNDS = 12


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Replaces the sessions of `model` files made on the fly."""

    def make(*sessions: FakeSession) -> list[str]:
        by_name = {session.name: session for session in sessions}
        monkeypatch.setattr(bench_command, "_deployed", lambda path, *_: by_name[path.stem])
        for session in sessions:
            (tmp_path / f"{session.name}.onnx").write_bytes(b"model")
        return [str(tmp_path / f"{session.name}.onnx") for session in sessions]

    return make


@pytest.fixture(scope="module")
def measured(shell, exported: dict[str, Path], tmp_path_factory: pytest.TempPathFactory):
    """One run on two real models: (how it ended, the report's path)."""
    path = tmp_path_factory.mktemp("reports") / "new" / "report.json"
    onnx = exported["hcfcn32"] / "model.onnx"
    options = (
        "--rounds",
        ROUNDS,
        "--warmup",
        2,
        "--threads",
        1,
        "--kernels",
        "bodies",
        "--frame",
        "80x100",
        "--baseline",
        "hcfcn32",
    )
    return shell("run", exported["fcn32"], onnx, "-o", path, *options), path


def test_report_of_a_run(measured, exported: dict[str, Path]) -> None:
    ended, path = measured
    assert ended.code in (0, 5), ended.err  # 5: the machine was too busy; the report is written all the same
    report = read_report(path)
    assert json.loads(path.read_text())["schema"] == 3
    installed = metadata.version("onnxruntime")
    assert [model.runtime for model in report.models] == 2 * [
        Runtime("onnxruntime", installed, kernels="bodies (as asked)")
    ]
    assert f"onnxruntime {installed}" in ended.out and "1x64x96" in ended.out and "as in the file" in ended.out
    assert (report.baseline, [model.name for model in report.models]) == ("hcfcn32", ["fcn32", "hcfcn32"])
    work = report.workload
    assert (work.frame, work.rounds, work.warmup, work.stop) == ((80, 100), ROUNDS, 2, "rounds")
    for model in report.models:
        content = (exported[model.name] / "model.onnx").read_bytes()
        assert (model.file.sha256, model.file.bytes) == (hashlib.sha256(content).hexdigest(), len(content))
        assert (model.arch, model.options) == (f"{model.name}_resnet18", {"width": 4})
        assert (model.batch, model.size, model.threads, model.provider) == (1, (64, 96), 1, "cpu")
        for clock in Clock:
            assert len(model.samples.of(clock)) == ROUNDS
        for engine, transfer, end_to_end in zip(*(model.samples.of(clock) for clock in Clock), strict=True):
            assert 1e4 < engine <= transfer <= end_to_end < 60e9


def test_table_of_a_run(measured) -> None:
    ended, path = measured
    assert max(map(len, ended.out.splitlines())) <= 80
    for text in ("engine", "transfer", "end to end", "fps", "(baseline)", "where the time goes", f"report: {path}"):
        assert text in ended.out
    assert f"{ROUNDS} rounds after 2 of warm-up" in ended.out and "frame 80x100; threads: 1" in ended.out
    assert "Traceback" not in ended.err


def test_a_report_equals_itself(measured, shell) -> None:
    ended = shell("compare", measured[1], measured[1])
    assert ended.code in (0, 5) and ended.out.count("not significant") >= 6 and "REGRESSION" not in ended.out


def test_checkpoints_run_in_torch_beside_onnx(shell, exported: dict[str, Path], tmp_path: Path) -> None:
    import models
    from hc_deploy.export.checkpoint import CheckpointInfo, save_checkpoint

    checkpoint = tmp_path / "fcn32.safetensors"
    net = models.build("fcn32_resnet18", width=4)
    save_checkpoint(checkpoint, net, CheckpointInfo("fcn32_resnet18", {"width": 4}))
    ended = shell("run", exported["fcn32"], checkpoint, "-o", tmp_path / "r.json", "--rounds", 3, "--threads", 1)
    assert ended.code in (0, 5), ended.err
    deployed, torch = read_report(tmp_path / "r.json").models
    assert (deployed.name, deployed.provider) == ("fcn32", "cpu")
    assert (torch.name, torch.provider, torch.size) == ("fcn32-torch", "torch-cpu", (64, 96))
    assert "3 rounds are too few" in ended.out


def test_help_is_quick(shell) -> None:
    """Of processor time, which a busy machine does not stretch as it does a wall clock's."""
    seconds = []
    for _ in range(4):
        before = os.times()
        assert shell("run", "--help").code == 0
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) < 0.3


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, bench; heavy = {'torch', 'onnx', 'onnxruntime', 'cv2', 'numpy', 'models'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    root = Path(bench.__file__).parent
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert ended.returncode == 0, ended.stderr


def test_unstable_measurement_ends_with_5_and_writes_the_report(fakes, invoke, tmp_path: Path) -> None:
    """Half of the passes take 20 times as long as the others: no median is known."""
    passes = iter(range(10_000))

    def erratic() -> None:
        time.sleep(0.02 if next(passes) // 2 % 2 else 0.001)  # pairs: a priming run and its sample

    ended = invoke("run", *fakes(FakeSession("a", execute=erratic)), "-o", tmp_path / "r.json", "--rounds", 20)
    assert ended.code == 5
    assert "a, engine: median" in ended.err and f"report: {tmp_path / 'r.json'}" in ended.out
    assert read_report(tmp_path / "r.json").workload.rounds == 20


def test_ctrl_c_in_a_terminal(tmp_path: Path) -> None:
    """Pressed in a terminal when its counter has reached 10 rounds or more."""
    model, output = save_toy(tmp_path / "toy.onnx", toy_spec()), tmp_path / "out" / "r.json"
    command = [sys.executable, str(Path(bench.__file__)), "run", str(model), "--size", "64x96", "-o", str(output)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], [*command, "--rounds", "100000"])
    shown = b""
    while not re.search(rb"round \d\d", shown):
        assert select.select([terminal], [], [], 60)[0], shown
        shown += os.read(terminal, 4096)
    os.write(terminal, b"\x03")
    with contextlib.suppress(OSError):  # that is the end of a terminal
        while more := os.read(terminal, 4096):
            shown += more
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    rounds = re.search(rb"\r\x1b\[Kinterrupted after (\d+) rounds; \S*/out/r.json holds them\r\n$", shown)
    assert rounds is not None and int(rounds[1]) >= 10
    assert list(output.parent.iterdir()) == [output] and read_report(output).workload.rounds == int(rounds[1])


def test_what_was_measured_cannot_be_written(tmp_path: Path) -> None:
    """The disk is full when the signal comes: one line, no traceback."""
    model = save_toy(tmp_path / "toy.onnx", toy_spec())
    code = f"""
import os, resource, signal
from hc_deploy.system import interrupts
interrupts.install()
import bench
from hc_deploy.commands import bench_progress
from hc_deploy.console import run_app
def told(self, rounds):
    if rounds == 9:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        os.kill(os.getpid(), signal.SIGTERM)
bench_progress.Progress.__call__ = told
run_app(bench.app, ["run", {str(model)!r}, "--size", "64x96", "--rounds", "100000", "-o", "r.json"])
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(bench.__file__).parent)}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    said = "ended by SIGTERM after 9 rounds; cannot write r.json: File too large\n"
    assert (ended.returncode, ended.stderr) == (143, said)
    assert [path.name for path in tmp_path.iterdir()] == ["toy.onnx"]


def test_time_limit_and_sizes_reach_the_measurement(fakes, invoke, tmp_path: Path) -> None:
    session = FakeSession("a")
    session.spec = type(session.spec)(**{**vars(session.spec), "batch": None, "height": None, "width": None})
    models = fakes(session)
    ended = invoke("run", *models, "-o", tmp_path / "r.json", "--max-seconds", 0, "--size", "33x47", "--warmup", 0)
    assert ended.code == 0, ended.err
    report = read_report(tmp_path / "r.json")
    assert (report.workload.rounds, report.workload.stop, report.workload.frame) == (1, "time", (33, 47))
    assert report.models[0].size == (33, 47) and session._shape == (1, 33, 47)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("a.onnx",), 1, "a.onnx does not exist"),
        (("a.safetensors",), 1, "a.safetensors does not exist"),
        (("a.engine",), 1, "a.engine does not exist"),
        ((__file__,), 1, "not a whole checkpoint"),
        (("a.onnx", "b/a.onnx"), 2, "two models are called 'a'"),
        (("x=a.onnx", "--baseline", "a"), 2, "--baseline a"),
        (("a.onnx", "--size", "12"), 2, "size '12'"),
        (("a.onnx", "--rounds", "0"), 2, "rounds"),
        (("a.onnx", "--provider", "gpu"), 2, "provider"),
        ((), 2, "MODEL"),
    ],
)
def test_bad_usage(invoke, tmp_path: Path, arguments: tuple[str, ...], code: int, says: str) -> None:
    ended = invoke("run", *arguments, "-o", tmp_path / "r.json")
    assert ended.code == code and says in ended.err and "Traceback" not in ended.err
    assert not (tmp_path / "r.json").exists()


def test_output_is_checked_before_the_measurement(fakes, invoke, tmp_path: Path) -> None:
    session = FakeSession("a")
    ended = invoke("run", *fakes(session), "-o", tmp_path)
    assert ended.code == 1 and "is a folder" in ended.err
    assert session.log == []


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("old", "new"):
        (tmp_path / folder / "fcn").mkdir(parents=True)
        (tmp_path / folder / "fcn" / "model.onnx").touch()
    (tmp_path / "a=b.onnx").touch()
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "fcn.safetensors").touch()
    named = name_models(["old/fcn", "n=new/fcn/model.onnx", "w/fcn.safetensors", "a=b.onnx"])
    assert named == {
        "fcn": Path("old/fcn/model.onnx"),
        "n": Path("new/fcn/model.onnx"),
        "fcn-torch": Path("w/fcn.safetensors"),
        "a=b": Path("a=b.onnx"),
    }
    with pytest.raises(UsageError, match=r"old=old/fcn/model\.onnx new=new/fcn/model\.onnx"):
        name_models(["old/fcn", "new/fcn"])


def test_against_other_runtimes(exported, invoke, tmp_path):
    """The same file in OpenVINO beside ONNX Runtime, in one run."""
    pytest.importorskip("openvino")
    plan = ("--rounds", 8, "--warmup", 1, "--against", "openvino")
    ended = invoke("run", exported["hcfcn32"], "-o", tmp_path / "r.json", *plan)
    assert ended.code in (0, 5), ended.err
    models = {model.name: model for model in read_report(tmp_path / "r.json").models}
    assert list(models) == ["hcfcn32", "hcfcn32-openvino"]
    assert [model.runtime.name for model in models.values()] == ["onnxruntime", "openvino"]
    assert models["hcfcn32-openvino"].runtime.precision == "fp32"


@pytest.mark.parametrize(
    ("against", "named", "message"),
    [
        ("tflite", {"a": Path("a.onnx")}, "--against tflite"),
        ("openvino", {"a": Path("a.engine")}, "which other runtimes take too"),
        ("openvino", {"a": Path("a.onnx"), "a-openvino": Path("b.onnx")}, "two models are called 'a-openvino'"),
    ],
)
def test_against_what_cannot_be(against, named, message):
    with pytest.raises(UsageError, match=message):
        with_runners(named, against)
