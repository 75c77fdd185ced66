"""Checks of build options that several networks share."""

from __future__ import annotations

from hc_deploy.errors import UsageError


def whole_number(option: str, value: int, least: int, most: int) -> None:
    """UsageError, which names the legal values, unless `value` is a whole number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UsageError(f"{option}={value!r}", expected=f"a whole number from {least} to {most}")
