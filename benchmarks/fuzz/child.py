"""A worker seen from outside: files go in; how each ended comes out, a crash or a hang of the worker included."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from benchmarks.fuzz.worker import ROOT
from hc_deploy.errors import DeployError

MOST_SECONDS = 10.0
MOST_GROWTH = 1 << 30
BUSY = 6
STARTING_SECONDS = 120.0
MOST_FILES = 1000
"""After so many a new process takes over, so that what leaks does not add up."""


@dataclass(frozen=True)
class Seed:
    """A file: its name's suffix and its bytes."""

    suffix: str
    data: bytes


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        name: as on the command line. function: `module:function`, which takes a path.
        stem: of the file's name. beside: files that lie in its folder.
        seeds: valid files, the first of which starts a worker.
    """

    name: str
    function: str
    stem: str
    seeds: tuple[Seed, ...]
    beside: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True)
class Ending:
    """How the reading of a file ended.

    Attributes:
        kind: `read`, `refused` (by a DeployError), or a fault: `traceback`, `crash`, `hang`, `growth`.
        where: which fault it is: two files of one `where` show one fault. said: message or traceback.
    """

    kind: str
    where: str
    said: str

    @property
    def fault(self) -> bool:
        return self.kind not in ("read", "refused")


class Child:
    """Reads files for a `target`, in one worker after another; a context manager that ends the last one."""

    def __init__(self, target: Target, *, seconds: float = MOST_SECONDS, growth: int = MOST_GROWTH) -> None:
        self._target, self._seconds, self._growth = target, seconds, growth
        self._worker: subprocess.Popen[str] | None = None
        self._noise: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by __exit__
        self._folder = tempfile.TemporaryDirectory()
        self._read = 0
        for name, data in target.beside:
            Path(self._folder.name, name).write_bytes(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._noise.close()
        self._folder.cleanup()

    def read(self, seed: Seed) -> Ending:
        """Read one file; a worker is started where none is."""
        if self._worker is None or self._read >= MOST_FILES:
            self._start()
        self._read += 1
        return self._ask(seed, self._seconds)

    def end(self) -> None:
        """End the worker; the next file gets a new one."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.wait()
            for pipe in (self._worker.stdin, self._worker.stdout):
                assert pipe is not None
                pipe.close()
            self._worker = None

    def _start(self) -> None:
        self.end()
        self._noise.seek(0)
        self._noise.truncate()
        self._read = 0
        self._worker = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.fuzz.worker", self._target.function],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._noise, text=True, cwd=ROOT,
        )  # fmt: skip
        first = self._ask(self._target.seeds[0], STARTING_SECONDS)
        if first.kind != "read":
            raise DeployError(f"the valid file of '{self._target.name}' ends in {first.kind}:\n{first.said}")

    def _ask(self, seed: Seed, seconds: float) -> Ending:
        assert self._worker is not None and self._worker.stdin is not None and self._worker.stdout is not None
        path = Path(self._folder.name, self._target.stem + seed.suffix)
        path.write_bytes(seed.data)
        self._worker.stdin.write(f"{path}\n")
        self._worker.stdin.flush()
        ready = self._answers_within(seconds)
        line = self._worker.stdout.readline() if ready else ""
        path.unlink(missing_ok=True)
        if not ready:
            return self._stopped(f"no answer in {seconds:g} s")
        if not line:
            return self._stopped("")
        answer = json.loads(line)
        if answer["grown"] > self._growth and answer["end"] != "traceback":
            self.end()  # the most that it held is known for its whole life only
            return Ending("growth", f"growth, {answer['end']}", f"{answer['grown'] >> 20} MiB more; {answer['said']}")
        return Ending(answer["end"], answer["where"], answer["said"])

    def _answers_within(self, seconds: float) -> bool:
        """Whether an answer comes. On a busy machine the worker is given `BUSY` times as long, unless it computes."""
        assert self._worker is not None
        start, computed = time.monotonic(), _computed(self._worker.pid)
        while not select.select([self._worker.stdout], [], [], min(0.5, seconds))[0]:
            waited = time.monotonic() - start
            if waited > BUSY * seconds or min(waited, _computed(self._worker.pid) - computed) > seconds:
                return False
        return True

    def _stopped(self, hang: str) -> Ending:
        """What is left of a worker that hangs (its Python stack is asked for) or has ended."""
        worker = self._worker
        assert worker is not None
        if hang:
            worker.send_signal(signal.SIGABRT)
        try:
            code = worker.wait(5)
        except subprocess.TimeoutExpired:
            code = 0
        self._noise.seek(0)
        stack = self._noise.read()
        self.end()
        kind = "hang" if hang else "crash"
        said = hang or (signal.Signals(-code).name if code < 0 else f"ended with exit code {code}")
        return Ending(kind, f"{said} in {_innermost(stack)}", f"{said}\n{stack[-3000:]}")


def _computed(pid: int) -> float:
    """Seconds of a processor that the process has had."""
    user, system = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _innermost(stack: str) -> str:
    """The first line of a fault handler's stack that is this project's."""
    for path, function in re.findall(r'File "([^"]+)", line \d+ in (\S+)', stack):
        if path.startswith(str(ROOT)) and "site-packages" not in path:
            return f"{Path(path).relative_to(ROOT)}:{function}"
    return "?"
