"""The command in this process and in one of its own, and two tiny exported models."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import bench
from hc_deploy.console import run_app
from tests.bench.fakes import Ended, spec_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """Runs the command in this process."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: object) -> Ended:
        with pytest.raises(SystemExit) as ended:
            run_app(bench.app, [str(argument) for argument in arguments])
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def shell() -> Callable[..., Ended]:
    """Runs the command as a user does, in a process of its own, 80 columns wide."""

    def call(*arguments: object, **environment: str) -> Ended:
        ended = subprocess.run(
            [sys.executable, str(ROOT / "bench.py"), *map(str, arguments)],
            capture_output=True, text=True, timeout=100, cwd=ROOT, env={**os.environ, "COLUMNS": "80", **environment},
        )  # fmt: skip
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    return call


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with a model.onnx each: FCN-32 and HCFCN-32 of width 4, 64 x 96."""
    import models
    from hc_deploy.export.onnx import export_onnx, save_onnx

    folder = tmp_path_factory.mktemp("models")
    for arch in ("fcn32", "hcfcn32"):
        name = f"{arch}_resnet18"
        net = models.build(name, width=4)
        save_onnx(export_onnx(net, spec_of(name, options={"width": 4})), folder / arch / "model.onnx")
    return {arch: folder / arch for arch in ("fcn32", "hcfcn32")}
