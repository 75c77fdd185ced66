"""Temporary files and folders whose names tell whose they are, and the removal of those whose process is dead.

What a process makes it removes itself, unless it is killed outright. The next run that writes into the same folder
removes what is left then. A name holds the process's number and the time of its start, and which machine, since when
and among which processes (a container has its own) that number is meant: only there can anybody tell that it is dead.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path

from hc_deploy.system.interrupts import cleanup

PREFIX = "hc_deploy-"
MACHINE = ("/etc/machine-id", "/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/hostname")
LONGEST_STEM, LONGEST_SUFFIX = 60, 24
"""Bytes of the output's name that its temporary name keeps: a name has 255."""
_FILE = re.compile(rf"\..*\.{PREFIX}(?P<owner>[0-9a-f]{{12}}-\d+-\d+)-\d+(\..*)?", re.DOTALL)
_FOLDER = re.compile(rf"{PREFIX}(?P<owner>[0-9a-f]{{12}}-\d+-\d+)-\w+")
_numbers = itertools.count()
_swept: set[Path] = set()


def beside(path: Path) -> Path:
    """A name for what is to become `path`: in its folder, hidden, of its suffix, of no other process or call."""
    stem = path.stem.encode(errors="ignore")[:LONGEST_STEM].decode(errors="ignore")
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= LONGEST_SUFFIX else ""
    return path.with_name(f".{stem}.{PREFIX}{_owner(os.getpid())}-{next(_numbers)}{suffix}")


@contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """An empty folder in `parent`, or where the system has its temporary files; gone when the block or process ends."""
    folder = make_temporary_folder(parent)
    with cleanup(partial(shutil.rmtree, folder, ignore_errors=True)):
        yield folder


def make_temporary_folder(parent: Path | None = None) -> Path:
    """The folder alone: its removal is the caller's."""
    parent = parent or Path(tempfile.gettempdir())
    sweep(parent)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{_owner(os.getpid())}-", dir=parent))


def sweep(folder: Path) -> None:
    """Remove what dead processes of this user left in `folder`; once in a process. Never fails."""
    with suppress(OSError):
        place = folder.resolve()
        if place in _swept:
            return
        _swept.add(place)
        with os.scandir(place) as entries:
            left = [Path(entry.path) for entry in entries if PREFIX in entry.name and _is_left(entry)]
        for path in left:
            _remove(path)


def _is_left(entry: os.DirEntry[str]) -> bool:
    """Whether it is ours by its name, its kind and its owner, and of a process that is surely dead."""
    is_folder = entry.is_dir(follow_symlinks=False)
    named = (_FOLDER if is_folder else _FILE).fullmatch(entry.name)
    if named is None or not (is_folder or entry.is_file(follow_symlinks=False)):
        return False
    return entry.stat(follow_symlinks=False).st_uid == os.geteuid() and _is_dead(named["owner"])


def _remove(path: Path) -> None:
    with suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _owner(pid: int) -> str:
    """'MACHINE-PID-START' of a live process of this machine; START is 0 where the system does not tell."""
    return f"{_machine() or '0' * 12}-{pid}-{_start(pid) or 0}"


def _is_dead(owner: str) -> bool:
    machine, pid, start = owner.split("-")
    if machine != _machine() or start == "0":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    now = _start(int(pid))
    return now is not None and now != int(start)


def _start(pid: int) -> int | None:
    """When a process started, in ticks since the machine did; None where that is not told. A zombie is dead: -1."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return -1 if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


@cache
def _machine() -> str | None:
    """Digest of this machine, its start and this namespace of processes; None where one of the latter is not told."""
    try:
        told = [str(Path("/proc/self/ns/pid").readlink()), Path(MACHINE[1]).read_text()]
    except OSError:
        return None
    for name in (MACHINE[0], MACHINE[2]):
        with suppress(OSError):
            told.append(Path(name).read_text())
    return hashlib.sha256("\0".join(told).encode()).hexdigest()[:12]
