"""What all commands share: running a Typer app so that failures end in one message and the right exit code.

Exit codes: 0 done; 1 error; 2 usage; 3 a gate failed; 4 the environment lacks something; 5 unstable measurement;
130, 143, 129 ended by Ctrl-C, SIGTERM, SIGHUP (interrupts.py).
"""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING, Any

from hc_deploy.errors import DeployError, UsageError

if TYPE_CHECKING:
    import typer


def print_line(text: str = "") -> None:
    """One line of a command's result, on standard output."""
    print(text, flush=True)


def print_note(text: str) -> None:
    """One line beside the result (progress, warnings), on standard error."""
    print(text, file=sys.stderr, flush=True)


def run_app(app: typer.Typer, arguments: list[str] | None = None) -> None:
    """Run `app` on the command line and exit: a DeployError becomes its message and exit code."""
    try:
        app(arguments, standalone_mode=True)
    except DeployError as error:
        print_note(f"error: {error}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:  # standard output on a full disk, say; files of ours raise DeployErrors
        print_note(f"error: {error}")
        sys.exit(1)


def option_pairs(pairs: list[str]) -> dict[str, Any]:
    """['width=16', 'branch=residual'] -> {'width': 16, 'branch': 'residual'}."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"option '{pair}'", expected="NAME=VALUE, e.g. width=16")
        try:
            options[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[name] = text
    return options
