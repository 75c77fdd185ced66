"""The drawn street: same in, same out; labels that fit the picture; motion; clips that are whole or absent."""

import errno
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from hc_deploy.classes import CITYSCAPES
from scenes.clip import iterate_clip, write_clip
from scenes.labels import Label
from scenes.scene import Scene

SEEDS = range(24)


@pytest.fixture(scope="module")
def frames():
    return [Scene(seed, (192, 384)).render(0.0) for seed in SEEDS]


def test_the_same_seed_size_and_time_give_the_same_frame():
    scene = Scene(3, (128, 256))
    scene.render(1.7)  # what was rendered before must not matter
    again, fresh = scene.render(0.4), Scene(3, (128, 256)).render(0.4)
    assert np.array_equal(again.image, fresh.image)
    assert np.array_equal(again.labels, fresh.labels)
    assert not np.array_equal(Scene(4, (128, 256)).render(0.4).labels, fresh.labels)


@pytest.mark.parametrize("size", [(64, 64), (97, 211), (131, 67), (64, 509)])
def test_frames_have_their_type_and_shape_at_odd_sizes(size):
    for time_s in (0.0, 3.1, 100.0):
        frame = Scene(11, size).render(time_s)
        assert frame.image.dtype == np.uint8 and frame.image.shape == (*size, 3)
        assert frame.labels.dtype == np.uint8 and frame.labels.shape == size
        assert np.isin(frame.labels, [*range(19), 255]).all()
        assert (frame.labels == 255).mean() < 0.01


def test_the_picture_scales_with_the_height():
    small, large = Scene(5, (128, 256)).render(0.2).labels, Scene(5, (384, 768)).render(0.2).labels
    assert (small == large[1::3, 1::3]).mean() > 0.9


@pytest.mark.parametrize(("seed", "size"), [(-1, (128, 256)), (0, (63, 256)), (0, (256, 0))])
def test_what_cannot_be_drawn_is_refused(seed, size):
    with pytest.raises(ValueError, match="expected"):
        Scene(seed, size)


def test_labels_are_the_cityscapes_classes_in_order():
    assert tuple(label.name.lower().replace("_", " ") for label in Label) == CITYSCAPES.names
    assert len(CITYSCAPES.palette) == len(set(CITYSCAPES.palette)) == 19


def test_every_class_occurs_and_the_common_ones_nearly_always(frames):
    present = np.array([np.bincount(f.labels.ravel(), minlength=256)[:19] >= 20 for f in frames])
    share = dict(zip(CITYSCAPES.names, present.mean(0), strict=True))
    assert min(share.values()) >= 0.08, share
    for name in ("road", "sidewalk", "building", "vegetation", "sky", "pole", "traffic sign", "car", "person"):
        assert share[name] > 0.8, (name, share)


def test_a_class_is_not_one_flat_colour(frames):
    """Mean colours of a class differ between scenes by more than the sensor's noise."""
    for label in (Label.ROAD, Label.BUILDING, Label.VEGETATION, Label.CAR, Label.SKY):
        means = [f.image[f.labels == label].mean(0) for f in frames if (f.labels == label).sum() > 50]
        assert np.std(means, axis=0).mean() > 8, label


def test_consecutive_frames_move_but_keep_together():
    clip = list(iterate_clip(6, (192, 384), 4, 25.0))
    for before, after in pairwise(clip):
        assert not np.array_equal(before.labels, after.labels)
        assert (before.labels == after.labels).mean() > 0.93
    apart = (clip[0].labels == Scene(6, (192, 384)).render(2.0).labels).mean()
    assert apart < (clip[0].labels == clip[1].labels).mean() - 0.05


def test_motion_is_a_drive_forward():
    """Dense flow (Farneback, OpenCV's own) points outwards below the horizon: left goes left, right goes right."""
    votes = []
    for seed in (1, 6, 20, 26):
        first, second = (f.image for f in iterate_clip(seed, (192, 384), 2, 12.5))
        grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (first, second)]
        flow = cv2.calcOpticalFlowFarneback(*grey, None, 0.5, 4, 15, 3, 5, 1.1, 0)
        still = np.isin(Scene(seed, (192, 384)).render(0.0).labels, (Label.BUILDING, Label.SIDEWALK, Label.VEGETATION))
        left, right = still.copy(), still.copy()
        left[:, 110:], right[:, :274] = False, False
        if left.sum() > 300 and right.sum() > 300:
            votes.append(np.median(flow[..., 0][right]) - np.median(flow[..., 0][left]))
    assert len(votes) >= 2 and min(votes) > 0.3, votes


