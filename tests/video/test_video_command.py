"""`python -m hc_deploy video` as a user runs it."""

from __future__ import annotations

import re
import resource
import signal
import socket
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from hc_deploy.classes import CITYSCAPES
from hc_deploy.runtime import open_session
from hc_deploy.runtime.image import prepare
from tests.plugins.cpu import library
from tests.video.conftest import environment, leftovers, start
from tests.video.toys import cut, frames_of, photograph, read_movie, toy_labels, toy_superpixels, write_movie

PALETTE = np.asarray(CITYSCAPES.palette)[:, ::-1]


def distance(one, other):
    """Mean difference of 8x8 blocks: encoders blur the sharp colours of tiny frames."""
    one, other = (cv2.resize(image, None, fx=1 / 8, fy=1 / 8, interpolation=cv2.INTER_AREA) for image in (one, other))
    return np.abs(one.astype(int) - other).mean()


@pytest.mark.parametrize(
    ("source", "fourcc", "out", "size", "fps"),
    [
        ("in.mp4", "mp4v", "out.mp4", (64, 96), 25.0),
        ("in.avi", "MJPG", "out.webm", (50, 34), 12.5),
        ("in.mkv", "FFV1", "out.avi", (96, 64), 29.97),
        ("in.webm", "VP80", "out.mkv", (130, 82), 30.0),
        ("in.mov", "mp4v", "deep/er/out.mov", (64, 96), 23.976),
    ],
)
def test_a_video_of_every_kind(cli, models, tmp_path, source, fourcc, out, size, fps):
    write_movie(tmp_path / source, fourcc=fourcc, size=size, fps=fps, count=15)
    done = cli("video", models["any"], source, "-o", out, "--no-legend", "--alpha", "1", code=0)
    before, after = read_movie(tmp_path / source), read_movie(tmp_path / out)
    assert len(after.frames) == 15 and after.fps == pytest.approx(fps, rel=1e-3)
    for frame, played in zip(before.frames, after.frames, strict=True):
        assert played.shape == frame.shape
        truth = PALETTE[toy_labels(frame)].astype(np.uint8)
        assert distance(played, truth) < 16 < distance(frame, truth), "not the class colours"
    assert "15 frames in " in done.stdout and f"{out}: 15 frames, {size[1]}x{size[0]}" in done.stdout


