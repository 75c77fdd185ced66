from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hc_deploy.console import run_app
from tests.bench.fakes import Ended
from tests.video.toys import save_toy, toy_spec

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def toy(tmp_path) -> Path:
    """A model in a folder of its own, as export.py leaves it, where the test works."""
    (tmp_path / "net").mkdir()
    return save_toy(tmp_path / "net" / "model.onnx", toy_spec())


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    """Run a command of an app in this process, in tmp_path."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)

    def run(app, *arguments) -> Ended:
        with pytest.raises(SystemExit) as ended:
            run_app(app, [str(argument) for argument in arguments])
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def shell(tmp_path):
    """Run a line of bash in tmp_path, `$PY` being Python: (exit code, standard output, standard error), in bytes."""

    def run(line: str, **environment: str) -> tuple[int, bytes, bytes]:
        given = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "PY": sys.executable, **environment}
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=given, capture_output=True, timeout=120, stdin=subprocess.DEVNULL
        )
        assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr

    return run
