"""What all commands share: a way to print that nothing in the text can misuse, and an end in one message and exit code.

Exit codes: 0 done; 1 error; 2 usage; 3 a gate failed; 4 the environment lacks something; 5 unstable or undecided;
130, 143, 129 ended by Ctrl-C, SIGTERM, SIGHUP (interrupts.py).

A closed standard stream does not change how a command ends: its text goes to the other one. A reader that went away
(`| head`) does not either. Where results could not be written (a full disk), the command goes on and ends with 1.
"""

from __future__ import annotations

import ast
import io
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.shown import visible
from hc_deploy.system.files import system_error
from hc_deploy.system.interrupts import exit_code, reason
from hc_deploy.system.outputs import Output, check_outputs

if TYPE_CHECKING:
    import typer
    from rich.console import RenderableType

_lost: list[OSError] = []
"""Why results could not be written to standard output, if so."""


def print_line(text: str = "") -> None:
    """One line of a command's result, on standard output."""
    _write(sys.stdout or sys.stderr, visible(text) + "\n", result=True)


def print_text(text: str) -> None:
    """Lines of a command's result, made by us: no name or value in them may hold a line break."""
    for line in text.split("\n"):
        print_line(line)


def print_note(text: str) -> None:
    """One line beside the result (progress, warnings), on standard error."""
    _write(sys.stderr or sys.stdout, visible(text) + "\n")


def print_error(text: str) -> None:
    """The lines that a command ends with when it fails, on standard error."""
    for line in text.split("\n"):
        print_note(line)


def show(table: RenderableType) -> None:
    """A table or text of rich on standard output, in the colours and the width of the terminal."""
    from rich.console import Console

    stream = sys.stdout or sys.stderr
    if stream is None:
        return
    page = _Page(stream)
    Console(highlight=False, file=page).print(_shown(table))
    _write(stream, page.getvalue(), result=True)


def claim_outputs(inputs: Iterable[Path], outputs: Sequence[Output]) -> None:
    """Before any work: refuse outputs that would destroy an input, and say which existing files will be replaced."""
    replaced = check_outputs(inputs, outputs)
    if replaced is not None:
        print_note(replaced)


def run_app(app: typer.Typer, arguments: list[str] | None = None) -> None:
    """Run `app` on the command line and exit: a DeployError becomes its message and exit code."""
    open_streams()
    _lost.clear()
    code = _outcome(app, arguments)
    if _lost:
        print_error(f"error: standard output cannot be written: {_lost[0].strerror}")
    sys.exit(code or (1 if _lost else 0))


def open_streams() -> None:
    """Give closed standard streams somewhere to go, and let no character of a text stop one that is open.

    A closed file descriptor 1 or 2 would become the next file that is opened: OpenCV's warnings would land in it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    sys.stdout = sys.stdout or sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115 - for the rest of the process
    sys.stderr = sys.stderr or sys.stdout
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def option_pairs(pairs: list[str]) -> dict[str, Any]:
    """['width=16', 'branch=residual'] -> {'width': 16, 'branch': 'residual'}."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"option '{pair}'", expected="NAME=VALUE, e.g. width=16")
        try:
            options[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            options[name] = text
    return options


def _outcome(app: typer.Typer, arguments: list[str] | None) -> int:
    """Run the command; say how it failed, if it did; its exit code."""
    import typer

    try:
        code = app(arguments, standalone_mode=False)
    except DeployError as error:
        print_error(f"error: {error}")
        return error.exit_code
    except typer.Abort:
        print_note(reason())
        return exit_code()
    except OSError as error:  # files of ours raise DeployErrors; this is a name that cannot even be looked up
        print_error(f"error: {system_error(error)}")
        return 1
    except Exception as error:
        if not hasattr(error, "show"):
            raise
        text = io.StringIO()  # click's usage errors, whose class has moved between its versions and Typer's
        error.show(file=text)
        print_error(text.getvalue().rstrip("\n"))
        return int(error.exit_code)  # type: ignore[attr-defined]
    return code if isinstance(code, int) else 0


class _Page(io.StringIO):
    """What rich prints on, taking it for `stream`: where rich writes itself, a failed write ends the process."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding or "utf-8"

    def isatty(self) -> bool:
        return self._stream.isatty()


def _write(stream: TextIO | None, text: str, *, result: bool = False) -> None:
    """Write and flush; a stream that cannot be written to goes nowhere from then on."""
    if stream is None:
        return
    try:
        try:
            stream.write(text)
        except UnicodeEncodeError:  # a strict stream in library use
            stream.write(text.encode("ascii", "backslashreplace").decode())
        stream.flush()
    except OSError as error:
        if result and not isinstance(error, BrokenPipeError):
            _lost.append(error)
        _abandon(stream)


def _abandon(stream: TextIO) -> None:
    """What is in its buffer must not fail once more when Python ends: that would change the exit code."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _shown(table: RenderableType) -> RenderableType:
    """`table` with `visible` in front of its text, where rich's own control codes are not in it yet."""
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.measure import Measurement
    from rich.segment import Segment

    class Shown:
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            for segment in console.render(table, options):
                text = segment.text
                lines = text if segment.control else "\n".join(visible(line) for line in text.split("\n"))
                yield Segment(lines, segment.style, segment.control)

        def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
            return Measurement.get(console, options, table)

    return Shown()
