"""How large what comes from outside may be: pixels, batches, names, and what fits into this machine's memory.

A file of a few kB can ask for an image of gigabytes, and so can a typing error. Standard library only.
"""

from __future__ import annotations

import re
from pathlib import Path

from hc_deploy.errors import DeployError, UsageError

MOST_PIXELS = 178_956_970
"""Of one image: about 13,377 x 13,377. The limit at which Pillow refuses an image as a decompression bomb."""
MOST_SIDE = 1 << 16
MOST_BATCH = 4096
MOST_CLASSES = 1 << 16
LONGEST_NAME = 200
"""Letters of a class's or an architecture's name."""
MOST_ROUNDS = 100_000
MOST_WORKSPACE_MIB = 1 << 20
OUT_OF_MEMORY = re.compile(
    r"bad_alloc|failed to allocate|out of memory|BFCArena|not enough memory|can't allocate memory", re.IGNORECASE
)
"""What ONNX Runtime and torch say; they have no class of error for it."""
MEMINFO = Path("/proc/meminfo")
PROCESS_SIZE = Path("/proc/self/statm")
GROUP_LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
"""Limit and use of a container, in both versions of Linux's control groups."""


def why_too_large(height: int, width: int, batch: int = 1) -> str | None:
    """Why images of this size, or so many of them, are beyond the limits, in a few words; None where they are not."""
    if batch > MOST_BATCH:
        return f"a batch of {batch}; the limit is {MOST_BATCH}"
    if max(height, width) > MOST_SIDE:
        return f"a side of {max(height, width)}; the limit is {MOST_SIDE}"
    if height * width > MOST_PIXELS:
        return f"{height * width / 1e6:.0f} million pixels; the limit is {MOST_PIXELS / 1e6:.0f} million"
    return None


def free_memory() -> int | None:
    """Bytes that this process may still take: the least of what is free, its container's and its own limit.

    None where the system does not say (not Linux).
    """
    known = [_meminfo(), *(_of_group(most, used) for most, used in GROUP_LIMITS), _of_process()]
    return min((room for room in known if room is not None), default=None)


def require_memory(needed: int, *, what: str, mend: str) -> None:
    """UsageError where `needed` bytes for `what` are more than this machine can give; unknown memory passes."""
    free = free_memory()
    if free is not None and needed > free:
        raise UsageError(
            f"{what} needs at least {needed / 1e9:.1f} GB of memory; {max(free, 0) / 1e9:.1f} GB are free here",
            expected="a size that fits into memory",
            mend=mend,
        )


def image_bytes(batch: int, height: int, width: int) -> int:
    """The least that running a model on such images takes: the frames, and their channels once as float32."""
    return batch * height * width * 3 * (1 + 4)


def require_image_memory(batch: int, height: int, width: int, *, mend: str) -> None:
    """`require_memory` for a batch of images of height x width."""
    what = f"a batch of {batch} images of {height}x{width}" if batch > 1 else f"an image of {height}x{width}"
    require_memory(image_bytes(batch, height, width), what=what, mend=mend)


def out_of_memory(what: str, said: str) -> DeployError:
    """The error of an allocation that failed while `what` was done."""
    return DeployError(
        f"{what}: out of memory ({said})",
        expected="enough memory",
        mend="a smaller --size or --batch, or close what else runs here",
    )


def says_out_of_memory(error: BaseException) -> bool:
    """Whether a runtime's error is an allocation that failed."""
    return isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)) is not None


def _meminfo() -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines() if ":" in line)
        return sum(1024 * int(lines[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _of_group(most: Path, used: Path) -> int | None:
    try:
        return int(most.read_text()) - int(used.read_text())
    except (OSError, ValueError):  # no such file; 'max'
        return None


def _of_process() -> int | None:
    """What `ulimit -v` leaves."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return None
        return limit - int(PROCESS_SIZE.read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError, IndexError):  # Windows; no /proc
        return None
