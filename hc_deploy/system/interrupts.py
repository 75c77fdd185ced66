"""Ctrl-C, SIGTERM and SIGHUP in a command: each ends the process cleanly within 10 seconds, whatever runs in it.

Python's own way, a KeyboardInterrupt wherever the main thread happens to be, is unsafe in other people's code: OpenCV
crashes in 2 of 100, an import of numpy fails with another error, torch's exporter swallows it and goes on. So nothing
is raised there. What must not stay behind is registered with `cleanup`, or with `atexit`. Without `install`, as a
library, it is Python's way.

Three stages, each for what the one before cannot reach. The handler, in the main thread as Python has it: at once,
unless native code runs there. After SECONDS_TO_FINISH a thread does the same from beside native code that gave the
interpreter's lock away, as nearly all of it does; the main thread stops where it next comes to Python. After
SECONDS_IN_ALL another process ends this one (`last_resort`), with nothing cleaned up: the next run sweeps its
temporary files (`temporary`).
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import NoReturn

SECONDS_TO_FINISH, SECONDS_TO_CLEAN, SECONDS_IN_ALL = 5.0, 3.5, 9.0
CODES: dict[int, int] = {
    getattr(signal, name): code
    for name, code in (("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129))
    if hasattr(signal, name)
}
"""The signals that end a command, and its exit code then."""
_notes: list[Callable[[], str]] = []
_taken: list[int] = []
_came: list[int] = []
_grant: list[Callable[[float], None]] = []
_granted_until = 0.0
_held = threading.local()
_ending = threading.Lock()
"""Held by the one that cleans up: it is never given back."""


def install() -> None:
    """From now on the signals in CODES clean up and end this process; one that is ignored (nohup) or handled does not.

    To be called once, by the main thread, before there are others.
    """
    defaults = (signal.SIG_DFL, signal.default_int_handler)
    ours = {number: code for number, code in CODES.items() if signal.getsignal(number) in defaults}
    if not ours or _taken:
        return
    for number in ours:
        signal.signal(number, _leave)
    _taken.extend(ours)
    if hasattr(os, "fork"):
        _keep_watch(ours)


def _keep_watch(ours: dict[int, int]) -> None:
    """Start what ends this process when its main thread does not."""
    from hc_deploy.system import last_resort  # here: the builder and the workers take nothing

    masked = signal.pthread_sigmask(signal.SIG_BLOCK, ours)  # for the process and the thread to be as well
    words = "{}; native code did not return, and the next run removes what is left"
    ends = {number: last_resort.End(code, words.format(_words(number))) for number, code in ours.items()}
    line = last_resort.start(ends, SECONDS_IN_ALL)
    signal.set_wakeup_fd(line.out, warn_on_full_buffer=False)
    _grant.append(line.grant)
    os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=partial(_forget, line.close))
    threading.Thread(target=_watch, args=(line.back,), name="signals", daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, masked)


def exit_code() -> int:
    """What this process ends with, for a signal that came."""
    return CODES[_came[0] if _came else signal.SIGINT]


def reason() -> str:
    """'interrupted', or 'ended by SIGTERM': what came, in words."""
    return _words(_came[0] if _came else signal.SIGINT)


def _words(number: int) -> str:
    return "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"


def leave(note: str) -> NoReturn:
    """The end of a command that a signal told to end and that finished something first: what is held is cleaned up."""
    if not _taken:
        _say(note)
        raise SystemExit(exit_code())
    _notes.append(lambda: note)
    _leave(_came[0] if _came else signal.SIGINT, None)


@contextmanager
def last_words(note: Callable[[], str]) -> Iterator[None]:
    """Within the block a process that a signal ends says `note()` on standard error, asked when all is cleaned up."""
    _notes.append(note)
    try:
        yield
    finally:
        _notes.remove(note)


@contextmanager
def cleanup(clean: Callable[[], object]) -> Iterator[None]:
    """`clean` is called when the block ends, and when the process ends within it; in between even twice."""
    with salvaging(clean):
        try:
            yield
        finally:
            clean()


@contextmanager
def salvaging(act: Callable[[], object]) -> Iterator[None]:
    """`act` is called when the process ends within the block, by any thread; not when the block ends."""
    call = partial(act)  # atexit tells calls apart by identity
    atexit.register(call)
    try:
        yield
    finally:
        atexit.unregister(call)


@contextmanager
def on_signal(act: Callable[[], None]) -> Iterator[None]:
    """Within the block a signal calls `act`, and what ran goes on, in a command for SECONDS_TO_FINISH at most.

    Without effect off the main thread, and on signals that are ignored.
    """
    numbers = [n for n in _taken or [signal.SIGINT] if signal.getsignal(n) is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        _came.append(number)
        if _ending.locked():
            _stand_still()
        act()

    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def deferred() -> Iterator[Callable[[], bool]]:
    """Gives a function that tells whether a signal came within the block; nothing else happens on it."""
    presses: list[None] = []
    with on_signal(lambda: presses.append(None)):
        yield lambda: bool(presses)


@contextmanager
def postponed(*, seconds: float = 0.0) -> Iterator[None]:
    """A signal within the block takes effect at its end, unless that is an exception.

    seconds: how long the block may take, where SECONDS_TO_FINISH is too short for it.
    """
    global _granted_until
    if seconds and _taken:
        _granted_until = time.monotonic() + seconds
        for grant in _grant:
            grant(seconds)
    with deferred() as asked:
        yield
    if asked():
        signal.raise_signal(_came[-1])


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """The handler. In the main thread."""
    _came.append(number)
    for other in _taken:  # an impatient second one stops no cleaning
        signal.signal(other, lambda number, frame: None)
    if not _ending.acquire(blocking=False):
        _stand_still()
    _end()


def _stand_still() -> NoReturn:
    """Another thread cleans up and ends the process."""
    while True:
        time.sleep(1)


def _end() -> NoReturn:
    """Clean up, say so on standard error, and end."""
    atexit._run_exitfuncs()
    _say(_notes[-1]() if _notes else reason())
    os._exit(exit_code())


def _say(note: str) -> None:
    with suppress(OSError):
        os.write(2, f"{note}\n".encode(errors="backslashreplace"))


def _watch(source: int) -> None:
    """The thread beside the main one: when a signal was told and the process does not end, it ends it."""
    number = _first(source)
    if number is None:
        return
    start = time.monotonic()
    _sleep_until(lambda: max(start + SECONDS_TO_FINISH, _granted_until))
    _came.append(number)
    if _ending.acquire(blocking=False):
        os.kill(os.getpid(), number)  # the main thread stands still when it comes back
        with suppress(RuntimeError):  # no more threads: Python itself is ending
            threading.Thread(target=_end, daemon=True).start()
    until = time.monotonic() + SECONDS_TO_CLEAN
    _sleep_until(lambda: until)
    _say(f"{reason()}; what had to be cleaned up hung")
    os._exit(exit_code())


def _first(source: int) -> int | None:
    """The first of our signals that is told; None when nobody tells any more."""
    while True:
        data = os.read(source, 64)
        if not data:
            return None
        for byte in data:
            if byte in _taken:
                return byte


def _sleep_until(moment: Callable[[], float]) -> None:
    while (left := moment() - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))


def _hold() -> None:
    """Before a fork: a signal to the child waits until the child is on its own."""
    _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, CODES)


def _let_go() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _held.mask)


def _forget(close: Callable[[], None]) -> None:
    """In a forked process: a signal ends it as Python's default would, and it cleans up nothing of its parent's."""
    if _taken:  # not in a child of a child: those descriptors are other files by then
        signal.set_wakeup_fd(-1)
        close()
    for number in _taken:
        signal.signal(number, signal.SIG_DFL)
    for state in (_taken, _grant, _came):
        state.clear()
    _let_go()
