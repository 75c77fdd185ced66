from __future__ import annotations

import shutil
import signal

import cv2
import numpy as np
import pytest

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.video import sinks
from hc_deploy.video.frame import VideoInfo
from hc_deploy.video.sinks import CODECS, VideoSink, frames_held, open_sink, parse_target
from tests.video.conftest import leftovers
from tests.video.toys import cut, frames_of, photograph, read_movie, write_movie


def info(height, width, fps=25.0):
    return VideoInfo(width, height, fps, None, "clip")


def write(path, frames, fps=25.0):
    with open_sink(parse_target(str(path)), info(*frames[0].shape[:2], fps)) as sink:
        for frame in frames:
            sink.write(frame)
    return sink


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize(("size", "fps"), [((64, 96), 25.0), ((65, 97), 29.97), ((64, 95), 12.5), ((33, 96), 60.0)])
def test_what_is_written_plays(tmp_path, suffix, size, fps):
    frames = frames_of(7, *size)
    sink = write(tmp_path / f"out{suffix}", frames, fps)
    movie = read_movie(tmp_path / f"out{suffix}")
    assert sink.written == len(movie.frames) == 7
    assert movie.fps == pytest.approx(fps, rel=1e-3)
    height, width = size
    for frame, played in zip(frames, movie.frames, strict=True):
        assert played.shape == (height + height % 2, width + width % 2, 3), "an odd frame grows by one"
        assert np.abs(played[:height, :width].astype(int) - frame).mean() < 12
        assert np.abs(played[-1].astype(int) - played[height - 1]).mean() < 16, "the last row is repeated"
    assert not leftovers(tmp_path)


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_the_smallest_frame(tmp_path, suffix):
    write(tmp_path / f"out{suffix}", [photograph(1, 1)] * 3)
    assert len(read_movie(tmp_path / f"out{suffix}").frames) == 3


def test_a_frame_that_no_encoder_takes(tmp_path):
    with pytest.raises(DeployError, match=r"out\.mp4"):
        write(tmp_path / "out.mp4", [np.zeros((16, 20_000, 3), np.uint8)])
    with pytest.raises(DeployError, match="file holds 0"):  # libvpx opens and writes nothing at 2x2
        write(tmp_path / "out.webm", [photograph(1, 1)] * 3)
    assert not list(tmp_path.iterdir())


def test_a_folder_takes_numbered_pngs(tmp_path):
    frames = frames_of(3, 5, 7)
    sink = write(f"{tmp_path}/new/pictures/", frames)
    assert sink.written == 3
    for index, frame in enumerate(frames):
        assert np.array_equal(cv2.imread(str(tmp_path / f"new/pictures/{index:06d}.png")), frame)


def test_targets(tmp_path):
    assert not parse_target("a/b.MP4").folder and parse_target("a/").folder and parse_target(str(tmp_path)).folder
    for text in ("out.gif", "out", "out.mp3"):
        with pytest.raises(UsageError) as caught:
            parse_target(text)
        assert all(suffix in str(caught.value) for suffix in CODECS)


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), open_sink(parse_target(str(path)), info(64, 96)) as sink:
        sink.write(photograph(64, 96))
        raise ZeroDivisionError
    assert path.read_bytes() == b"old" and not leftovers(tmp_path)


def test_ctrl_c_keeps_what_was_written(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_sink(parse_target(str(tmp_path / "out.mp4")), info(64, 96)) as sink:
        for frame in frames_of(5, 64, 96):
            sink.write(frame)
        raise KeyboardInterrupt
    assert len(read_movie(tmp_path / "out.mp4").frames) == 5 and not leftovers(tmp_path)


@pytest.mark.parametrize("step", ["close", "verify"])
@pytest.mark.parametrize("first", [True, False])
def test_ctrl_c_while_the_file_is_finished(tmp_path, monkeypatch, step, first):
    """The file is kept; it comes for the second time, or for the first."""
    finish = getattr(VideoSink, step)

    def interrupted(sink):
        signal.raise_signal(signal.SIGINT)
        finish(sink)

    monkeypatch.setattr(VideoSink, step, interrupted)
    with pytest.raises(KeyboardInterrupt), open_sink(parse_target(str(tmp_path / "out.mp4")), info(64, 96)) as sink:
        for frame in frames_of(5, 64, 96):
            sink.write(frame)
        if not first:
            raise KeyboardInterrupt
    assert len(read_movie(tmp_path / "out.mp4").frames) == 5 and not leftovers(tmp_path)


def test_ctrl_c_before_the_first_frame_keeps_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_sink(parse_target(str(tmp_path / "out.mp4")), info(64, 96)):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["file/out.mp4", "file/sub/out.mp4", "file/sub/"])
def test_an_output_below_a_file(tmp_path, path):
    (tmp_path / "file").touch()
    with pytest.raises(DeployError, match="cannot write"), open_sink(parse_target(f"{tmp_path}/{path}"), info(64, 96)):
        pytest.fail("opened")


def test_another_frame_size_is_refused(tmp_path):
    with (
        pytest.raises(DeployError, match="96x64"),
        open_sink(parse_target(str(tmp_path / "o.mp4")), info(96, 64)) as sink,
    ):
        sink.write(photograph(64, 96))


def test_a_full_disk_is_noticed_on_the_way(tmp_path, monkeypatch):
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(sinks.shutil, "disk_usage", lambda path: full)
    frame = photograph(16, 16)
    with (
        pytest.raises(DeployError, match="disk is full"),
        open_sink(parse_target(str(tmp_path / "o.mp4")), info(16, 16)) as sink,
    ):
        for _ in range(1000):
            sink.write(frame)
    assert sink.written == sinks.ROOM_FRAMES and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fourcc", "suffix"), [("MJPG", ".avi"), ("mp4v", ".mkv"), ("VP80", ".webm"), ("mp4v", ".mp4")]
)
def test_frames_are_counted_in_what_is_really_there(tmp_path, fourcc, suffix):
    path = write_movie(tmp_path / f"clip{suffix}", fourcc=fourcc, count=30)
    assert frames_held(path, 30) == 30
    assert frames_held(path, 31) == 30
    assert frames_held(cut(path), 30) < 25
