from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.video.toys import save_toy, toy_spec

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> dict[str, Path]:
    """Toy models by name: what each is good or bad for."""
    folder = tmp_path_factory.mktemp("models")
    specs = {
        "any": toy_spec(),
        "fixed": toy_spec(batch=1, height=64, width=96),
        "plain": toy_spec(("labels",)),
        "pair": toy_spec(batch=2),
        "blind": toy_spec(("superpixels",)),
    }
    made = {name: save_toy(folder / f"{name}.onnx", spec) for name, spec in specs.items()}
    made["foreign"] = save_toy(folder / "foreign.onnx", toy_spec(), metadata=False)
    return made


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}


def start(*arguments, cwd: Path, **options) -> subprocess.Popen:
    """`python -m hc_deploy ARGUMENTS` on its way."""
    command = [sys.executable, "-m", "hc_deploy", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=cwd, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


@pytest.fixture
def cli(tmp_path):
    """Run a command to its end in tmp_path: never a traceback, never FFmpeg's or OpenCV's own words."""

    def run(*arguments, code: int, **options) -> subprocess.CompletedProcess:
        process = start(*arguments, cwd=tmp_path, **options)
        out, error = process.communicate(timeout=60)
        assert process.returncode == code, f"exit code {process.returncode}, expected {code}\n{out}\n{error}"
        for noise in ("Traceback", "FFMPEG", "[ WARN", "[ERROR", "moov atom", "libpng", "@ 0x"):
            assert noise not in error, error
        if code == 1:
            assert error.count("error: ") == 1
        assert not leftovers(tmp_path), "a temporary file is left"
        return subprocess.CompletedProcess(arguments, code, out, error)

    return run


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob(".*") if path.is_file()]
