"""Signals, where they do harm: in the middle of other people's imports and calls. What hangs: tests/field."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hc_deploy.system.interrupts import cleanup, deferred, on_signal, postponed
from tests.video.toys import save_toy, toy_spec, write_movie

ROOT = Path(__file__).resolve().parents[2]
TRAP = """
import os, runpy, signal, sys
class Trap:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Trap())
"""
EXPORT = ["export.py", "--random-init", "--arch", "hcfcn32_resnet18", "--option", "width=8", "--size", "64x64"]


def run(code: str, cwd: Path, **options) -> subprocess.CompletedProcess:
    torch_keeps = {"TORCHINDUCTOR_CACHE_DIR": str(cwd.parent)}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(cwd), **torch_keeps}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, env=environment, timeout=100, **options
    )


@pytest.mark.parametrize(
    ("command", "module"),
    [
        (["hc_deploy", "video", "toy.onnx", "in.avi"], "typer"),
        (["hc_deploy", "video", "toy.onnx", "in.avi"], "numpy._core._multiarray_umath"),
        (["hc_deploy", "video", "toy.onnx", "in.avi"], "cv2.typing"),
        (["hc_deploy", "video", "toy.onnx", "in.avi"], "onnxruntime.capi._pybind_state"),
        (["hc_deploy", "infer", "toy.onnx", "in.png", "-o", "out"], "cv2.mat_wrapper"),
        (["hc_deploy", "doctor"], "onnxruntime.capi"),
        (["bench.py", "run", "toy.onnx", "-o", "report.json"], "typer"),
        (EXPORT, "typer"),
        (EXPORT, "torch._C"),
        (EXPORT, "torch.onnx._internal.exporter._core"),
        (EXPORT, "hc_deploy.parity.images"),  # the file is written by then, under its temporary name
    ],
)
def test_an_import_is_interrupted(tmp_path, command, module):
    """One word, the exit code, and nothing left; not the error that the import makes of it."""
    save_toy(tmp_path / "toy.onnx", toy_spec())
    write_movie(tmp_path / "in.avi")
    before = sorted(tmp_path.iterdir())
    name, *arguments = command
    start = f"runpy.run_path({str(ROOT / name)!r}" if name.endswith(".py") else f"runpy.run_module({name!r}"
    code = f"{TRAP.format(module=module)}sys.argv = {[name, *arguments]!r}\n{start}, run_name='__main__')"
    done = run(code, tmp_path)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert sorted(tmp_path.iterdir()) == before


def test_opencv_under_fire(tmp_path):
    """A KeyboardInterrupt crashes OpenCV within a few hundred; a thousand deferred ones are one mark."""
    code = """
import os, signal, threading, cv2, numpy as np
from hc_deploy.system.interrupts import deferred
image, table, labels = np.zeros((60, 80, 3), np.uint8), np.zeros((256, 1, 3), np.uint8), np.zeros((60, 80), np.uint8)
def fire():
    for _ in range(1000):
        os.kill(os.getpid(), signal.SIGINT)
        done.wait(0.001)
    done.set()
done = threading.Event()
with deferred() as asked:
    threading.Thread(target=fire).start()
    while not done.is_set():
        cv2.addWeighted(image, 0.5, cv2.applyColorMap(labels, table, dst=image.copy()), 0.5, 0)
    print(asked())
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_leaving_cleans_up(tmp_path):
    """Innermost first, with what atexit holds; a second Ctrl-C stops no cleaning."""
    code = """
import atexit, os, signal, sys, tempfile, time
from hc_deploy.system import interrupts
from hc_deploy.system.files import atomic_path
from pathlib import Path
def clean():
    os.kill(os.getpid(), signal.SIGINT)
    print("inner", sorted(os.listdir()) , flush=True)
interrupts.install()
folder = tempfile.TemporaryDirectory(dir=".")
atexit.register(print, "outer", flush=True)
with atomic_path(Path("file")) as temporary, interrupts.cleanup(clean):
    temporary.write_text("half")
    Path(folder.name, "file").touch()
    signal.raise_signal(signal.SIGINT)
print("went on")
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert done.stdout.startswith("inner ['.file.") and done.stdout.endswith("outer\n")
    assert list(tmp_path.iterdir()) == []


def test_cleaning_that_hangs_is_given_up(tmp_path):
    code = """
import signal, threading
from hc_deploy.system import interrupts
interrupts.SECONDS_TO_FINISH = interrupts.SECONDS_TO_CLEAN = 0.5
interrupts.install()
lock = threading.Lock()
lock.acquire()
with interrupts.cleanup(lock.acquire):
    signal.raise_signal(signal.SIGINT)
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stderr) == (130, "interrupted; what had to be cleaned up hung\n")


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_each_signal_has_its_code(tmp_path, name, code):
    script = f"""
import signal
from hc_deploy.system import interrupts
interrupts.install()
clean, note = lambda: print("cleaned", flush=True), lambda: interrupts.reason() + ", said"
with interrupts.cleanup(clean), interrupts.last_words(note):
    signal.raise_signal(signal.{name})
"""
    done = run(script, tmp_path)
    word = "interrupted" if name == "SIGINT" else f"ended by {name}"
    assert (done.returncode, done.stdout, done.stderr) == (code, "cleaned\n", f"{word}, said\n")


