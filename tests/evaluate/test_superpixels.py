"""Connectivity and superpixel metrics against flood fill, loops and scikit-image."""

import numpy as np
import pytest
from skimage.measure import label as skimage_regions
from skimage.metrics import adapted_rand_error

from hc_deploy.evaluate.superpixels import (
    achievable_segmentation_accuracy,
    boundary_recall,
    connected_regions,
    enforce_connectivity,
    undersegmentation_error,
)


def noise(shape, count, seed=0):
    return np.random.default_rng(seed).integers(0, count, shape)


def blocks(shape, side, count, seed=0):
    """Blocks of random labels with a tenth of the pixels replaced at random: large regions and fragments."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, count, (-(-shape[0] // side), -(-shape[1] // side)))
    fine = coarse.repeat(side, 0).repeat(side, 1)[: shape[0], : shape[1]].copy()
    wrong = rng.random(shape) < 0.1
    fine[wrong] = rng.integers(0, count, int(wrong.sum()))
    return fine


def spiral(size):
    """One region of ones that winds around itself: the hardest case for labels that travel."""
    board = np.zeros((size, size), int)
    top, left, bottom, right = 0, 0, size - 1, size - 1
    while top <= bottom and left <= right:
        board[top, left : right + 1] = board[top : bottom + 1, right] = board[bottom, left : right + 1] = 1
        board[min(top + 2, bottom) : bottom + 1, left] = 1
        if top + 2 <= bottom and left + 1 <= right:
            board[top + 2, left + 1] = 1
        top, left, bottom, right = top + 2, left + 2, bottom - 2, right - 2
    return board


def neighbours(y, x, shape):
    around = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return [(a, b) for a, b in around if 0 <= a < shape[0] and 0 <= b < shape[1]]


def fill(ids, y, x):
    """Pixels of the 4-connected region of (y, x), by flood fill."""
    found, stack = {(y, x)}, [(y, x)]
    while stack:
        for place in neighbours(*stack.pop(), ids.shape):
            if place not in found and ids[place] == ids[y, x]:
                found.add(place)
                stack.append(place)
    return found


def merged_by_loop(ids, min_size):
    """`enforce_connectivity` as its docstring says, one merge at a time on the whole map."""
    out = np.full(ids.shape, -1)
    for y, x in np.ndindex(ids.shape):
        if out[y, x] < 0:
            for place in fill(ids, y, x):
                out[place] = y * ids.shape[1] + x
    while True:
        names, sizes = np.unique(out, return_counts=True)
        small = sorted((size, name) for size, name in zip(sizes, names, strict=True) if size < min_size)
        if not small or len(names) == 1:
            return out
        region = small[0][1]
        border = {}
        for y, x in zip(*np.nonzero(out == region), strict=True):
            for place in neighbours(y, x, out.shape):
                if out[place] != region:
                    border[out[place]] = border.get(out[place], 0) + 1
        into = min(border, key=lambda other: (-border[other], other))
        out[out == region] = into


def same_partition(one, other):
    return adapted_rand_error(one + 1, other + 1)[0] == pytest.approx(0) and len(np.unique(one)) == len(
        np.unique(other)
    )


@pytest.mark.parametrize(
    "ids",
    [
        noise((13, 17), 2),
        noise((1, 23), 2),
        noise((19, 1), 3),
        blocks((31, 29), 7, 4),
        spiral(21),
        np.zeros((5, 7), int),
    ],
    ids=["noise", "row", "column", "blocks", "spiral", "one"],
)
def test_connected_regions_are_scikit_images(ids):
    regions = connected_regions(ids)
    truth = skimage_regions(ids, background=-1, connectivity=1)
    assert regions.dtype == np.int32
    np.testing.assert_array_equal(regions, truth - truth.min())


@pytest.mark.parametrize("min_size", [1, 2, 5, 20, 10_000])
@pytest.mark.parametrize("seed", range(3))
def test_connectivity_is_its_definition(min_size, seed):
    ids = blocks((23, 29), 6, 5, seed)
    given = enforce_connectivity(ids, min_size=min_size)
    assert same_partition(given, merged_by_loop(ids, min_size))
    names, first = np.unique(given, return_index=True)
    np.testing.assert_array_equal(names, np.arange(len(names)))
    assert (np.diff(first) > 0).all(), "ids in reading order"
    for name in names:
        region = given == name
        assert len(fill(given, *np.argwhere(region)[0])) == region.sum() >= min(min_size, ids.size)


def test_a_fragment_joins_the_neighbour_with_the_longest_border():
    ids = np.array([[1, 1, 1, 2, 2], [1, 1, 3, 2, 2], [1, 1, 3, 2, 2], [1, 1, 4, 4, 4]])
    expected = np.array([[0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1], [0, 0, 2, 2, 2]])
    np.testing.assert_array_equal(enforce_connectivity(ids, min_size=3), expected)


def test_default_size_of_a_fragment():
    """6% of the mean: of 400 pixels in two superpixels, 12 pixels; 11 are merged and 12 are not."""
    for pixels, regions in ((11, 2), (12, 3)):
        ids = np.zeros((20, 20), int)
        ids[10:] = 1
        ids[2, 3 : 3 + pixels] = 1
        assert enforce_connectivity(ids).max() + 1 == regions


def overlaps(superpixels, truth):
    return [[((superpixels == s) & (truth == g)).sum() for g in np.unique(truth)] for s in np.unique(superpixels)]


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_and_undersegmentation_by_loop(seed):
    superpixels, truth = blocks((17, 23), 4, 9, seed), blocks((17, 23), 8, 3, seed + 10) * 7
    accuracy = error = 0
    for counts in overlaps(superpixels, truth):
        accuracy += max(counts)
        error += sum(min(count, sum(counts) - count) for count in counts if count > 0)
    assert achievable_segmentation_accuracy(superpixels, truth) == pytest.approx(accuracy / truth.size)
    assert undersegmentation_error(superpixels, truth) == pytest.approx(error / truth.size)


@pytest.mark.parametrize("tolerance", [0, 1, 2, 40])
def test_boundary_recall_by_loop(tolerance):
    superpixels, truth = blocks((17, 23), 5, 4, 1), blocks((17, 23), 8, 2, 2)

    def edge(labels, y, x):
        return any(labels[place] != labels[y, x] for place in neighbours(y, x, labels.shape))

    hits = total = 0
    for y, x in np.ndindex(truth.shape):
        if edge(truth, y, x):
            window = [
                (a, b)
                for a in range(max(0, y - tolerance), min(16, y + tolerance) + 1)
                for b in range(max(0, x - tolerance), min(22, x + tolerance) + 1)
            ]
            hits += any(edge(superpixels, a, b) for a, b in window)
            total += 1
    assert total > 0
    assert boundary_recall(superpixels, truth, tolerance=tolerance) == pytest.approx(hits / total)


def test_metrics_by_hand():
    truth = np.zeros((4, 8), int)
    truth[:, 4:] = 1
    shifted = np.zeros((4, 8), int)
    shifted[:, 5:] = 1
    assert achievable_segmentation_accuracy(truth, truth) == 1 and undersegmentation_error(truth, truth) == 0
    assert achievable_segmentation_accuracy(shifted, truth) == 28 / 32
    # Superpixel 0 (20 pixels) has 16 in segment 0 and 4 in segment 1: min(16, 4) + min(4, 16).
    assert undersegmentation_error(shifted, truth) == 8 / 32
    assert boundary_recall(shifted, truth, tolerance=0) == 0.5 and boundary_recall(shifted, truth, tolerance=1) == 1
    # The default tolerance of a small image is 0 pixels; 321x481 has a diagonal of 578 and a tolerance of 1.
    assert boundary_recall(shifted, truth) == 0.5
    large = [np.repeat(np.repeat(m, 80, 0), 60, 1)[:321, :481] for m in (truth, truth)]
    moved = np.roll(large[1], 2, axis=1)
    moved[:, :2] = 0
    assert boundary_recall(moved, large[0]) == 0.5
    assert np.isnan(boundary_recall(truth, np.zeros((4, 8), int)))


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"expected \[H,W\]"):
        boundary_recall(np.zeros((3, 4), int), np.zeros((4, 3), int))
    with pytest.raises(ValueError, match=r"expected \[H,W\]"):
        enforce_connectivity(np.zeros((1, 3, 4), int))
