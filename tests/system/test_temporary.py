"""Whose a temporary file is stands in its name; only what is surely of a dead process goes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hc_deploy.system import temporary
from hc_deploy.system.files import write_bytes
from hc_deploy.system.temporary import beside, make_temporary_folder, sweep, temporary_folder

LEFT_BY = """
import os, sys
from pathlib import Path
from hc_deploy.system.temporary import beside, make_temporary_folder
name = beside(Path("out.mp4"))
name.touch()
(make_temporary_folder(Path()) / "inner").touch()
"""


@pytest.fixture(autouse=True)
def _swept_before(monkeypatch):
    """What this process has swept counts for each test anew."""
    monkeypatch.setattr(temporary, "_swept", set())


def start(code: str, cwd: Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(Path(temporary.__file__).parents[2]), "TMPDIR": str(cwd)}
    return subprocess.Popen([sys.executable, "-c", code], cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True)


def left(folder: Path) -> tuple[Path, Path]:
    """A file and a folder of a process that was killed."""
    process = start(f"{LEFT_BY}\nos.kill(os.getpid(), 9)", folder)
    assert process.wait(60) == -9
    (file,), (inner,) = folder.glob(".out.*"), folder.glob("hc_deploy-*/inner")
    return file, inner.parent


def test_a_dead_process_is_swept(tmp_path):
    file, folder = left(tmp_path)
    write_bytes(tmp_path / "new", b"new")
    assert not file.exists() and not folder.exists() and [path.name for path in tmp_path.iterdir()] == ["new"]


def test_temporary_folders_sweep_as_well(tmp_path, monkeypatch):
    left(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary_folder() as mine:
        assert list(tmp_path.iterdir()) == [mine]
    assert not list(tmp_path.iterdir())


def test_a_zombie_is_dead_and_a_live_process_is_not(tmp_path):
    process = start(f"{LEFT_BY}\nprint('ready', flush=True); sys.stdin.read(); import time; time.sleep(100)", tmp_path)
    assert process.stdout.readline() == "ready\n"
    held = sorted(tmp_path.iterdir())
    sweep(tmp_path)
    assert len(held) == 2 and sorted(tmp_path.iterdir()) == held
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, not reaped
    temporary._swept.clear()
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())
    process.wait()


def test_another_process_of_the_same_number(tmp_path):
    """The number is this live process's, the start is not: whoever made it is dead."""
    mine = beside(tmp_path / "out.mp4")
    machine, pid, start_ticks, count = re.search(r"hc_deploy-(\w+)-(\d+)-(\d+)-(\d+)", mine.name).groups()
    other = mine.with_name(f".out.hc_deploy-{machine}-{pid}-{int(start_ticks) - 1}-{count}.mp4")
    mine.touch()
    other.touch()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]


def test_what_is_not_surely_ours_stays(tmp_path):
    """Other machines (a shared drive), other kinds of files, other names, links, people's own files."""
    file, folder = left(tmp_path)
    machine = re.search(r"hc_deploy-(\w{12})-", file.name)[1]
    other_machine = machine[::-1] if machine[::-1] != machine else "0" * 12
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "precious").touch()
    names = [
        file.name.replace(machine, other_machine),
        file.name.replace(machine, "0" * 12),
        file.name.lstrip("."),
        f".out.hc_deploy-{machine}-notes.mp4",
        f".out.{os.getpid()}.mp4",
        "hc_deploy-notes",
        folder.name,
    ]
    (tmp_path / "other").mkdir()
    for name in names:
        (tmp_path / "other" / name).touch()  # the last is a file with a folder's name
    (tmp_path / "other" / file.name).symlink_to(elsewhere / "precious")
    (tmp_path / "other" / folder.name.replace("hc_deploy", "HC_deploy")).mkdir()
    (tmp_path / "other" / f"{folder.name}x").symlink_to(elsewhere)
    before = sorted((tmp_path / "other").iterdir())
    sweep(tmp_path / "other")
    assert sorted((tmp_path / "other").iterdir()) == before and (elsewhere / "precious").exists()


def test_another_users_stay(tmp_path, monkeypatch):
    file, folder = left(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    sweep(tmp_path)
    assert file.exists() and folder.exists()


@pytest.mark.parametrize("lost", ["machine", "start"])
def test_where_the_system_does_not_tell_nothing_is_swept(tmp_path, monkeypatch, lost):
    file, folder = left(tmp_path)
    if lost == "machine":
        monkeypatch.setattr(temporary, "_machine", lambda: None)
        assert "-000000000000-" in beside(tmp_path / "out").name
    else:
        monkeypatch.setattr(os, "kill", lambda pid, number: None)  # somebody lives under that number,
        monkeypatch.setattr(temporary, "_start", lambda pid: None)  # and nobody tells since when
    sweep(tmp_path)
    assert file.exists() and folder.exists()


def test_a_folder_is_listed_once(tmp_path, monkeypatch):
    """Thousands of frames are written into one."""
    calls = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: calls.append(path) or real(path))
    for index in range(5):
        write_bytes(tmp_path / f"{index}.png", b"x")
    assert len(calls) == 1


@pytest.mark.parametrize("name", ["x" * 251 + ".mp4", "ü" * 120 + ".mp4", "a." + "b" * 250, "\udcff" * 100 + ".mp4"])
def test_the_longest_names(tmp_path, name):
    """A name may have 255 bytes: the temporary one is no longer for it."""
    write_bytes(tmp_path / name, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_names_differ_and_keep_the_suffix(tmp_path):
    names = {beside(tmp_path / "out.mp4") for _ in range(3)}
    assert len(names) == 3 and all(path.suffix == ".mp4" and path.name.startswith(".out.") for path in names)


def test_a_folder_that_cannot_be_listed_is_left(tmp_path):
    sweep(tmp_path / "none")
    (tmp_path / "file").touch()
    sweep(tmp_path / "file")
    assert make_temporary_folder(tmp_path).is_dir()
