"""Frames to model input and back, against numbers computed by hand."""

import numpy as np
import pytest

from hc_deploy.errors import DeployError
from hc_deploy.runtime.image import prepare, restore
from hc_deploy.spec import ModelSpec

SPEC = {"arch": "a", "classes": ("x",), "palette": ((0, 0, 0),)}


def test_uint8_input_is_the_frame_in_rgb():
    frame = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(prepare([frame, frame], ModelSpec(**SPEC)), np.stack([frame[..., ::-1]] * 2))


def test_float_input_is_normalised():
    blue_green_red = np.full((2, 2, 3), (255, 0, 51), np.uint8)
    out = prepare([blue_green_red], ModelSpec(**SPEC, input="float", mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.2)))
    assert out.shape == (1, 3, 2, 2) and out.dtype == np.float32
    np.testing.assert_allclose(out[0, :, 0, 0], [(0.2 - 0.1) / 0.5, (0 - 0.2) / 0.25, (1 - 0.3) / 0.2], rtol=1e-6)


def test_fixed_size_resizes_and_restores():
    frame = np.zeros((10, 20, 3), np.uint8)
    frame[:, 10:] = 200
    out = prepare([frame], ModelSpec(**SPEC, height=4, width=8))
    assert out.shape == (1, 4, 8, 3) and out[0, 0, 0, 0] == 0 and out[0, 3, 7, 0] == 200
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    np.testing.assert_array_equal(restore(labels, (4, 4)), labels.repeat(2, 0).repeat(2, 1))


@pytest.mark.parametrize("frames", [[], [np.zeros((2, 2), np.uint8)], [np.zeros((2, 2, 3), np.float32)]])
def test_what_is_no_frame_is_refused(frames):
    with pytest.raises(DeployError):
        prepare(frames, ModelSpec(**SPEC))
