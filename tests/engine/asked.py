"""What the tests of engines ask for, and the processes they look at. Imports no torch: children of tests import it."""

from pathlib import Path

from hc_deploy.engine.options import BuildOptions, Shape, ShapeRange

SIDES = Shape(1, 97, 131)


def options(spec, precision="fp16", **changed):
    profile = ShapeRange.of(spec, SIDES, most=None if spec.batch else Shape(4, 512, 512))
    return BuildOptions("tensorrt-rtx", precision, profile, **{"plugin": "none", **changed})


def children_of(pid):
    """Of the process' main thread."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs(pid):
    """Whether the process is there and no zombie."""
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
