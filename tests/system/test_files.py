"""Files are whole or not there, and failures name the right one."""

import errno
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from hc_deploy.errors import DeployError
from hc_deploy.system.files import atomic_path, make_folder, require_file, write_bytes


def test_the_new_file_or_the_old_one(tmp_path):
    path = tmp_path / "new" / "file.bin"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        assert temporary.suffix == ".bin" and temporary.parent == path.parent
        temporary.write_bytes(b"half")
        assert path.read_bytes() == b"old"
        raise ZeroDivisionError
    assert path.read_bytes() == b"old" and list(path.parent.iterdir()) == [path]
    write_bytes(path, memoryview(b"new"))
    assert path.read_bytes() == b"new" and list(path.parent.iterdir()) == [path]


def test_a_full_disk(tmp_path):
    code = "from hc_deploy.system.files import write_bytes, Path; write_bytes(Path('out'), bytes(1_000_000))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )  # fmt: skip
    assert "DeployError: cannot write out: File too large" in done.stderr and "room for the file" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_the_failure_of_another_file_is_not_the_outputs(tmp_path, number):
    other = OSError(number, "no", "/elsewhere/temporary")
    with pytest.raises(OSError, match="/elsewhere/temporary"), atomic_path(tmp_path / "out") as temporary:
        temporary.touch()
        raise other
    for name in (None, "its own", 7):
        with pytest.raises(DeployError, match="cannot write .*out: no"), atomic_path(tmp_path / "out") as temporary:
            raise OSError(number, "no", str(temporary) if name == "its own" else name)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_not_replaced(tmp_path):
    for path, kind in ((tmp_path, "a folder"), (Path("/dev/null"), "a device")):
        with pytest.raises(DeployError, match=kind), atomic_path(path):
            pytest.fail("opened")


def test_folders(tmp_path):
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(DeployError, match="file is no folder"):
        make_folder(tmp_path / "file" / "below")


def test_files_that_are_required(tmp_path):
    for path, words in ((tmp_path, "is a folder"), (Path("/dev/null"), "is a device"), (tmp_path / "x", "not exist")):
        with pytest.raises(DeployError, match=words) as caught:
            require_file(path, what="a model")
        assert caught.value.expected == "a model"
    (tmp_path / "empty").touch()
    with pytest.raises(DeployError, match="empty"):
        require_file(tmp_path / "empty", what="a model")