def test_an_odd_video_from_a_folder(cli, models, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index, frame in enumerate(frames_of(4, 33, 45)):
        cv2.imwrite(str(folder / f"{index}.png"), frame)
    cli("video", models["any"], "pictures", code=0)
    frames = read_movie(tmp_path / "pictures_segmented.mp4").frames
    assert len(frames) == 4 and frames[0].shape == (34, 46, 3)


def test_pngs_hold_exactly_the_palettes_blend_and_the_models_labels(cli, models, tmp_path):
    write_movie(tmp_path / "in.avi", count=5)
    cli("video", models["any"], "in.avi", "-o", "out/", "--labels", "ids", "--no-legend", "--alpha", "0.25", code=0)
    with open_session(models["any"]) as session:
        for index, frame in enumerate(read_movie(tmp_path / "in.avi").frames):
            labels = session.run(prepare([frame], session.spec))["labels"][0]
            written = cv2.imread(str(tmp_path / f"ids/{index:06d}.png"), cv2.IMREAD_UNCHANGED)
            assert written.dtype == np.uint8 and np.array_equal(written, labels)
            assert np.array_equal(labels, toy_labels(frame))
            overlay = cv2.imread(str(tmp_path / f"out/{index:06d}.png"))
            assert np.abs(overlay - (0.75 * frame + 0.25 * PALETTE[labels])).max() <= 0.51
    assert len(list((tmp_path / "out").iterdir())) == len(list((tmp_path / "ids").iterdir())) == 5


def test_superpixels_and_a_fixed_size(cli, models, tmp_path):
    cv2.imwrite(str(tmp_path / "one.png"), photograph(64, 96))
    options = ("-o", "out/", "--superpixels", "--no-legend")
    cli("video", models["fixed"], "one.png", *options, code=0)
    ids = toy_superpixels(photograph(64, 96))
    drawn = cv2.imread(str(tmp_path / "out/000000.png"))
    edges = ids[:-1, :-1] != ids[:-1, 1:]
    assert edges.any() and (drawn[:-1, :-1][edges] == (0, 255, 255)).all()
    write_movie(tmp_path / "big.avi", size=(130, 200), count=3)
    cli("video", models["fixed"], "big.avi", *options, code=0)
    assert cv2.imread(str(tmp_path / "out/000002.png")).shape == (130, 200, 3)


def test_max_frames_is_no_early_end(cli, models, tmp_path):
    write_movie(tmp_path / "in.avi", count=30)
    done = cli("video", models["any"], "in.avi", "--max-frames", "4", code=0)
    assert len(read_movie(tmp_path / "in_segmented.mp4").frames) == 4 and done.stderr == ""


def test_the_kernels_asked_for_are_taken_and_told(cli, models, tmp_path):
    library()
    write_movie(tmp_path / "in.avi", count=3, size=(64, 96))
    for kernels in ("native", "bodies"):
        out = cli("video", models["any"], "in.avi", "-o", f"{kernels}.avi", "--kernels", kernels, code=0).stdout
        assert f"(cpu, {kernels} (" in " ".join(out.split())
    assert "auto" in cli("video", models["any"], "in.avi", "--kernels", "fast", code=2).stderr


def test_the_summary_adds_up(cli, models, tmp_path):
    write_movie(tmp_path / "in.avi", count=60, size=(256, 512))
    out = cli("video", models["any"], "in.avi", "-o", "out.mp4", "--threads", "1", code=0).stdout
    shares = {name: float(share) for name, share in re.findall(r"^(\w+) .* ([\d.]+) %$", out, re.MULTILINE)}
    assert list(shares) == ["read", "prepare", "load", "engine", "fetch", "draw", "write", "other"]
    assert sum(shares.values()) == pytest.approx(100, abs=1) and shares["other"] < 35
    count, seconds, rate = re.search(r"(\d+) frames in ([\d.]+) s: ([\d.]+) frames/s", out).groups()
    assert float(rate) == pytest.approx(int(count) / float(seconds), rel=0.06)
    median = float(re.search(r"^engine +([\d.]+)", out, re.MULTILINE)[1])
    alone = float(re.search(r"would reach ([\d.]+)", out)[1])
    assert alone == pytest.approx(1000 / median, rel=0.05) and alone > float(rate)


@pytest.mark.parametrize(("fourcc", "suffix"), [("MJPG", ".avi"), ("mp4v", ".mkv")])
def test_a_cut_video_keeps_its_part_and_fails(cli, models, tmp_path, fourcc, suffix):
    cut(write_movie(tmp_path / f"in{suffix}", fourcc=fourcc, count=40))
    done = cli("video", models["any"], f"in{suffix}", "-o", "out.mp4", code=1)
    frames = len(read_movie(tmp_path / "out.mp4").frames)
    assert 10 < frames < 30 and f"{frames} of 40 frames" in done.stderr
    assert f"out.mp4: {frames} frames" in done.stdout


@pytest.mark.parametrize(
    ("model", "arguments", "code", "words"),
    [
        ("any", ["nothing.mp4"], 1, "nothing.mp4 does not exist"),
        ("any", ["text.mp4"], 1, "text.mp4 is not a video"),
        ("any", ["half.mp4"], 1, "half.mp4 is not a video"),
        ("any", ["99"], 1, "no camera 99"),
        ("any", ["in.avi", "-o", "text.mp4/out.mp4"], 1, "cannot write"),
        ("any", ["in.avi", "-o", "out.gif"], 2, ".mp4, .mov, .mkv, .avi, .webm"),
        ("any", ["in.avi", "-o", "in.avi"], 2, "both input and output"),
        ("any", ["in.avi", "-o", "./link.avi"], 2, "both input and output"),
        ("any", ["in.avi", "-o", "a/", "--labels", "a"], 2, "two folders"),
        ("any", ["in.avi", "--alpha", "1.5"], 2, "alpha"),
        ("any", ["in.avi", "--threads", "0"], 2, "threads"),
        ("any", ["in.avi", "--provider", "abacus"], 2, "abacus"),
        ("plain", ["in.avi", "--superpixels"], 2, "--outputs labels,superpixels"),
        ("pair", ["in.avi"], 1, "batch of 2"),
        ("blind", ["in.avi"], 1, "labels"),
        ("foreign", ["in.avi"], 1, "without 'hc_deploy' metadata"),
    ],
)
def test_bad_input_gets_one_message_and_writes_nothing(cli, models, tmp_path, model, arguments, code, words):
    write_movie(tmp_path / "in.avi")
    (tmp_path / "link.avi").symlink_to("in.avi")
    (tmp_path / "text.mp4").write_text("this is no video\n" * 100)
    cut(write_movie(tmp_path / "half.mp4", fourcc="mp4v"))
    before = sorted(tmp_path.rglob("*"))
    done = cli("video", models[model], *arguments, code=code)
    assert words in done.stderr and done.stdout == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_that_is_none(cli, tmp_path):
    write_movie(tmp_path / "in.avi")
    (tmp_path / "broken.onnx").write_text("not a model")
    assert "broken.onnx" in cli("video", "broken.onnx", "in.avi", code=1).stderr
    (tmp_path / "net.safetensors").write_text("a checkpoint")
    assert "export.py" in cli("video", "net.safetensors", "in.avi", code=2).stderr
    assert "does not exist" in cli("video", "none.onnx", "in.avi", code=1).stderr


@pytest.mark.parametrize("out", ["out.mp4", "out.webm", "out.avi", "out.mkv"])
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_leaves_a_playable_file(models, tmp_path, out, times):
    write_movie(tmp_path / "long.avi", count=3000, size=(120, 160))
    process = start("video", models["any"], "long.avi", "-o", out, cwd=tmp_path)
    deadline = time.monotonic() + 20
    while not any(path.stat().st_size > 10_000 for path in leftovers(tmp_path)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    stdout, stderr = process.communicate(timeout=30)
    assert "Traceback" not in stderr and "interrupted" in stderr
    assert process.returncode == 130
    frames = len(read_movie(tmp_path / out).frames)
    assert 0 < frames < 3000 and not leftovers(tmp_path)
    if times == 1:
        assert f"{out}: {frames} frame" in stdout


@pytest.mark.parametrize("out", ["out/", "out.avi"])
@pytest.mark.parametrize("part", [0.5, 0.005])
def test_ctrl_c_while_a_stream_stalls(models, tmp_path, out, part):
    """The next frame, or the first, never comes: the server hangs, and hangs up after Ctrl-C."""
    whole = write_movie(tmp_path / "in.mkv", fourcc="MJPG", count=60, size=(120, 160)).read_bytes()
    answer = b"HTTP/1.0 200 OK\r\nContent-Type: video/x-matroska\r\n\r\n" + whole[: int(len(whole) * part)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/in.mkv"
        process = start("video", models["any"], address, "-o", out, "--labels", "maps", cwd=tmp_path)
        client, _ = server.accept()
        with client:
            client.recv(4096)
            client.sendall(answer)
            seen = -1
            while seen != (seen := len(list(tmp_path.glob("maps/*.png")))) or (seen == 0 and part == 0.5):
                assert process.poll() is None
                time.sleep(0.5)
            process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and not leftovers(tmp_path)
    if part == 0.5:
        assert 10 < seen < 60 and f"{out}: {seen} frames" in stdout
        assert stderr == f"interrupted: {out.rstrip('/')} holds the frames so far\n"
    else:
        assert (stdout, stderr) == ("", "interrupted\n") and [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize("out", ["out.mp4", "out.webm", "out.avi", "out.mkv"])
def test_a_full_disk_is_an_error_and_leaves_nothing(cli, models, tmp_path, out):
    write_movie(tmp_path / "in.avi", count=40, size=(240, 320))

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    done = cli("video", models["any"], "in.avi", "-o", out, code=1, preexec_fn=limit)
    assert f"cannot write {out}" in done.stderr and "room on the disk" in done.stderr
    assert not (tmp_path / out).exists()


def test_neither_torch_nor_onnx_is_imported(models, tmp_path):
    write_movie(tmp_path / "in.avi")
    code = (
        "import sys; from hc_deploy.cli import app\n"
        "assert not {'cv2', 'numpy', 'onnxruntime'} & set(sys.modules), 'heavy imports for --help'\n"
        f"app(['video', {str(models['any'])!r}, 'in.avi', '-o', 'out.mp4'], standalone_mode=False)\n"
        "assert {'cv2', 'onnxruntime'} <= set(sys.modules)\n"
        "bad = {'torch', 'onnx', 'onnxscript', 'models', 'tensorrt'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(read_movie(tmp_path / "out.mp4").frames) == 12


def test_help_and_version_answer_at_once(cli):
    start = time.monotonic()
    assert "video" in cli("--help", code=0).stdout
    assert time.monotonic() - start < 1.0  # 0.15 s on an idle machine
    assert "hc-deploy 0" in cli("--version", code=0).stdout
    assert "--superpixels" in cli("video", "--help", code=0).stdout
