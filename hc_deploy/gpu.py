"""The first NVIDIA GPU, as the driver's own tool tells it: nothing is imported, no context is made."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass

QUERY = "name,driver_version,clocks.sm,clocks.max.sm,compute_cap"
SECONDS = 10


@dataclass(frozen=True)
class Gpu:
    """A GPU: clocks of its multiprocessors in MHz, compute capability as "9.0"; None where the driver does not tell."""

    name: str
    driver: str
    clock_mhz: float | None
    max_clock_mhz: float | None
    compute_capability: str | None = None


def read_gpu() -> Gpu | None:
    """The first GPU; None without a driver that answers."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    try:
        answer = subprocess.run(
            [command, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=SECONDS, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.stdout.strip().splitlines()
    return parse_gpu(lines[0]) if lines else None


def parse_gpu(line: str) -> Gpu | None:
    """One line of `nvidia-smi --query-gpu=<QUERY> --format=csv,noheader,nounits`."""
    parts = [part.strip() for part in line.split(",")]
    if len(parts) != len(QUERY.split(",")):
        return None
    capability = parts[4] if _number(parts[4]) is not None else None
    return Gpu(parts[0], parts[1], _number(parts[2]), _number(parts[3]), capability)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
