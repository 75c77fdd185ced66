"""Ctrl-C inside a command: one word and exit code 130 (Typer would end without a word, older ones with 'Aborted!')."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from hc_deploy.console import INTERRUPTED, print_note


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn a KeyboardInterrupt that comes out of the block into the exit code for it."""
    try:
        yield
    except KeyboardInterrupt:
        print_note("interrupted")
        raise typer.Exit(INTERRUPTED) from None
