"""A small process beside the command that ends it where its own Python no longer can.

A signal wakes Python's C handler whatever the main thread does, and that writes the signal's number into a pipe. But
everything of Python's that could act on it waits for the interpreter's lock, and native code may hold that lock for
ever. So another process reads the pipe. It hands each byte back, for a thread of the command to act on, and when the
command is still there at the end of its time it has it ended without the lock: a read of glibc's own threads, which
calls `_exit(CODE)` when a byte comes. Where there is no such read the end is SIGKILL. A process that the system itself
cannot end (it waits for a dead network drive, say) stays.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

GRANT = 128
"""A byte above this, which no signal is, grants so many seconds more."""
MOST_GRANTED = 255 - GRANT
SECONDS_TO_EXIT = 1.0
SIGEV_THREAD = 2
STDERR = 2


class _Event(ctypes.Structure):
    """struct sigevent: call `function(value)` in a thread of its own."""

    _fields_ = (
        ("value", ctypes.c_void_p), ("signo", ctypes.c_int), ("notify", ctypes.c_int), ("function", ctypes.c_void_p),
        ("attributes", ctypes.c_void_p), ("rest", ctypes.c_char * 32),
    )  # fmt: skip


class _Read(ctypes.Structure):
    """struct aiocb of 64-bit glibc and musl, with room to spare for what the library keeps in it."""

    _fields_ = (
        ("file", ctypes.c_int), ("opcode", ctypes.c_int), ("priority", ctypes.c_int), ("buffer", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t), ("event", _Event), ("rest", ctypes.c_char * 256),
    )  # fmt: skip


_reads: list[tuple[_Read, ctypes.Array[ctypes.c_char]]] = []
"""The library's threads look at them until the end."""


@dataclass(frozen=True)
class Line:
    """The command's ends of two pipes. `out`: to the process, for `signal.set_wakeup_fd`; `back`: the same bytes."""

    out: int
    back: int

    def grant(self, seconds: float) -> None:
        """The process waits so much longer from now on."""
        with suppress(OSError):
            os.write(self.out, bytes([GRANT + min(MOST_GRANTED, round(seconds))]))

    def close(self) -> None:
        for end in (self.out, self.back):
            with suppress(OSError):
                os.close(end)


@dataclass(frozen=True)
class End:
    """What a signal ends in: an exit code, and a line on standard error."""

    code: int
    says: str


def start(ends: Mapping[int, End], seconds: float) -> Line:
    """Start the process: so many `seconds` after a byte came that is in `ends`, this one ends so.

    To be called before there are threads. Where the system has no room for a process the bytes come back through a
    plain pipe, and native code that holds the interpreter's lock is not ended.
    """
    out, back = os.pipe(), os.pipe()
    exits = {number: os.pipe() for number in ends}
    parent = os.getpid()
    try:
        child = os.fork()
    except OSError:
        child = -1
    if child == 0:
        _detach({STDERR, out[0], back[1], *(write for _, write in exits.values())})
        number = _serve(out[0], back[1], set(ends), seconds)
        _end(out[0], exits[number][1], f"{ends[number].says}\n".encode(), parent)
    unused = [back[1], *(write for _, write in exits.values())]
    if child > 0:
        os.waitpid(child, 0)  # gone at once: a child of its own does the work
        unused.append(out[0])
        for number, end in ends.items():
            _exit_on_byte(exits[number][0], end.code)
    for descriptor in unused:
        os.close(descriptor)
    os.set_blocking(out[1], False)
    return Line(out[1], back[0] if child > 0 else out[0])


def _exit_on_byte(source: int, code: int) -> None:
    """When a byte can be read from `source` the process ends with `code`, whoever holds the interpreter's lock."""
    buffer = ctypes.create_string_buffer(1)
    read = _Read(file=source, buffer=ctypes.addressof(buffer), bytes=1)
    try:
        library = ctypes.CDLL(None)
        read.event.function = ctypes.cast(library._exit, ctypes.c_void_p).value
        read.event.value, read.event.notify = code, SIGEV_THREAD
        if os.uname().sysname == "Linux" and ctypes.sizeof(ctypes.c_void_p) == 8 and not library.aio_read(
            ctypes.byref(read)
        ):  # fmt: skip
            _reads.append((read, buffer))
    except (AttributeError, OSError):  # a C library without it
        return


def _detach(keep: set[int]) -> None:
    """In the forked process: no child of the command's, not of its group, and none of its files but `keep`."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    os.chdir("/")
    try:
        opened = [int(file.name) for file in Path("/proc/self/fd").iterdir()]
    except OSError:
        opened = list(range(256))
    for end in set(opened) - keep:
        with suppress(OSError):
            os.close(end)


def _serve(source: int, back: int, signals: set[int], seconds: float) -> int:
    """Hand bytes back until the command is gone, or its time after a signal is over: which signal."""
    number, came, granted = 0, 0.0, 0.0
    while True:
        left = max(0.0, max(came + seconds, granted) - time.monotonic()) if number else None
        if not select.select([source], [], [], left)[0]:
            return number
        data = os.read(source, 64)
        if not data:
            os._exit(0)
        with suppress(OSError):
            os.write(back, data)
        for byte in data:
            if byte in signals and not number:
                number, came = byte, time.monotonic()
            elif byte > GRANT:
                granted = time.monotonic() + byte - GRANT


def _end(source: int, exit_pipe: int, says: bytes, parent: int) -> NoReturn:
    """Have the command ended, and kill it where that fails."""
    for end, data in ((STDERR, says), (exit_pipe, b"x")):
        with suppress(OSError):
            os.write(end, data)
    until = time.monotonic() + SECONDS_TO_EXIT
    while select.select([source], [], [], max(0.0, until - time.monotonic()))[0]:
        if not os.read(source, 64):
            os._exit(0)
    with suppress(OSError):
        os.kill(parent, signal.SIGKILL)
    os._exit(0)
