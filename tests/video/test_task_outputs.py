"""Superpixel and depth models through `hc-deploy infer` and `video`: drawn, stored, summed up."""

import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage import data

from hc_deploy.errors import DeployError
from hc_deploy.evaluate.superpixels import connected_regions
from hc_deploy.export.onnx import export_onnx, save_onnx
from hc_deploy.runtime import open_session
from hc_deploy.runtime.image import prepare
from hc_deploy.video.task_outputs import Clipped, DepthColours, checked, in_words, stored
from models.load import new_network
from tests.field.models import classes_of, depth_spec, wide_spec
from tests.video.toys import toy_spec

SIZE = (96, 128)
OPTIONS = {
    "ssn": {"superpixels": 24, "iterations": 2, "channels": 8},
    "hcdorn": {"backbone": "resnet18", "width": 8, "intervals": 8, "dim": 8},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    for name, options in OPTIONS.items():
        net, spec = new_network(name, options)
        model = export_onnx(net, replace(spec, batch=1, height=SIZE[0], width=SIZE[1]))
        save_onnx(model, folder / name / "model.onnx")
    cv2.imwrite(str(folder / "cat.png"), cv2.resize(data.cat()[..., ::-1], SIZE[::-1]))
    return folder


def run(*arguments):
    result = subprocess.run([sys.executable, "-m", "hc_deploy", *map(str, arguments)], capture_output=True, text=True)
    assert "Traceback" not in result.stderr, result.stderr
    return result


def answer(folder, name):
    frame = cv2.imread(str(folder / "cat.png"))
    with open_session(folder / name) as session:
        return session.run(prepare([frame], session.spec)), frame


def test_superpixels(exported, tmp_path):
    result = run("infer", exported / "ssn", exported / "cat.png", "-o", tmp_path)
    assert result.returncode == 0, result.stderr
    outputs, frame = answer(exported, "ssn")
    ids = cv2.imread(str(tmp_path / "cat_labels.png"), cv2.IMREAD_UNCHANGED)
    assert ids.dtype == np.uint16
    np.testing.assert_array_equal(ids, outputs["superpixels"][0])
    assert f"{np.unique(ids).size} superpixels" in result.stdout
    overlay = cv2.imread(str(tmp_path / "cat_overlay.png"))
    changed = (overlay != frame).any(-1)
    edge = np.zeros(ids.shape, bool)
    edge[:, :-1] |= ids[:, :-1] != ids[:, 1:]
    edge[:-1] |= ids[:-1] != ids[1:]
    np.testing.assert_array_equal(overlay[edge], np.broadcast_to([0, 255, 255], (edge.sum(), 3)))
    assert not (changed & ~edge).any()


def test_connected_superpixels(exported, tmp_path):
    """Each id is one region; without the option some are in several parts (the network is untrained)."""
    parts = {}
    for name, option in (("plain", []), ("joined", ["--connected"])):
        run("infer", exported / "ssn", exported / "cat.png", "-o", tmp_path / name, *option)
        ids = cv2.imread(str(tmp_path / name / "cat_labels.png"), cv2.IMREAD_UNCHANGED).astype(np.int32)
        parts[name] = np.unique(connected_regions(ids)).size - np.unique(ids).size
    assert parts["joined"] == 0 < parts["plain"]


def test_depth(exported, tmp_path):
    result = run("infer", exported / "hcdorn", exported / "cat.png", "-o", tmp_path)
    assert result.returncode == 0 and " m, median " in result.stdout
    outputs, _ = answer(exported, "hcdorn")
    millimetres = cv2.imread(str(tmp_path / "cat_labels.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_allclose(millimetres, 1000 * outputs["depth"][0], atol=0.51)


def test_depth_video_plays(exported, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "in.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, SIZE[::-1])
    for _ in range(4):
        writer.write(cv2.imread(str(exported / "cat.png")))
    writer.release()
    result = run("video", exported / "hcdorn", tmp_path / "in.avi", "-o", tmp_path / "out.avi", "--alpha", "1")
    assert result.returncode == 0, result.stderr
    assert cv2.VideoCapture(str(tmp_path / "out.avi")).get(cv2.CAP_PROP_FRAME_COUNT) == 4


def test_connected_needs_superpixels(exported, tmp_path):
    result = run("infer", exported / "hcdorn", exported / "cat.png", "-o", tmp_path, "--connected")
    assert result.returncode == 2 and "superpixel model" in result.stderr


def test_near_is_red_and_far_is_blue():
    depth = np.tile(np.geomspace(1, 10, 64, dtype=np.float32), (4, 1))
    drawn = DepthColours(1.0).draw(np.zeros((4, 64, 3), np.uint8), depth, None, time_s=0.0)
    (blue, _, red), (blue_far, _, red_far) = drawn[0, 2].astype(int), drawn[0, -3].astype(int)
    assert red > blue and blue_far > red_far


def test_depths_of_no_measurement_are_black_and_do_not_stretch_the_colours():
    depth = np.tile(np.geomspace(1, 10, 64, dtype=np.float32), (4, 1))
    holes = depth.copy()
    holes[0, ::4], holes[1, ::4], holes[2, ::4], holes[3, -1] = np.nan, -5, 0, np.inf
    image = np.zeros((4, 64, 3), np.uint8)
    plain, drawn = (DepthColours(1.0).draw(image, each, None, time_s=0.0) for each in (depth, holes))
    missing = ~(holes > 0)
    assert missing.sum() == 48 and not drawn[missing].any()
    np.testing.assert_array_equal(drawn[~missing], plain[~missing])  # infinity is as far as the farthest
    assert not DepthColours(1.0).draw(image, np.full((4, 64), np.nan, np.float32), None, time_s=0.0).any()


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_millimetres(kind):
    """A PNG holds 0 to 65.535 m; 0 says that nothing was measured, so that what was measured is 1 mm at least."""
    metres = np.array([1.25, 0.0, -0.0, -0.001, -64.5, np.nan, -np.inf, 1e-5, 65.0, 65.5, 66, 70, np.inf], kind)
    clipped = Clipped()
    result = stored(checked(metres, "depth"), depth_spec(), clipped)
    assert result.dtype == np.uint16
    assert result.tolist() == [1250, 0, 0, 0, 0, 0, 0, 1, 65000, 65500, 65535, 65535, 65535]
    assert (clipped.unmeasured, clipped.beyond) == (4, 3)
    stored(np.full((2, 2), -1, np.float32), depth_spec(), clipped)
    assert clipped.unmeasured == 8, "the maps of a video are counted together"
    assert (
        Clipped(1, 0).in_words() == "1 pixel below 0 m or NaN stored as 0 (no measurement)" and not Clipped().in_words()
    )


def test_in_words():
    assert in_words(np.array([[1.2345, 70.0, -9, np.nan, 0]], np.float32), "depth").startswith("1.23 to 70.00 m, ")
    assert in_words(np.full((2, 2), np.nan, np.float32), "depth") == "no depth above 0 m"
    assert in_words(np.zeros((2, 2), np.uint8), "segmentation") == ""


@pytest.mark.parametrize(
    ("spec", "most"), [(toy_spec(), 255), (wide_spec(), 65535), (replace(toy_spec(), **classes_of(256)), 255)]
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_ids_are_stored_as_they_are_or_refused(spec, most, kind):
    ids = np.arange(min(most, np.iinfo(kind).max) + 1, dtype=kind)[None]
    kept = stored(ids, spec, Clipped())
    assert kept.dtype == (np.uint8 if most == 255 else np.uint16) and np.array_equal(kept, ids)
    for wrong in (most + 1, -1):
        if np.iinfo(kind).min <= wrong <= np.iinfo(kind).max:
            with pytest.raises(DeployError, match="ids from"):
                stored(np.array([[0, wrong]], kind), spec, Clipped())


def test_superpixel_ids_beyond_16_bits_are_refused():
    spec = replace(toy_spec(("superpixels",)), task="superpixels", classes=(), palette=())
    assert stored(np.array([[0, 65535]], np.int32), spec, Clipped()).tolist() == [[0, 65535]]
    with pytest.raises(DeployError, match="0 to 65536"):
        stored(np.array([[0, 65536]], np.int32), spec, Clipped())


def test_what_a_session_gives_is_checked():
    assert checked(np.array([[True, False]]), "segmentation").tolist() == [[1, 0]]
    wide = checked(np.array([[0, 2**31 - 1]], np.int64), "superpixels")
    assert wide.dtype == np.int32 and wide.tolist() == [[0, 2**31 - 1]]
    for wrong, task in (
        (np.array([[0.5]]), "segmentation"),
        (np.array([[2**31]]), "segmentation"),
        (np.array([[2**32 - 1]], np.uint32), "superpixels"),
        (np.array([[1500]], np.uint16), "depth"),
    ):
        with pytest.raises(DeployError):
            checked(wrong, task)
