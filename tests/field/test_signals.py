"""What ends a command from outside (a terminal, `docker stop`, Slurm, a closed ssh), also in code that hangs."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import bench
from hc_deploy.bench.report import read_report
from hc_deploy.classes import CITYSCAPES
from hc_deploy.spec import METADATA_KEY, ModelSpec
from tests.video.conftest import environment, leftovers, start
from tests.video.toys import read_movie, save_toy, toy_spec, write_movie

SIGNALS = {
    signal.SIGINT: (130, "interrupted"),
    signal.SIGTERM: (143, "ended by SIGTERM"),
    signal.SIGHUP: (129, "ended by SIGHUP"),
}
HANG = """
import ctypes, sys
from pathlib import Path
from hc_deploy.system import interrupts
interrupts.install()
from hc_deploy.system.files import atomic_path
with atomic_path(Path("out.bin")) as temporary:
    temporary.touch()
    print("ready", flush=True)
    mutex = ctypes.create_string_buffer(64)
    library = {library}(None)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)  # for ever: no signal wakes it
"""


def save_loop(path: Path) -> Path:
    """An ONNX model that answers a dark image at once, and goes round 2^62 times for a bright one."""
    spec = ModelSpec("toy", CITYSCAPES.names, CITYSCAPES.palette, outputs=("labels",), batch=1, height=48, width=64)
    shape = [1, 48, 64]
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Identity", ["v"], ["v2"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.UINT8, shape),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.UINT8, shape),
        ],
    )
    constants = [
        helper.make_tensor("place", TensorProto.INT64, [4], [0, 0, 0, 0]),
        helper.make_tensor("bright", TensorProto.INT64, [], [200]),
        helper.make_tensor("trips", TensorProto.INT64, [], [2**62]),
        helper.make_tensor("true", TensorProto.BOOL, [], [True]),
        helper.make_tensor("step", TensorProto.UINT8, [], [14]),
    ]
    nodes = [
        helper.make_node("GatherND", ["image", "place"], ["pixel"]),
        helper.make_node("Cast", ["pixel"], ["wide"], to=TensorProto.INT64),
        helper.make_node("Div", ["wide", "bright"], ["times"]),
        helper.make_node("Mul", ["times", "trips"], ["count"]),
        helper.make_node("ReduceMax", ["image"], ["most"], keepdims=0, axes=[3]),
        helper.make_node("Div", ["most", "step"], ["first"]),
        helper.make_node("Loop", ["count", "true", "first"], ["labels"], body=body),
    ]
    graph = helper.make_graph(
        nodes,
        "loop",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [*shape, 3])],
        [helper.make_tensor_value_info("labels", TensorProto.UINT8, shape)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.metadata_props.add(key=METADATA_KEY, value=spec.to_json())
    onnx.save(model, path)
    return path


def images(folder: Path, count: int) -> Path:
    """`count` dark images, and a bright one."""
    folder.mkdir()
    for index in range(count + 1):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((48, 64, 3), 40 + index if index < count else 255, np.uint8))
    return folder


def folders(tmp_path: Path) -> list[tuple[signal.Signals, Path]]:
    """A folder for each signal: the three runs go on side by side."""
    made = [(number, tmp_path / number.name) for number in SIGNALS]
    for _, folder in made:
        folder.mkdir()
    return made


def script(code: str, cwd: Path, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=cwd, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def stuck(process: subprocess.Popen) -> None:
    """Wait until the model is open and works: it burns time, and loads no library any more."""
    while True:
        assert process.poll() is None
        before = len(maps(process)), processor_time(process)
        time.sleep(3)
        if "onnxruntime" in maps(process) and len(maps(process)) == before[0] and processor_time(process) > before[1]:
            return


def maps(process: subprocess.Popen) -> str:
    return Path(f"/proc/{process.pid}/maps").read_text()


def processor_time(process: subprocess.Popen) -> int:
    return int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11])


def test_a_model_that_never_returns(tmp_path):
    """A Loop of 2^62 trips: nothing of Python's runs in the main thread any more."""
    model = save_loop(tmp_path / "loop.onnx")
    bright = images(tmp_path / "images", 0) / "0.png"
    running = [
        (number, folder, start("infer", model, bright, "-o", "out", cwd=folder)) for number, folder in folders(tmp_path)
    ]
    for number, _, process in running:
        stuck(process)
        process.send_signal(number)
    for number, folder, process in running:
        code, word = SIGNALS[number]
        assert process.communicate(timeout=60)[1] == f"{word}\n" and process.returncode == code
        assert not leftovers(folder)


