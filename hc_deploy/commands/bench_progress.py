"""How far a measurement is, on a terminal, and what is kept of one that a signal ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hc_deploy.errors import DeployError
from hc_deploy.shown import visible
from hc_deploy.system import interrupts

if TYPE_CHECKING:
    from hc_deploy.bench.report import Report

SECONDS_BETWEEN_COUNTS = 0.5


class Progress:
    """A counter on standard error where that is a terminal.

    Written between rounds by the measuring thread itself: a spinner's thread would run beside the models.
    """

    def __init__(self, total: int | None, output: Path) -> None:
        self._rounds, self._total, self._last = 0, total, time.monotonic()
        self._output, self._kept = output, f"{output} was not written"

    def __call__(self, rounds: int) -> None:
        self._rounds = rounds
        if sys.stderr.isatty() and time.monotonic() - self._last > SECONDS_BETWEEN_COUNTS:
            self._last = time.monotonic()
            self._show(f"\rround {rounds}" + (f"/{self._total}" if self._total else ""))

    def keep(self, report: Report) -> None:
        """Write what was measured before a signal, where it is enough for a median to have an interval."""
        from hc_deploy.bench.report import write_report
        from hc_deploy.bench.statistics import MIN_SAMPLES

        self._rounds = report.workload.rounds
        if self._rounds < MIN_SAMPLES:
            self._kept += f": {MIN_SAMPLES} are the least"
            return
        try:
            write_report(self._output, report)
            self._kept = f"{self._output} holds them"
        except DeployError as error:
            self._kept = error.received

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Clears the counter at the end; a signal that ends the process says what is kept."""

        def note() -> str:
            rounds = f"{self._rounds} round{'s' * (self._rounds != 1)}"
            return visible(f"{interrupts.reason()} after {rounds}; {self._kept}")

        with interrupts.cleanup(self._clear), interrupts.last_words(note):
            yield

    def _clear(self) -> None:
        if sys.stderr.isatty():
            self._show("\r\x1b[K")

    def _show(self, text: str) -> None:
        with suppress(OSError):  # the terminal is closed
            print(text, end="", file=sys.stderr, flush=True)
