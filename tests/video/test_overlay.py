from __future__ import annotations

import time

import cv2
import numpy as np
import pytest

from hc_deploy.classes import CITYSCAPES
from hc_deploy.video.legend import LINGER_S, MIN_TEXT, Legend, class_shares, fit
from hc_deploy.video.overlay import YELLOW, Overlay, OverlayOptions, blend, boundary_mask, colour_table
from tests.video.toys import photograph, toy_spec

SIZES = [(1, 1), (1, 7), (53, 1), (64, 96), (127, 211), (512, 1024)]
PALETTE = np.asarray(CITYSCAPES.palette)


def random_labels(height, width, classes=19):
    return np.random.default_rng(height * width).integers(0, classes, (height, width), dtype=np.uint8)


def drawn(image, labels, ids=None, **options):
    overlay = Overlay(toy_spec(), OverlayOptions(**{"legend": False, **options}))
    return overlay.draw(image, labels, ids, time_s=0.0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_colours_are_the_palettes_blend(size, alpha):
    image, labels = photograph(*size), random_labels(*size)
    before = image.copy()
    truth = (1 - alpha) * image + alpha * PALETTE[labels][..., ::-1]
    result = drawn(image, labels, alpha=alpha)
    assert result.dtype == np.uint8 and np.abs(result - truth).max() <= 0.51
    assert np.array_equal(image, before), "the frame itself was changed"


def test_ids_beyond_the_palette_are_black():
    image = np.full((4, 4, 3), 200, np.uint8)
    assert not drawn(image, np.full((4, 4), 19, np.uint8), alpha=1.0).any()
    assert not drawn(image, np.full((4, 4), 255, np.uint8), alpha=1.0).any()


@pytest.mark.parametrize("classes", [2, 19, 255, 256, 257, 70_000])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_ids_of_every_type_have_their_own_colour_and_share(classes, kind):
    rng = np.random.default_rng(classes)
    palette = rng.integers(0, 256, (classes, 3))
    labels = rng.integers(0, min(classes, np.iinfo(kind).max + 1), (53, 71)).astype(kind)
    labels[0, 0], labels[0, 1] = (-1 if kind == np.int32 else np.iinfo(kind).max), np.iinfo(kind).max
    image, known = photograph(53, 71), (labels >= 0) & (labels.astype(np.int64) < classes)
    truth = np.where(known[..., None], palette[np.where(known, labels, 0)][..., ::-1], 0)
    table = colour_table(tuple(map(tuple, palette.tolist())))
    np.testing.assert_array_equal(blend(image, labels, table, 1.0, np.empty_like(image)), truth)
    shares = class_shares(labels, classes)
    np.testing.assert_allclose(shares, [(labels == c).mean() if c in labels else 0 for c in range(classes)])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_the_legend_of_every_type_is_the_same(kind):
    image, labels = photograph(128, 256), random_labels(128, 256)
    assert np.array_equal(drawn(image, labels.astype(kind), legend=True), drawn(image, labels, legend=True))


@pytest.mark.parametrize("size", SIZES)
def test_boundaries_are_where_the_right_or_lower_neighbour_differs(size):
    height, width = size
    ids = np.random.default_rng(1).integers(0, 3, size).astype(np.int32) + 2**20
    truth = np.zeros(size, bool)
    for i in range(height):
        for j in range(width):
            right = j + 1 < width and ids[i, j + 1] != ids[i, j]
            below = i + 1 < height and ids[i + 1, j] != ids[i, j]
            truth[i, j] = right or below
    assert np.array_equal(boundary_mask(ids), truth)
    labels = np.zeros(size, np.uint8)
    result = drawn(photograph(*size), labels, ids, superpixels=True)
    assert (result[truth] == YELLOW).all()
    assert np.array_equal(result[~truth], drawn(photograph(*size), labels)[~truth])


def test_boundaries_only_on_request():
    image, labels = photograph(8, 8), np.zeros((8, 8), np.uint8)
    ids = np.arange(64, dtype=np.int32).reshape(8, 8)
    assert np.array_equal(drawn(image, labels, ids), drawn(image, labels))


def test_one_overlay_serves_frames_of_several_sizes():
    overlay = Overlay(toy_spec(), OverlayOptions(superpixels=True))
    for size in (*SIZES, *reversed(SIZES)):
        ids = np.zeros(size, np.int32)
        assert overlay.draw(photograph(*size), random_labels(*size), ids, time_s=0.0).shape == (*size, 3)


@pytest.mark.parametrize("size", [(100, 200), (128, 256), (512, 1024), (1080, 1920), (1920, 1080), (2160, 3840)])
def test_legend_is_readable_and_leaves_three_quarters_of_the_width(size):
    labels = np.zeros(size, np.uint8)
    labels[:, size[1] // 2 :] = 10
    image = np.full((*size, 3), 128, np.uint8)
    plain, result = drawn(image, labels), drawn(image, labels, legend=True)
    rows, columns = np.nonzero((plain != result).any(axis=2))
    assert columns.max() < size[1] / 4 and rows.max() < size[0] / 3
    layout = fit(("road", "sky"), *size)
    assert layout.text >= max(MIN_TEXT, 0.018 * min(size[0], 2200))
    legend = result[: rows.max(), : columns.max()].reshape(-1, 3)
    for label in (0, 10):
        assert (legend == PALETTE[label][::-1]).all(axis=1).sum() >= layout.text**2, "no swatch"
    assert (legend > 150).all(axis=1).sum() >= 10, "no letters"
    assert not (legend == PALETTE[1][::-1]).all(axis=1).any(), "a class that is absent"


def test_legend_shortens_names_rather_than_cover_the_frame():
    names = ("traffic light", "traffic sign", "vegetation")
    for width in range(1, 400):
        layout = fit(names, 128, width)
        if layout is not None:
            assert layout.width <= width / 4 and len(set(layout.names)) == len(names)
    assert fit(names, 128, 8) is None and fit(names, 2, 4000) is None and fit((), 512, 1024) is None
    assert fit(names, 512, 1024).names == names


def test_legend_keeps_the_largest_classes_where_rows_are_short():
    image, labels = np.full((64, 400, 3), 128, np.uint8), np.zeros((64, 400), np.uint8)
    for label in range(1, 19):
        labels[:3, label * 20 : (label + 1) * 20 - (20 - label)] = label  # class 18 has the most
    result = drawn(image, labels, legend=True)
    corner = result[:, :100].reshape(-1, 3)
    shown = [label for label in range(19) if (corner == PALETTE[label][::-1]).all(axis=1).sum() >= MIN_TEXT**2]
    assert 0 in shown and 18 in shown and 1 not in shown


def test_legend_does_not_flicker():
    legend = Legend(CITYSCAPES.names, CITYSCAPES.palette)
    empty, some, few = (np.zeros((100, 100), np.uint8) for _ in range(3))
    some.reshape(-1)[:11] = 13  # 0.11%
    few.reshape(-1)[:10] = 7  # 0.10%: not more than the limit
    assert legend.present(few, time_s=0.0) == (0,)
    assert legend.present(some, time_s=1.0) == (0, 13), "a class enters at once"
    assert legend.present(empty, time_s=1.0 + 0.99 * LINGER_S) == (0, 13), "and stays for a second"
    assert legend.present(empty, time_s=1.0 + 1.01 * LINGER_S) == (0,), "and leaves then"


def test_shares_against_counting():
    labels = random_labels(53, 97)
    truth = [(labels == label).sum() / labels.size for label in range(19)]
    assert np.allclose(class_shares(labels, 19), truth, atol=0, rtol=1e-12)


def test_overlay_and_legend_within_8_ms_on_one_core():
    overlay = Overlay(toy_spec(), OverlayOptions())
    image, labels = photograph(512, 1024), random_labels(512, 1024)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        samples = []
        for _ in range(30):
            start = time.thread_time()
            overlay.draw(image, labels, None, time_s=0.0)
            samples.append(time.thread_time() - start)
    finally:
        cv2.setNumThreads(threads)
    assert np.median(samples) < 0.008