@pytest.mark.parametrize("out", ["out.mp4", "out.avi", "out.webm", "out.mkv", "out/"])
def test_a_frame_that_never_ends_leaves_a_playable_video(tmp_path, out):
    model, source = save_loop(tmp_path / "loop.onnx"), images(tmp_path / "images", 7)
    running = []
    for number, folder in folders(tmp_path):
        process = start("video", model, source, "-o", out, "--labels", "maps", cwd=folder)
        running.append((number, folder, process))
    for number, folder, process in running:
        while len(list(folder.glob("maps/*.png"))) < 7:
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(1)  # into the eighth
        process.send_signal(number)
    for number, folder, process in running:
        code, word = SIGNALS[number]
        said = process.communicate(timeout=60)[1]
        assert said == f"{word}: {out.rstrip('/')} holds the frames so far\n" and process.returncode == code
        held = len(list((folder / "out").iterdir())) if out == "out/" else len(read_movie(folder / out).frames)
        assert held == 7 and not leftovers(folder)


@pytest.mark.parametrize("out", ["out.mp4", "out/"])
def test_a_video_ends_after_its_frame(tmp_path, out):
    """SIGTERM and SIGHUP as Ctrl-C: the summary, the frames, the code."""
    write_movie(tmp_path / "long.avi", count=3000, size=(120, 160))
    model = save_toy(tmp_path / "toy.onnx", toy_spec())
    running = [
        (number, folder, start("video", model, "../long.avi", "-o", out, "--labels", "maps", cwd=folder))
        for number, folder in folders(tmp_path)
    ]
    for number, folder, process in running:
        while len(list(folder.glob("maps/*.png"))) < 5:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
    for number, folder, process in running:
        code, word = SIGNALS[number]
        stdout, said = process.communicate(timeout=60)
        assert said == f"{word}: {out.rstrip('/')} holds the frames so far\n" and process.returncode == code
        held = len(list((folder / "out").iterdir())) if out == "out/" else len(read_movie(folder / out).frames)
        assert 5 <= held < 3000 and f"{held} frames" in stdout and not leftovers(folder)


def test_native_code_that_keeps_the_interpreters_lock(tmp_path):
    """No thread of Python's can act; the exit code is right all the same, and the next run removes what is left."""
    running = [
        (number, folder, script(HANG.format(library="ctypes.PyDLL"), folder)) for number, folder in folders(tmp_path)
    ]
    for number, _, process in running:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(number)
    for number, folder, process in running:
        code, word = SIGNALS[number]
        said = process.communicate(timeout=60)[1]
        assert process.returncode == code and said.startswith(f"{word}; native code did not return")
        assert len(leftovers(folder)) == 1
        write = "from hc_deploy.system.files import write_bytes, Path; write_bytes(Path('new'), b'new')"
        assert script(write, folder).wait(60) == 0
        assert [path.name for path in folder.iterdir()] == ["new"]


def test_native_code_that_gives_the_lock_away_is_cleaned_up(tmp_path):
    for number, folder, process in [
        (number, folder, script(HANG.format(library="ctypes.CDLL"), folder)) for number, folder in folders(tmp_path)
    ]:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(number)
        code, word = SIGNALS[number]
        assert process.communicate(timeout=60)[1] == f"{word}\n" and process.returncode == code
        assert list(folder.iterdir()) == []


def test_the_main_thread_stands_still_when_it_comes_back(tmp_path):
    """While another thread cleans up, it writes nothing and raises nothing."""
    code = """
import ctypes, threading, time
from hc_deploy.system import interrupts
interrupts.SECONDS_TO_FINISH = 0.5
interrupts.install()
mutex, libc = ctypes.create_string_buffer(64), ctypes.CDLL(None)
back = threading.Event()
def clean():
    libc.pthread_mutex_unlock(mutex)
    print("cleaning", flush=True)
    back.wait(1)
libc.pthread_mutex_lock(mutex)
with interrupts.deferred(), interrupts.salvaging(clean):
    import os, signal
    os.kill(os.getpid(), signal.SIGINT)
    libc.pthread_mutex_lock(mutex)
    back.set()
    print("went on", flush=True)
"""
    stdout, said = (process := script(code, tmp_path)).communicate(timeout=60)
    assert (process.returncode, stdout, said) == (130, "cleaning\n", "interrupted\n")


