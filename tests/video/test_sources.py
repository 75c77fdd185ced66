from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from hc_deploy.errors import DeployError
from hc_deploy.video.images import images_in, read_image
from hc_deploy.video.sources import ended_early, open_source
from tests.video.toys import cut, faststart, frames_of, photograph, turned, write_movie

FORMATS = [
    ("mp4v", ".mp4"), ("MJPG", ".avi"), ("FFV1", ".mkv"), ("VP80", ".webm"),
    ("VP90", ".mkv"), ("mp4v", ".mov"), ("XVID", ".avi"), ("MPEG", ".ts"),
]  # fmt: skip


@pytest.mark.parametrize(("fourcc", "suffix"), FORMATS)
@pytest.mark.parametrize(("size", "fps"), [((64, 96), 25.0), ((50, 34), 23.976)])
def test_every_frame_of_a_file_in_order(tmp_path, fourcc, suffix, size, fps):
    path = write_movie(tmp_path / f"clip{suffix}", fourcc=fourcc, size=size, fps=fps, count=30)
    with open_source(str(path)) as source:
        frames = list(source)
    assert source.problem is None
    assert (source.info.height, source.info.width, source.info.name) == (*size, "clip")
    assert source.info.fps == pytest.approx(fps, rel=1e-3)
    assert source.info.frames == len(frames) == 30
    for index, (frame, truth) in enumerate(zip(frames, frames_of(30, *size), strict=True)):
        assert frame.index == index and frame.time_s == pytest.approx(index / fps, rel=1e-3)
        assert frame.image.shape == truth.shape and frame.image.dtype == np.uint8
        assert np.abs(frame.image.astype(int) - truth).mean() < 12


def test_lossless_frames_are_the_frames(tmp_path):
    path = write_movie(tmp_path / "clip.avi", fourcc="FFV1", count=5)
    with open_source(str(path)) as source:
        for frame, truth in zip(source, frames_of(5, 64, 96), strict=True):
            assert np.abs(frame.image.astype(int) - truth).max() <= 3


def test_a_telephones_rotation_is_honoured(tmp_path):
    upright = frames_of(4, 64, 96)
    path = turned(write_movie(tmp_path / "phone.mp4", fourcc="mp4v", count=4))
    with open_source(str(path)) as source:
        frames = list(source)
    assert (source.info.width, source.info.height) == (64, 96)
    assert len(frames) == 4
    expected = cv2.rotate(upright[0], cv2.ROTATE_90_CLOCKWISE)
    assert np.abs(frames[0].image.astype(int) - expected).mean() < 12


@pytest.mark.parametrize(("fourcc", "suffix"), [("MJPG", ".avi"), ("FFV1", ".mkv"), ("VP80", ".webm")])
def test_a_cut_file_gives_what_it_has_and_says_so(tmp_path, fourcc, suffix):
    path = cut(write_movie(tmp_path / f"clip{suffix}", fourcc=fourcc, count=30))
    with open_source(str(path)) as source:
        count = len(list(source))
    assert 5 < count < 25
    assert f"{count} of 30 frames" in str(source.problem)


def test_a_cut_download_with_its_index_in_front(tmp_path):
    path = faststart(write_movie(tmp_path / "web.mp4", fourcc="mp4v", count=30))
    with open_source(str(path)) as source:
        assert len(list(source)) == 30 and source.problem is None
    cut(path, 0.7)
    with open_source(str(path)) as source:
        count = len(list(source))
    assert 0 < count < 28 and f"{count} of 30 frames" in str(source.problem)


@pytest.mark.parametrize(
    ("read", "last_s", "promised", "fps", "early"),
    [
        (100, 3.96, 100, 25, False),
        (50, 1.96, 100, 25, True),
        (98, 3.88, 100, 25, False),  # a rounded estimate
        (9000, 359.96, 9020, 25, False),  # sound outlasts the picture by 0.8 s
        (8900, 355.96, 9000, 25, True),  # 4 s are missing
        (900, 59.9, 1800, 30, False),  # a varying rate: half the frames, but all of the time
        (2, 0.033, 101, 2997, False),  # the rate is the container's clock
        (10, 0.36, 20, 25, True),
    ],
)
def test_ended_early(read, last_s, promised, fps, early):
    assert ended_early(read, last_s, promised, fps) is early