def test_the_first_signal_gives_the_code(tmp_path):
    """Slurm, docker and impatient people send a second one."""
    code = """
import os, signal
from hc_deploy.system import interrupts
interrupts.install()
with interrupts.deferred() as asked:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.raise_signal(number)
    interrupts.leave(interrupts.reason())
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stderr) == (143, "ended by SIGTERM\n")


def test_a_handler_of_somebody_elses_is_kept(tmp_path):
    code = """
import signal
signal.signal(signal.SIGTERM, lambda number, frame: print("theirs", flush=True))
from hc_deploy.system import interrupts
interrupts.install()
signal.raise_signal(signal.SIGTERM)
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stdout) == (0, "theirs\n")


def test_a_forked_process_is_on_its_own(tmp_path):
    """A signal to it ends it alone: it cleans up nothing of its parent's, and its parent goes on."""
    code = """
import os, signal, time
from hc_deploy.system import interrupts
interrupts.SECONDS_TO_FINISH = interrupts.SECONDS_TO_CLEAN = 0.2
interrupts.install()
with interrupts.cleanup(lambda: print("cleaned by", "parent" if os.getpid() == parent else "child", flush=True)):
    parent, child = os.getpid(), os.fork()
    if child == 0:
        files = [os.open("/dev/zero", os.O_RDONLY) for _ in range(20)]
        if os.fork() == 0:  # a child of a child has its files
            os._exit(sum(len(os.read(file, 1)) for file in files) != 20)
        print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
        time.sleep(30)
        os._exit(0)
    time.sleep(0.5)
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    time.sleep(1)
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n-15\ncleaned by parent\n", "")


def test_more_time_for_what_is_finished(tmp_path):
    """A block that says that it takes long is let finish."""
    code = """
import signal, time
from hc_deploy.system import interrupts
interrupts.SECONDS_TO_FINISH, interrupts.SECONDS_IN_ALL = 0.2, 0.5
interrupts.install()
with interrupts.postponed(seconds=30):
    signal.raise_signal(signal.SIGINT)
    time.sleep(2)
    print("finished", flush=True)
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "finished\n", "interrupted\n")


@pytest.mark.parametrize("end", ["pass", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 2)"])
def test_the_process_beside_a_command_goes_with_it(tmp_path, end):
    code = f"""
import os
from hc_deploy.system import interrupts, last_resort
serve, detach = last_resort._serve, last_resort._detach
def told(*arguments):
    os.write(1, str(os.getpid()).encode())
    os.close(1)
    return serve(*arguments)
last_resort._serve, last_resort._detach = told, lambda keep: detach(keep | {{1}})
interrupts.install()
{end}
"""
    helper = Path("/proc") / run(code, tmp_path).stdout
    deadline = time.monotonic() + 30
    while helper.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert helper.name.isdigit() and not helper.exists()


def test_where_ctrl_c_is_ignored_it_stays_so(tmp_path):
    """As under nohup, or in the background of a shell without job control."""
    code = """
import signal
from hc_deploy.system import interrupts
interrupts.install()
with interrupts.deferred() as asked:
    signal.raise_signal(signal.SIGINT)
signal.raise_signal(signal.SIGINT)
print(asked())
"""
    done = run(code, tmp_path, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert (done.returncode, done.stdout) == (0, "False\n")


def test_deferring_ends_with_its_block():
    with deferred() as asked:
        assert not asked()
        signal.raise_signal(signal.SIGINT)
        assert asked()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_something_else_instead():
    seen = []
    with on_signal(lambda: seen.append("outer")):
        with on_signal(lambda: seen.append("inner")):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert seen == ["inner", "outer"]


def test_assured_once():
    seen = []
    with pytest.raises(ZeroDivisionError), cleanup(lambda: seen.append(1)):
        raise ZeroDivisionError
    assert len(seen) == 1


def test_nested_blocks_with_one_function(tmp_path):
    """The end of the inner one must not take the outer one's assurance away."""
    code = """
import signal
from hc_deploy.system import interrupts
interrupts.install()
def clean():
    print("clean", flush=True)
with interrupts.cleanup(clean):
    with interrupts.cleanup(clean):
        pass
    signal.raise_signal(signal.SIGINT)
"""
    assert run(code, tmp_path).stdout == "clean\nclean\n"


def test_standard_error_is_heard_again(tmp_path):
    """Ctrl-C within a block that silences it."""
    code = """
import signal
from hc_deploy.system import interrupts
from hc_deploy.video.silence import quiet_stderr
interrupts.install()
with quiet_stderr(), quiet_stderr():
    signal.raise_signal(signal.SIGINT)
"""
    done = run(code, tmp_path)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_postponing():
    seen = []
    with pytest.raises(KeyboardInterrupt):
        with postponed():
            signal.raise_signal(signal.SIGINT)
            seen.append("went on")
        seen.append("not here")
    with pytest.raises(ZeroDivisionError), postponed():
        signal.raise_signal(signal.SIGINT)
        raise ZeroDivisionError
    assert seen == ["went on"]


def test_off_the_main_thread_nothing_is_handled():
    seen = []

    def work():
        with on_signal(lambda: seen.append("handled")), postponed(), deferred() as asked:
            seen.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
