"""Answers that are easily wrong in silence: many classes, two classes from one logit, depths that PNG cannot hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.field.models import WIDE, binary_spec, classes_of, depth_spec, metres, save, wide_labels, wide_spec
from tests.video.toys import photograph, read_movie

ROOT = Path(__file__).resolve().parents[2]
SIZE = (61, 83)


def run(*arguments, code=0):
    result = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT,
        env={**os.environ, "COLUMNS": "80"}, timeout=120,
    )  # fmt: skip
    assert result.returncode == code and "Traceback" not in result.stderr, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    image = photograph(*SIZE)
    image[0, :7] = 0
    cv2.imwrite(str(folder / "a.png"), image)
    return folder, image


@pytest.mark.parametrize("kind", ["uint16", "int32"])
def test_classes_beyond_256(kind, frames, tmp_path):
    """`infer`, `video` and the maps of both: each id is the model's own, in its own colour."""
    folder, image = frames
    model, truth = save(tmp_path / "model.onnx", wide_spec(), kind), wide_labels(image)
    assert truth.max() > 255, "the photograph says nothing about wide labels"
    done = run("-m", "hc_deploy", "infer", model, folder / "a.png", "-o", tmp_path, "--alpha", 1, "--no-legend")
    ids = cv2.imread(str(tmp_path / "a_labels.png"), cv2.IMREAD_UNCHANGED)
    assert ids.dtype == np.uint16 and np.array_equal(ids, truth)
    colours = np.asarray(classes_of(WIDE)["palette"], np.uint8)[truth]
    assert np.array_equal(cv2.imread(str(tmp_path / "a_overlay.png"))[..., ::-1], colours)
    most = np.bincount(truth.ravel()).argmax()
    share = 100 * (truth == most).mean()
    assert any(line.split() == ["class", str(most), f"{share:.1f}", "%"] for line in done.stdout.splitlines())
    run("-m", "hc_deploy", "video", model, folder, "-o", tmp_path / "v.mp4", "--labels", tmp_path / "maps")
    assert np.array_equal(cv2.imread(str(tmp_path / "maps/000000.png"), cv2.IMREAD_UNCHANGED), truth)
    assert len(read_movie(tmp_path / "v.mp4").frames) == 1


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int32"])
def test_few_classes_in_any_type_are_8_bit_maps(kind, frames, tmp_path):
    folder, image = frames
    model = save(tmp_path / "model.onnx", binary_spec(), kind)
    done = run("-m", "hc_deploy", "infer", model, folder / "a.png", "-o", tmp_path, "--alpha", 1)
    ids, truth = cv2.imread(str(tmp_path / "a_labels.png"), cv2.IMREAD_UNCHANGED), image[..., 2] > 127
    assert ids.dtype == np.uint8 and np.array_equal(ids, truth)
    line = ["class", "1", f"{100 * truth.mean():.1f}", "%"]
    assert any(said.split() == line for said in done.stdout.splitlines())


def test_one_logit_and_wide_labels_are_measured(tmp_path):
    one = save(tmp_path / "one/model.onnx", binary_spec(height=64, width=96, batch=1))
    wide = save(tmp_path / "wide/model.onnx", wide_spec(height=64, width=96, batch=1))
    report = tmp_path / "report.json"
    options = ("--rounds", 3, "--warmup", 0, "--frame", "65x97")
    result = subprocess.run(
        [sys.executable, "bench.py", "run", *map(str, (one, wide, "-o", report, *options))],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert result.returncode in (0, 5), result.stderr  # 5: three rounds scatter
    assert [model["name"] for model in json.loads(report.read_text())["models"]] == ["one", "wide"]


def test_depths_that_millimetres_cannot_hold(frames, tmp_path):
    """Negative and no number: 0, as KITTI and NYU mark it. Too far: the farthest. Both are said."""
    folder, image = frames
    model, truth = save(tmp_path / "model.onnx", depth_spec()), metres(image)
    below, beyond = int((~(truth >= 0)).sum()), int((truth > 65.535).sum())
    assert below > 7 and beyond > 7 and np.isnan(truth).sum() >= 7
    held = np.clip(np.nan_to_num(truth, nan=0.0), 0, 65.535) * 1000
    said = f"{below} pixels below 0 m or NaN stored as 0 (no measurement); {beyond} pixels beyond 65.535 m stored as"
    done = run("-m", "hc_deploy", "infer", model, folder / "a.png", "-o", tmp_path)
    assert np.array_equal(cv2.imread(str(tmp_path / "a_labels.png"), cv2.IMREAD_UNCHANGED), np.rint(held))
    assert done.stdout.count(said) == 1
    done = run("-m", "hc_deploy", "video", model, folder, "-o", tmp_path / "v.mp4", "--labels", tmp_path / "maps")
    assert np.array_equal(cv2.imread(str(tmp_path / "maps/000000.png"), cv2.IMREAD_UNCHANGED), np.rint(held))
    assert done.stdout.count(said) == 1
