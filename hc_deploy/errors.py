"""The few kinds of failure, each with the exit code that a command ends with.

A message says three things: what was received, what was expected, and the command (or option) that mends it.
Nothing here prints; commands do (`hc_deploy.console`).
"""

from __future__ import annotations


class DeployError(Exception):
    """Something was received that cannot be used. Exit code 1.

    Args:
        received: what came in, in the user's own words (a path, a shape, an option).
        expected: what would have been right.
        mend: the command or option that puts it right.
    """

    exit_code = 1

    def __init__(self, received: str, *, expected: str | None = None, mend: str | None = None) -> None:
        self.received, self.expected, self.mend = received, expected, mend
        lines = [received]
        if expected is not None:
            lines.append(f"expected: {expected}")
        if mend is not None:
            lines.append(f"try: {mend}")
        super().__init__("\n".join(lines))


class UsageError(DeployError):
    """The options contradict each other or name something that does not exist. Exit code 2."""

    exit_code = 2


class GateError(DeployError):
    """A gate failed: parity, precision or regression. Exit code 3."""

    exit_code = 3


class MissingDependencyError(DeployError):
    """The environment lacks something: the message names it and its install line. Exit code 4."""

    exit_code = 4


class UnstableMeasurementError(DeployError):
    """Samples scattered too far for a verdict. Exit code 5."""

    exit_code = 5
