"""Writing files so that a killed run leaves the old file or the new one, never half of one."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from hc_deploy.errors import DeployError
from hc_deploy.shown import quoted
from hc_deploy.system.interrupts import cleanup
from hc_deploy.system.temporary import beside, sweep

LONGEST_SHOWN = 160
"""Letters of a name in a message."""


def system_error(error: OSError) -> DeployError:
    """What the system's refusal of a name becomes: a name too long, a folder that may not be entered."""
    name, reason = str(error.filename or ""), error.strerror or str(error)
    mend = {
        errno.ENAMETOOLONG: "a shorter name",
        errno.EACCES: f"ls -ld {quoted(Path(name).parent)}, and chmod what is yours",
        errno.EPERM: f"ls -ld {quoted(Path(name).parent)}, and chmod what is yours",
        errno.ELOOP: "remove the link that leads to itself",
    }
    return DeployError(
        f"{_short(name)}: {reason}" if name else reason,
        expected="a file or folder that this system lets you use",
        mend=mend.get(error.errno or 0, "another path"),
    )


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_SHOWN else f"{name[: LONGEST_SHOWN // 2]}…{name[-LONGEST_SHOWN // 2 :]}"


def write_error(path: Path, error: OSError) -> DeployError:
    """What a failed write to `path` becomes: a full disk is told apart from a folder that cannot be written to."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENAMETOOLONG:
        return DeployError(
            f"cannot write {_short(str(path))}: {reason}",
            expected="names of 255 bytes at most, and paths of 4095",
            mend="another output with -o",
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DeployError(
            f"cannot write {path}: {reason}",
            expected="room for the file",
            mend="free space, or choose another output",
        )
    return DeployError(
        f"cannot write {path}: {reason}",
        expected="a folder that can be written to",
        mend=f"mkdir -p {quoted(path.parent)}, or choose another output with -o",
    )


def require_file(path: Path, *, what: str) -> Path:
    """`path` itself when it is a readable, non-empty file; otherwise a DeployError that names `what` was expected."""
    if path.is_dir():
        raise DeployError(f"{path} is a folder", expected=what, mend="name a file in it")
    if path.exists() and not path.is_file():
        raise DeployError(f"{path} is a device, pipe or socket", expected=what)
    if not path.exists():
        raise DeployError(f"{path} does not exist", expected=what, mend=f"ls {quoted(path.parent)}")
    if not os.access(path, os.R_OK):
        raise DeployError(f"{path} cannot be read", expected=what, mend=f"chmod +r {quoted(path)}")
    if path.stat().st_size == 0:
        raise DeployError(f"{path} is empty (0 bytes)", expected=what, mend="make or copy the file again")
    return path


def make_folder(path: Path) -> Path:
    """Create `path` with its parents; DeployError where that is refused."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        file = next(part for part in (path, *path.parents) if part.exists() and not part.is_dir())
        raise DeployError(
            f"cannot write into {path}: {file} is no folder", expected="a folder", mend="another output with -o"
        ) from None
    except OSError as error:
        raise write_error(path, error) from None
    if not os.access(path, os.W_OK):
        raise write_error(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` (same suffix); renamed onto it when the block ends well, removed otherwise.

    The parent folder is created, and what killed runs left in it is removed. OSErrors inside the block become
    DeployErrors that name `path`, but for those that name another file.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device, pipe or socket"
        raise DeployError(f"cannot write {path}: it is {kind}", expected="a file name", mend="another output with -o")
    make_folder(path.parent)
    sweep(path.parent)
    temporary = beside(path)
    with cleanup(partial(temporary.unlink, missing_ok=True)):
        try:
            yield temporary
            temporary.replace(path)
        except OSError as error:
            if isinstance(error.filename, str) and Path(error.filename) not in (temporary, path):
                raise
            raise write_error(path, error) from error


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