def rounds(*arguments: object, cwd: Path, **options) -> subprocess.Popen:
    """`bench.py run` in a script that prints a line after each round."""
    code = f"""
import sys, runpy
from hc_deploy.system import interrupts
interrupts.install()
import bench
from hc_deploy.commands import bench_progress
call = bench_progress.Progress.__call__
def told(self, rounds):
    call(self, rounds)
    print("round", rounds, flush=True)
bench_progress.Progress.__call__ = told
from hc_deploy.console import run_app
run_app(bench.app, {["run", *map(str, arguments)]!r})
"""
    return script(code, cwd, **options)


def test_a_benchmark_keeps_its_rounds(tmp_path):
    model = save_toy(tmp_path / "toy.onnx", toy_spec())
    options = ("--size", "64x96", "--rounds", 100_000, "-o", "r.json")
    running = [(number, folder, rounds(model, *options, cwd=folder)) for number, folder in folders(tmp_path)]
    for number, _, process in running:
        while process.stdout.readline() != "round 20\n":
            assert process.poll() is None
        process.send_signal(number)
    for number, folder, process in running:
        code, word = SIGNALS[number]
        said = process.communicate(timeout=60)[1]
        held = re.fullmatch(rf"{word} after (\d+) rounds; r.json holds them\n", said)
        assert process.returncode == code and held is not None, said
        report = read_report(folder / "r.json")
        assert report.workload.rounds == int(held[1]) >= 20 and report.workload.stop == "interrupted"
        assert not leftovers(folder)
        compare = [sys.executable, bench.__file__, "compare", "r.json", "r.json"]
        done = subprocess.run(compare, cwd=folder, text=True, capture_output=True)
        assert done.returncode in (0, 5) and "not significant" in done.stdout


def test_a_benchmark_with_too_few_rounds_says_so(tmp_path):
    model = save_toy(tmp_path / "toy.onnx", toy_spec())
    process = rounds(model, "--size", "2048x4096", "--frame", "3000x4000", "-o", "r.json", cwd=tmp_path)
    assert process.stdout.readline() == "round 1\n"
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert re.fullmatch(r"ended by SIGTERM after [1-5] rounds?; r.json was not written: 6 are the least\n", said), said
    assert not (tmp_path / "r.json").exists() and not leftovers(tmp_path)


def test_under_nohup_a_closed_terminal_ends_nothing(tmp_path):
    model = save_toy(tmp_path / "toy.onnx", toy_spec())
    write_movie(tmp_path / "in.avi", count=200, size=(120, 160))
    process = start(
        "video", model, "in.avi", "-o", "out.mp4", "--labels", "maps", cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    while len(list(tmp_path.glob("maps/*.png"))) < 5:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 0 and len(read_movie(tmp_path / "out.mp4").frames) == 200


def test_a_terminal_that_is_gone(tmp_path):
    """Closed with the window: SIGHUP comes, and nothing can be printed any more."""
    model = save_toy(tmp_path / "toy.onnx", toy_spec())
    write_movie(tmp_path / "in.avi", count=3000, size=(120, 160))
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execve(
            sys.executable,
            [sys.executable, "-m", "hc_deploy", "video", str(model), "in.avi", "-o", "out.mp4", "--labels", "maps"],
            environment(),
        )
    while len(list(tmp_path.glob("maps/*.png"))) < 5:
        time.sleep(0.01)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 129
    assert 5 <= len(read_movie(tmp_path / "out.mp4").frames) < 3000 and not leftovers(tmp_path)


def test_a_killed_run_is_swept_by_the_next(tmp_path):
    """SIGKILL leaves a half video; the next run beside it removes that, and nothing else."""
    model = save_toy(tmp_path / "toy.onnx", toy_spec())
    write_movie(tmp_path / "in.avi", count=3000, size=(120, 160))
    process = start("video", model, "in.avi", "-o", "out.mp4", "--labels", "maps", cwd=tmp_path)
    while len(list(tmp_path.glob("maps/*.png"))) < 5:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    half = [path for path in leftovers(tmp_path) if path.suffix == ".mp4"]
    assert len(half) == 1
    (mine := tmp_path / ".out.mine.mp4").touch()
    done = start("video", model, "in.avi", "-o", "other.mp4", "--max-frames", "3", cwd=tmp_path)
    assert done.wait(60) == 0 and leftovers(tmp_path) == [mine]