@pytest.mark.parametrize("axis", [0, 1])
def test_silhouettes_coincide_in_picture_and_labels(frames, axis):
    """Slid over the picture, the label edges meet the steepest colour change where they stand, not a pixel off."""
    gains = np.zeros(5)
    for frame in frames:
        edge = np.diff(frame.labels.astype(int), axis=axis) != 0
        steep = np.abs(np.diff(frame.image.astype(float), axis=axis)).sum(2)
        gains += [np.roll(steep, -shift, axis)[edge].mean() for shift in range(-2, 3)]
    assert gains.argmax() == 2, gains
    assert gains[2] > 1.5 * max(gains[0], gains[4]), gains


@pytest.mark.parametrize("label", [Label.POLE, Label.TRAFFIC_SIGN, Label.SKY, Label.PERSON])
def test_silhouettes_of_a_class_coincide(frames, label):
    gains = np.zeros(7)
    for frame in frames:
        edge = np.diff((frame.labels == label).astype(int), axis=1) != 0
        if edge.any():
            steep = np.abs(np.diff(frame.image.astype(float), axis=1)).sum(2)
            gains += [np.roll(steep, -shift, 1)[edge].sum() for shift in range(-3, 4)]
    assert 2 <= gains.argmax() <= 4, gains


def test_a_clip_reads_back_whole(tmp_path):
    movie, folder = tmp_path / "street.mp4", tmp_path / "labels"
    write_clip(movie, folder, seed=2, size=(128, 256), frames=6, fps=25.0)
    reader = cv2.VideoCapture(str(movie))
    assert reader.get(cv2.CAP_PROP_FPS) == pytest.approx(25.0)
    pictures = []
    while (read := reader.read())[0]:
        pictures.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    reader.release()
    names = sorted(entry.name for entry in folder.iterdir())
    assert names == [f"{number:05d}.png" for number in range(6)] and len(pictures) == 6
    for number, frame in enumerate(iterate_clip(2, (128, 256), 6, 25.0)):
        stored = cv2.imread(str(folder / names[number]), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(stored, frame.labels)
        assert pictures[number].shape == (128, 256, 3)
        assert np.abs(pictures[number].astype(float) - frame.image).mean() < 12
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["labels", "street.mp4"]  # and nothing temporary


def test_a_clip_that_fails_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(OSError):
        write_clip(tmp_path / "no" / "a.mp4", tmp_path / "labels", seed=0, size=(64, 128), frames=2, fps=25.0)
    with pytest.raises(ValueError, match="even"):
        write_clip(tmp_path / "a.mp4", tmp_path / "labels", seed=0, size=(65, 128), frames=2, fps=25.0)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError):
        write_clip(tmp_path / "a.mp4", tmp_path / "labels", seed=0, size=(64, 128), frames=2, fps=25.0)
    assert not any(tmp_path.iterdir())


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="other files"):
        write_clip(tmp_path / "a.mp4", tmp_path / "labels", seed=0, size=(64, 128), frames=2, fps=25.0)
    assert (tmp_path / "labels" / "notes.txt").read_text() == "mine"


def test_the_command_answers_and_refuses(tmp_path):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "scenes"]
    done = subprocess.run(
        [*command, "clip", "-o", str(tmp_path), "--size", "64x128", "--frames", "2"], cwd=root, capture_output=True
    )
    assert done.returncode == 0 and (tmp_path / "street.mp4").exists(), done.stderr
    bad = subprocess.run(
        [*command, "clip", "-o", str(tmp_path), "--size", "10x10"], cwd=root, capture_output=True, text=True
    )
    assert bad.returncode == 1 and "expected at least" in bad.stderr and "Traceback" not in bad.stderr
