"""Progress on standard error: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, cast

from hc_deploy.console import print_note
from hc_deploy.system.interrupts import cleanup

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(total: int | None, *, unit: str) -> Iterator[Callable[[], None]]:
    """Gives a function to call after each frame.

    Args:
        total: how many there will be, None where nobody knows.
        unit: what is counted, in the plural.
    """
    if sys.stderr.isatty():
        with _bar(total, unit) as step:
            yield step
    else:
        yield _lines(total, unit)


class _Stderr:
    """Standard error, which is not missed when its terminal is gone: the work and its output are not lost with it."""

    def write(self, text: str) -> int:
        with suppress(OSError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)


@contextmanager
def live(*columns: str | ProgressColumn) -> Iterator[Progress]:
    """A bar on standard error that is gone at the end, after Ctrl-C too."""
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(*columns, console=Console(file=cast("IO[str]", _Stderr())), transient=True, expand=True)
    with cleanup(bar.stop), bar:
        yield bar


@contextmanager
def _bar(total: int | None, unit: str) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.1f} {unit}/s")

    columns = [BarColumn(bar_width=None), MofNCompleteColumn(), Rate(), Remaining(compact=True), TextColumn("left")]
    if total is None:
        columns = [BarColumn(bar_width=None), TextColumn("{task.completed:.0f} " + unit), Rate()]
    with live(*columns) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)


def _lines(total: int | None, unit: str) -> Callable[[], None]:
    start = last = time.monotonic()
    count = 0

    def step() -> None:
        nonlocal count, last
        count += 1
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            of = f" of {total}" if total is not None else ""
            print_note(f"{count}{of} {unit}, {count / (now - start):.1f} {unit}/s")

    return step
