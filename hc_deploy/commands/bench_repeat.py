"""`bench run --repeat N`: the same command N times, each in a fresh process -> numbered reports, and what they say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import typer

from hc_deploy.console import print_line, print_note, show
from hc_deploy.errors import DeployError, UnstableMeasurementError
from hc_deploy.shown import visible
from hc_deploy.system import interrupts

MOST_RUNS = 100
SECONDS_TO_END = 7.0
"""For a run that is told to: it takes 5 at most where native code does not return (interrupts.py)."""


def run_again(context: typer.Context, outputs: Sequence[Path]) -> list[int]:
    """Run this command once for each of `outputs`, one after the other: the numbers of the runs that were unstable.

    A signal ends the run under way, which keeps its rounds as a single one does, and no other is started.

    Raises:
        DeployError: the system ended a run. typer.Exit: a run failed and has said why; its exit code.
    """
    unstable = []
    for number, output in enumerate(outputs, 1):
        which, kept = f"run {number} of {len(outputs)}", _kept(outputs[: number - 1])
        with interrupts.last_words(partial(_last_words, which, kept)):
            print_note(which)
            code = _run(_command(context, output))
        if code == UnstableMeasurementError.exit_code:
            unstable.append(number)
        elif code < 0:
            raise DeployError(
                f"{which} was ended by signal {-code}; {kept}", expected="a run that ends by itself",
                mend="dmesg | tail, which tells whether memory ran out",
            )  # fmt: skip
        elif code != 0:
            print_note(f"{which} failed; {kept}")
            raise typer.Exit(code)
    return unstable


def _run(command: list[str]) -> int:
    """The exit code of `command`, which says on standard error how far it is.

    In a session of its own a terminal's Ctrl-C reaches this process alone: to one that is still starting Python it
    would be a traceback.
    """
    started: list[subprocess.Popen[bytes]] = []
    with interrupts.cleanup(partial(_end, started)):
        with interrupts.postponed():  # until it is in the list
            started.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True))
        return started[0].wait()


def show_runs(outputs: Sequence[Path], unstable: Sequence[int]) -> None:
    """The table of the last run, and how far the runs lie apart.

    Raises:
        UnstableMeasurementError: runs were unstable.
    """
    from hc_deploy.bench.report import read_report
    from hc_deploy.bench.table import run_table, spread_line

    reports = [read_report(output) for output in outputs]
    show(run_table(reports[-1]))
    print_line(spread_line(reports))
    print_line(f"reports: {outputs[0]} to {outputs[-1].name}; the table is of the last")
    if unstable:
        raise UnstableMeasurementError(
            f"unstable: run {', '.join(map(str, unstable))} of {len(outputs)}",
            expected="runs whose medians are known",
            mend="stop what else runs on the machine, or sample longer with --rounds or --max-seconds",
        )


def _command(context: typer.Context, output: Path) -> list[str]:
    """This command as it was given, for one run and another output. The program is the one that was called."""
    program = ["-m", "hc_deploy", "bench"] if context.obj is None else [str(context.obj.program)]
    options, models = [], []
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if value is None or parameter.name in ("output", "repeat"):
            continue
        values = [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
        if parameter.param_type_name == "argument":
            models += values
        else:
            options += [f"{parameter.opts[-1]}={one}" for one in values]
    return [sys.executable, *program, "run", *options, f"--output={output}", "--", *models]


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """End the run under way and wait until it is gone; it is not reaped: a signal may come within its `wait`."""
    for child in (child for child in started if child.returncode is None):
        with suppress(OSError, AttributeError):  # gone already; Windows
            os.kill(child.pid, signal.SIGTERM)
            until = time.monotonic() + SECONDS_TO_END
            while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                if time.monotonic() > until:
                    os.kill(child.pid, signal.SIGKILL)
                time.sleep(0.02)


def _kept(finished: Sequence[Path]) -> str:
    if not finished:
        return "no run before it"
    return f"kept: {finished[0]}" + (f" to {finished[-1].name}" if len(finished) > 1 else "")


def _last_words(which: str, kept: str) -> str:
    return visible(f"{interrupts.reason()} in {which}; {kept}")
