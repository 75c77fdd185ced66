"""Superpixel and depth models through `hc-deploy infer` and `video`: drawn, stored, summed up."""

import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from skimage import data

from hc_deploy.evaluate.superpixels import connected_regions
from hc_deploy.export.onnx import export_onnx, save_onnx
from hc_deploy.runtime import open_session
from hc_deploy.runtime.image import prepare
from hc_deploy.video.answers import DepthColours, in_words, stored
from models.load import new_network

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


def test_stored_and_in_words():
    depth = np.array([[1.2345, 70.0]], np.float32)
    assert stored(depth, "depth").tolist() == [[1234, 0]] or stored(depth, "depth").tolist() == [[1235, 0]]
    assert in_words(depth, "depth").startswith("1.23 to 70.00 m")
    assert in_words(np.zeros((2, 2), np.uint8), "segmentation") == ""
