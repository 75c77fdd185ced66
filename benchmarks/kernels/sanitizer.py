"""NVIDIA's compute-sanitizer over a few cases: a library enters, one finding a tool leaves.

The cases run in a child process (`sanitized.py`), in which torch allocates each tensor by itself: in torch's pool an
access past a tensor's end would still be inside an allocation.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
TOOLKIT = Path("/usr/local/cuda/bin/compute-sanitizer")
FOUND = 9
"""The sanitizer's exit code when it found something."""
SECONDS = 240
ROOT = Path(__file__).resolve().parents[2]
Status = Literal["clean", "errors", "not run"]


@dataclass(frozen=True)
class Sanitized:
    """One tool's finding. `detail`: its own summary, or why it did not run."""

    tool: str
    status: Status
    detail: str


def find_sanitizer() -> str | None:
    """The tool on the path or in the toolkit."""
    return shutil.which("compute-sanitizer") or (str(TOOLKIT) if TOOLKIT.is_file() else None)


def sanitize(library: Path, *, sanitizer: str | None, device: str = "cuda") -> tuple[Sanitized, ...]:
    """All tools over `few_cases()`; each 'not run' where `sanitizer` is None."""
    if sanitizer is None:
        return tuple(Sanitized(tool, "not run", "compute-sanitizer was not found") for tool in TOOLS)
    return tuple(_run(sanitizer, tool, library, device) for tool in TOOLS)


def _run(sanitizer: str, tool: str, library: Path, device: str) -> Sanitized:
    # Errors of API calls are torch's own probing of the driver.
    quiet = ["--report-api-errors", "no"] if tool == "memcheck" else []
    child = [sys.executable, "-m", "benchmarks.kernels.sanitized", str(library.resolve()), "--device", device]
    command = [sanitizer, "--tool", tool, "--error-exitcode", str(FOUND), *quiet, *child]
    environment: Mapping[str, str] = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, env=environment, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Sanitized(tool, "not run", str(error).splitlines()[0])
    return judge(tool, done.returncode, done.stdout + done.stderr)


def judge(tool: str, code: int, output: str) -> Sanitized:
    """Exit code and output -> finding. Clean: the tool's summary counts nothing and the child came to its end."""
    lines = [line.lstrip("= ").strip() for line in output.splitlines() if line.strip()]
    summary = next((line for line in reversed(lines) if "SUMMARY" in line), None)
    ended = any(re.fullmatch(r"sanitized \d+ cases", line) for line in lines)
    if summary is not None and re.search(r"[1-9]\d* (error|hazard|warning)", summary):
        return Sanitized(tool, "errors", "; ".join([summary, *_first_errors(lines)]))
    if code == 0 and summary is not None and ended:
        return Sanitized(tool, "clean", summary)
    if code == FOUND:
        return Sanitized(tool, "errors", "; ".join(lines[-3:]))
    return Sanitized(tool, "not run", "; ".join(lines[-2:]) or f"exit code {code}")


def _first_errors(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(("Invalid", "Error", "Race", "Uninitialized", "Barrier"))][:2]
