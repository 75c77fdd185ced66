"""Ctrl-C in a command: it ends the process at once, cleanly, or leaves a mark where a file is to be finished first.

Python's own way, a KeyboardInterrupt wherever the main thread happens to be, is unsafe in other people's code: OpenCV
crashes in 2 of 100, an import of numpy fails with another error, torch's exporter swallows it and goes on. So nothing
is raised there. What must not stay behind is registered with `assured`, or with `atexit`.
"""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
SECONDS_TO_CLEAN = 10


def take() -> None:
    """From now on Ctrl-C ends this process: `leave`. Does nothing where Ctrl-C is ignored (nohup) or handled."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave_on)


def leave(note: str = "interrupted") -> NoReturn:
    """Clean up, say `note` on standard error, and end with 130. Only from the main thread.

    Cleaning that hangs is given up after 10 seconds.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second one stops no cleaning
    signal.signal(signal.SIGALRM, lambda *_: os._exit(INTERRUPTED))
    signal.alarm(SECONDS_TO_CLEAN)
    atexit._run_exitfuncs()
    with suppress(OSError):
        os.write(2, f"{note}\n".encode())
    os._exit(INTERRUPTED)


@contextmanager
def instead(act: Callable[[], None]) -> Iterator[None]:
    """Within the block Ctrl-C calls `act`, in the main thread, and what ran goes on. Only from the main thread."""

    def handle(number: int, frame: FrameType | None) -> None:
        act()

    previous = signal.getsignal(signal.SIGINT)
    if previous is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, handle)
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
def assured(clean: Callable[[], object]) -> Iterator[None]:
    """`clean` is called when the block ends, and when the process ends within it."""
    atexit.register(clean)
    try:
        yield
    finally:
        atexit.unregister(clean)
        clean()


def _leave_on(number: int, frame: FrameType | None) -> None:
    leave()
