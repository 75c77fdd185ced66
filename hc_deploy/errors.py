"""The few kinds of failure, each with the exit code that a command ends with.

A message says three things: what was received, what was expected, and the command (or option) that mends it.
Nothing here prints; commands do (`hc_deploy.console`).
"""

from __future__ import annotations

LONGEST_LINE = 300


class DeployError(Exception):
    """Something was received that cannot be used. Exit code 1.

    Args:
        received: what came in, in the user's own words (a path, a shape, an option).
        expected: what would have been right.
        mend: the command or option that puts it right: people paste it. Paths in it go through
            `hc_deploy.shown.quoted`, and nothing that a file says is ever in it.
    """

    exit_code = 1

    def __init__(self, received: str, *, expected: str | None = None, mend: str | None = None) -> None:
        self.received, self.expected, self.mend = received, expected, mend
        lines = [_continued(received)]
        if expected is not None:
            lines.append(f"expected: {_continued(expected)}")
        if mend is not None:
            lines.append(f"try: {_continued(mend)}")
        super().__init__("\n".join(lines))


def first_line(error: BaseException) -> str:
    """What anybody's error says, at the length of a line; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:LONGEST_LINE]


def _continued(text: str) -> str:
    """Further lines start with a space: a file name with line breaks in it cannot pass for a line of ours."""
    first, *rest = text.split("\n")
    return "\n".join([first, *(line if line.startswith(" ") else f"  {line}" for line in rest)])


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
    """Samples, or runs, scattered too far for a verdict. Exit code 5."""

    exit_code = 5
