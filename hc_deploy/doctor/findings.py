"""What was looked at and how it was found, and the two ways of looking: importing a package, trying an action."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version

from hc_deploy.errors import first_line


class Status(StrEnum):
    """works; missing (not installed, or no such device); broken (installed, but fails when it is tried)."""

    WORKS = "works"
    MISSING = "missing"
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what. status, detail: how it is, and its version or what went wrong.
        needed_for: what a user cannot do without it. required: nothing at all works without it.
        mend: the line that puts it right, None where there is nothing to do.
    """

    name: str
    status: Status
    detail: str
    needed_for: str
    required: bool = False
    mend: str | None = None


def package(name: str, module: str, needed_for: str, install: str, *, required: bool = False) -> Finding:
    """Whether `module` of the distribution `name` can be imported: an import may raise anything, and that is found."""
    try:
        number = version(name)
    except PackageNotFoundError:
        number = None
    try:
        importlib.import_module(module)
    except Exception as error:
        if number is None and isinstance(error, ImportError):
            return Finding(name, Status.MISSING, "not installed", needed_for, required, install)
        detail = f"{number or 'version unknown'}, but: {first_line(error)}"
        return Finding(name, Status.BROKEN, detail, needed_for, required, install)
    return Finding(name, Status.WORKS, number or "version unknown", needed_for, required)


def attempt(action: Callable[[], object]) -> str:
    """'' when `action` works, else the first line of what went wrong."""
    try:
        action()
    except Exception as error:  # whatever a broken install raises is the finding
        return first_line(error)
    return ""