def test_a_folder_in_natural_order(tmp_path):
    for number in (10, 9, 1, 2, 100):
        cv2.imwrite(str(tmp_path / f"f{number}.png"), np.full((6, 8, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / ".f0.png").write_bytes(b"")
    with open_source(str(tmp_path)) as source:
        assert [int(frame.image[0, 0, 0]) for frame in source] == [1, 2, 9, 10, 100]
    assert source.info.frames == 5 and source.problem is None
    assert [path.name for path in images_in(tmp_path)] == ["f1.png", "f2.png", "f9.png", "f10.png", "f100.png"]


def test_a_folder_of_mixed_sizes_names_both(tmp_path):
    cv2.imwrite(str(tmp_path / "a1.png"), photograph(64, 96))
    cv2.imwrite(str(tmp_path / "a2.png"), photograph(96, 64))
    with open_source(str(tmp_path)) as source:
        assert len(list(source)) == 1
    assert "64x96" in str(source.problem) and "96x64" in str(source.problem) and "infer" in str(source.problem)


def test_one_image_is_one_frame(tmp_path):
    cv2.imwrite(str(tmp_path / "one.png"), photograph(5, 7))
    with open_source(str(tmp_path / "one.png")) as source:
        (frame,) = source
    assert np.array_equal(frame.image, photograph(5, 7)) and source.info.name == "one"


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.98])
def test_half_an_image_is_refused(tmp_path, suffix, share):
    path = tmp_path / f"half{suffix}"
    cv2.imwrite(str(path), photograph(64, 96))
    whole = path.read_bytes()
    assert read_image(path).shape == (64, 96, 3)
    path.write_bytes(whole + b"\0" * 100 + b"\xff\xda\x00")
    assert read_image(path).shape == (64, 96, 3), "trailing bytes do no harm"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DeployError, match="cut short"):
        read_image(path)


def test_half_a_photograph_behind_a_whole_thumbnail(tmp_path):
    jpeg, thumbnail = (cv2.imencode(".jpg", photograph(*size))[1].tobytes() for size in ((64, 96), (8, 8)))
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    path = tmp_path / "camera.jpg"
    path.write_bytes(jpeg[:2] + segment + jpeg[2:])
    assert read_image(path).shape == (64, 96, 3)
    cut(path)
    with pytest.raises(DeployError, match="cut short"):
        read_image(path)


@pytest.mark.parametrize("name", ["text.mp4", "text.txt", "text.png", "sound.wav", "noise.mp4", "words.srt"])
def test_what_is_no_video_is_refused(tmp_path, name, capfd):
    path = tmp_path / name
    if name == "sound.wav":
        samples = bytes(8000)
        header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + 8000, b"WAVE", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8,
                             b"data", 8000)  # fmt: skip
        path.write_bytes(header + samples)
    elif name == "noise.mp4":
        path.write_bytes(np.random.default_rng(0).bytes(50_000))
    elif name == "words.srt":
        path.write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n")
    else:
        path.write_text("this is no video\n" * 100)
    with pytest.raises(DeployError, match="is not a"):
        open_source(str(path))
    assert capfd.readouterr().err == "", "FFmpeg or OpenCV spoke to the user"


@pytest.mark.parametrize("text", ["nothing.mp4", "99", "rtsp://127.0.0.1:1/live", "http://127.0.0.1:1/a.mp4"])
def test_what_is_not_there_is_refused(tmp_path, monkeypatch, text, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeployError):
        open_source(text)
    assert capfd.readouterr().err == ""


def test_a_password_in_a_url_is_not_repeated():
    with pytest.raises(DeployError) as caught:
        open_source("rtsp://user:secret@127.0.0.1:1/live")
    assert "secret" not in str(caught.value) and "127.0.0.1:1/live" in str(caught.value)


def test_an_empty_folder_and_an_empty_file(tmp_path):
    with pytest.raises(DeployError, match="no image"):
        open_source(str(tmp_path))
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(DeployError, match="0 bytes"):
        open_source(str(tmp_path / "empty.mp4"))
