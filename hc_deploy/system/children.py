"""What a process owes the command that started it: it ends with that, and leaves signals to it."""

from __future__ import annotations

import ctypes
import signal
from contextlib import suppress

from hc_deploy.system.interrupts import CODES

PR_SET_PDEATHSIG = 1


def leave_signals_to_the_parent() -> None:
    """For a process that its parent ends, or that dies with it: a terminal, Slurm or systemd signals both."""
    for number in CODES:
        signal.signal(number, signal.SIG_IGN)
    die_with_the_parent()


def die_with_the_parent() -> None:
    """A parent that is killed takes this process with it (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
