"""Ctrl-C in a command: it ends the process at once, cleanly, or leaves a mark where a file is to be finished first.

Python's own way, a KeyboardInterrupt wherever the main thread happens to be, is unsafe in other people's code: OpenCV
crashes in 2 of 100, an import of numpy fails with another error, torch's exporter swallows it and goes on. So nothing
is raised there. What must not stay behind is registered with `assured`, or with `atexit`. Library use, without `take`,
keeps Python's way.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType

INTERRUPTED = 130
SECONDS_TO_CLEAN = 10.0
_notes: list[Callable[[], str]] = [lambda: "interrupted"]


def take() -> None:
    """From now on Ctrl-C cleans up and ends this process. Does nothing where Ctrl-C is ignored (nohup) or handled."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


@contextmanager
def saying(note: Callable[[], str]) -> Iterator[None]:
    """Within the block a process that Ctrl-C ends says `note()` on standard error, not just that it was interrupted."""
    _notes.append(note)
    try:
        yield
    finally:
        _notes.pop()


@contextmanager
def assured(clean: Callable[[], object]) -> Iterator[None]:
    """`clean` is called when the block ends, and when the process ends within it; in between even twice."""
    call = partial(clean)  # atexit tells calls apart by identity
    atexit.register(call)
    try:
        yield
    finally:
        try:
            clean()
        finally:
            atexit.unregister(call)


@contextmanager
def instead(act: Callable[[], None]) -> Iterator[None]:
    """Within the block Ctrl-C calls `act`, and what ran goes on. Without effect off the main thread, or under nohup."""
    on_main = threading.current_thread() is threading.main_thread()
    previous = signal.getsignal(signal.SIGINT)
    if not on_main or previous is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: act())
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether Ctrl-C came within the block; nothing else happens on it."""
    presses: list[None] = []
    with instead(lambda: presses.append(None)):
        yield lambda: bool(presses)


@contextmanager
def postponed() -> Iterator[None]:
    """Ctrl-C within the block takes effect at its end, unless that is an exception."""
    with deferred() as asked:
        yield
    if asked():
        signal.raise_signal(signal.SIGINT)


def _leave(number: int, frame: FrameType | None) -> None:
    """Clean up, say so on standard error, and end with 130; what hangs is given up. In the main thread, as handlers."""
    signal.signal(signal.SIGINT, lambda number, frame: None)  # an impatient second one stops no cleaning
    with suppress(RuntimeError):  # no more threads: Python itself is ending
        giving_up = threading.Timer(SECONDS_TO_CLEAN, os._exit, [INTERRUPTED])
        giving_up.daemon = True
        giving_up.start()
    note = _notes[-1]()
    atexit._run_exitfuncs()
    with suppress(OSError):
        os.write(2, f"{note}\n".encode())
    os._exit(INTERRUPTED)
