"""Frames to model input and back, against numbers computed by hand."""

import numpy as np
import pytest

from hc_deploy.errors import DeployError
from hc_deploy.runtime.image import prepare, resized, restore
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


def centres(fine, coarse):
    """Of the pixels of a side: where their centres lie on the other grid, in its pixels."""
    return (np.arange(fine) + 0.5) * coarse / fine - 0.5


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("sizes", [((2, 2), (5, 7)), ((16, 24), (51, 77)), ((33, 65), (31, 97)), ((64, 96), (37, 53))])
def test_maps_take_the_nearest_pixel_by_centres(sizes, kind):
    """Where a centre lies between two pixels either is nearest."""
    small, large = sizes
    ids = np.arange(small[0] * small[1]).reshape(small).astype(kind) % 251
    got = restore(ids, large)
    assert got.dtype == kind
    sides = [centres(*pair) for pair in zip(large, small, strict=True)]
    low, high = ([np.clip(f(side), 0, n - 1).astype(int) for side, n in zip(sides, small, strict=True)]
                 for f in (lambda x: np.ceil(x - 0.5), lambda x: np.floor(x + 0.5)))  # fmt: skip
    fits = [ids[np.ix_(rows, columns)] == got for rows in (low[0], high[0]) for columns in (low[1], high[1])]
    assert np.any(fits, axis=0).all()
    mirrored = restore(np.ascontiguousarray(ids[::-1, ::-1]), large)[::-1, ::-1]
    tied = (low[0] != high[0])[:, None] | (low[1] != high[1])
    np.testing.assert_array_equal(mirrored[~tied], got[~tied])


@pytest.mark.parametrize("size", [(80, 70), (51, 100), (25, 70), (31, 230), (97, 211), (50, 200)])
def test_pictures_keep_their_place(size):
    """A slope stays where it is, to a tenth of a grey level of 1.2 a pixel, whichever side shrinks or grows."""
    slope = np.tile((np.arange(200) * 1.2).astype(np.float32), (50, 1))
    got = resized(np.dstack([slope] * 3), size)
    expected = 1.2 * centres(size[1], 200)
    inside = slice(4, -4)
    assert got.shape == (*size, 3) and np.abs(got[size[0] // 2, inside, 0] - expected[inside]).mean() < 0.1
    down = resized(np.ascontiguousarray(np.dstack([slope] * 3).transpose(1, 0, 2)), size[::-1])
    np.testing.assert_allclose(down.transpose(1, 0, 2), got, atol=1e-3)


@pytest.mark.parametrize("frames", [[], [np.zeros((2, 2), np.uint8)], [np.zeros((2, 2, 3), np.float32)]])
def test_what_is_no_frame_is_refused(frames):
    with pytest.raises(DeployError):
        prepare(frames, ModelSpec(**SPEC))
