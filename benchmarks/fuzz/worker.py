"""The process that reads broken files: `python -m benchmarks.fuzz.worker MODULE:FUNCTION`.

A path a line comes in on standard input; a line of JSON goes out for each: how the reading ended. Its memory is
limited, and a file that starts a program, opens a connection or removes a file is stopped before it does.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.fuzz.readers import printed
from hc_deploy.system.children import leave_signals_to_the_parent

MOST_BYTES = 3 << 30
"""Beyond what the process holds when it is ready; more is refused by the system (MemoryError, std::bad_alloc)."""
FORBIDDEN = (
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.system",
    "pty.spawn",
    "shutil.rmtree",
    "socket.connect",
    "subprocess.Popen",
)
ROOT = Path(__file__).resolve().parents[2]


class ForbiddenCall(BaseException):
    """A file made its reader do what no file may ask for. No Exception: readers catch those."""


def main() -> None:
    leave_signals_to_the_parent()
    module, _, name = sys.argv[1].partition(":")
    read: Callable[[Path], None] = getattr(importlib.import_module(module), name)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    faulthandler.enable(os.fdopen(os.dup(2), "w"))
    os.dup2(nowhere, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warm = False
    for line in sys.stdin:
        answer = _read(read, Path(line.rstrip("\n")))
        print(json.dumps(answer), file=answers, flush=True)
        if not warm:  # the first file is a valid one: the libraries are loaded now
            warm = True
            _forbid()
            limit = _held("VmSize") + MOST_BYTES
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _forbid() -> None:
    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in FORBIDDEN:
            raise ForbiddenCall(f"{event} {arguments!r}"[:300])

    sys.addaudithook(refuse)


def _read(read: Callable[[Path], None], path: Path) -> dict[str, Any]:
    """How it ended (`read`, `refused`, `traceback`), what was said, where, and the bytes that memory grew by."""
    from hc_deploy.console import print_note
    from hc_deploy.errors import DeployError

    before, peak = _held("VmRSS"), _held("VmHWM")
    end, said, where = "read", "", ""
    try:
        try:
            read(path)
        except DeployError as error:
            end, said = "refused", str(error)
            printed(print_note, [f"error: {error}"])  # a message that cannot be printed is a traceback too
    except BaseException as error:
        end = "traceback"
        said = "".join(traceback.format_exception(error, limit=-12))
        where = f"{type(error).__name__} in {_place(error)}"
    after = _held("VmHWM")
    grown = after - before if after > peak else 0
    return {"end": end, "said": said[:4000], "where": where, "grown": grown}


def _place(error: BaseException) -> str:
    """The innermost function of this project on the way to the error."""
    last = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and "site-packages" not in path.parts and path != Path(__file__):
            last = f"{path.relative_to(ROOT)}:{frame.name}"
    return last


def _held(field: str) -> int:
    """Bytes, of this process: VmSize, VmRSS or VmHWM (the most that VmRSS has been)."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


if __name__ == "__main__":
    main()
