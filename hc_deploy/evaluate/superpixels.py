"""Superpixel maps: connectivity, and how well they keep to a ground-truth segmentation (numpy alone).

Maps are integer arrays [H,W]. Metrics follow Stutz et al., "Superpixels: An evaluation of the state-of-the-art" (CVIU
2018), with S_j the superpixels, G_i the segments of the truth and N the pixels; several annotations of one image are
averaged by the caller.
"""

from __future__ import annotations

import heapq
from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from hc_deploy.evaluate.metrics import label_boundaries

Map = NDArray[np.integer]

FRAGMENT = 0.06
"""Below this share of the mean superpixel's size a region is a fragment, as in the release of SSN."""
TOLERANCE = 0.0025
"""Of boundary recall, as a share of the image's diagonal."""


def enforce_connectivity(ids: Map, *, min_size: int | None = None) -> NDArray[np.int32]:
    """Relabel so that every id is one 4-connected region of at least `min_size` pixels.

    The parts of a superpixel that is in several become regions of their own. Then regions below `min_size`, the
    smallest first, are merged into the neighbour with which they share the longest border (of equals the first in
    reading order).

    Args:
        ids: [H,W]. min_size: in pixels; by default 6% of the mean size of a superpixel. 1 merges nothing.

    Returns:
        int32 [H,W], ids 0, 1, ... in the order in which reading row by row meets them.
    """
    _check(ids)
    if min_size is None:
        min_size = max(1, int(FRAGMENT * ids.size / np.unique(ids).size))
    regions = connected_regions(ids)
    target = _merge_fragments(regions, min_size)
    return _in_reading_order(target[regions])


def connected_regions(ids: Map) -> NDArray[np.int32]:
    """[H,W] -> number of the 4-connected region of equal ids that each pixel is in, int32, in reading order."""
    _check(ids)
    starts = np.ones(ids.shape, bool)
    starts[:, 1:] = ids[:, 1:] != ids[:, :-1]
    runs = np.cumsum(starts.ravel()).reshape(ids.shape) - 1  # of equal ids in a row: far fewer than pixels
    touch = ids[1:] == ids[:-1]
    above, below = runs[:-1][touch], runs[1:][touch]
    root = np.arange(runs[-1, -1] + 1)
    while True:
        a, b = root[above], root[below]
        differ = a != b
        if not differ.any():
            return _in_reading_order(root[runs])
        above, below = above[differ], below[differ]
        np.minimum.at(root, np.maximum(a, b)[differ], np.minimum(a, b)[differ])
        while not np.array_equal(root, higher := root[root]):
            root = higher


def achievable_segmentation_accuracy(superpixels: Map, truth: Map) -> float:
    """ASA = 1/N sum_j max_i |S_j & G_i|: accuracy when each superpixel takes its best segment; 0..1, more is better."""
    return float(_overlaps(superpixels, truth).max(1).sum()) / superpixels.size


def undersegmentation_error(superpixels: Map, truth: Map) -> float:
    """UE = 1/N sum_i sum_(j: S_j & G_i) min(|S_j & G_i|, |S_j - G_i|): leakage over segments; less is better.

    The formulation of Neubert and Protzel, which Stutz et al. use.
    """
    overlaps = _overlaps(superpixels, truth)
    sizes = overlaps.sum(1, keepdims=True)
    return float(np.minimum(overlaps, sizes - overlaps).sum()) / superpixels.size


def boundary_recall(superpixels: Map, truth: Map, *, tolerance: int | None = None) -> float:
    """BR = TP / (TP + FN): share of the truth's boundary pixels with a superpixel boundary within (2r+1) x (2r+1).

    A pixel is at a boundary when one of its four neighbours has another label.

    Args:
        tolerance: r in pixels; by default 0.0025 of the diagonal, rounded.

    Returns:
        0..1, more is better; NaN where the truth has no boundary.
    """
    _check(superpixels, truth)
    radius = round(TOLERANCE * float(np.hypot(*truth.shape))) if tolerance is None else tolerance
    wanted = label_boundaries(truth)
    if not wanted.any():
        return float("nan")
    return float(_dilated(label_boundaries(superpixels), radius)[wanted].mean())


def _overlaps(superpixels: Map, truth: Map) -> NDArray[np.int64]:
    """|S_j & G_i| as [superpixels,segments]."""
    _check(superpixels, truth)
    _, rows = np.unique(superpixels.ravel(), return_inverse=True)
    names, columns = np.unique(truth.ravel(), return_inverse=True)
    count = int(rows.max()) + 1
    return np.bincount(rows * names.size + columns, minlength=count * names.size).reshape(count, names.size)


def _dilated(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    for axis in (0, 1):
        grown = mask.copy()
        for step in range(1, min(radius, mask.shape[axis] - 1) + 1):
            ahead, behind = (slice(step, None), slice(None, -step))
            if axis == 0:
                grown[ahead] |= mask[behind]
                grown[behind] |= mask[ahead]
            else:
                grown[:, ahead] |= mask[:, behind]
                grown[:, behind] |= mask[:, ahead]
        mask = grown
    return mask


def _merge_fragments(regions: NDArray[np.int32], min_size: int) -> NDArray[np.intp]:
    """Region -> the region that it is merged into (itself for most)."""
    sizes = np.bincount(regions.ravel())
    target = np.arange(sizes.size)
    queue = [(int(sizes[region]), int(region)) for region in np.flatnonzero(sizes < min_size)]
    borders = _borders(regions) if queue else {}
    heapq.heapify(queue)
    while queue:
        size, region = heapq.heappop(queue)
        if target[region] != region or sizes[region] != size or not borders[region]:
            continue  # merged or grown since it was queued, or the whole image
        into = min(borders[region], key=lambda other: (-borders[region][other], other))
        for other, length in borders.pop(region).items():
            del borders[other][region]
            if other != into:
                borders[other][into] += length
                borders[into][other] += length
        target[region] = into
        sizes[into] += size
        if sizes[into] < min_size:
            heapq.heappush(queue, (int(sizes[into]), into))
    while not np.array_equal(target, further := target[target]):
        target = further
    return target


def _borders(regions: NDArray[np.int32]) -> dict[int, defaultdict[int, int]]:
    """Region -> neighbour -> how many pairs of adjacent pixels they share."""
    count = int(regions.max()) + 1
    first = np.concatenate([regions[:, :-1].ravel(), regions[:-1].ravel()]).astype(np.int64)
    second = np.concatenate([regions[:, 1:].ravel(), regions[1:].ravel()]).astype(np.int64)
    apart = first != second
    low, high = np.minimum(first, second)[apart], np.maximum(first, second)[apart]
    pairs, lengths = np.unique(low * count + high, return_counts=True)
    borders: dict[int, defaultdict[int, int]] = {region: defaultdict(int) for region in range(count)}
    for pair, length in zip(pairs.tolist(), lengths.tolist(), strict=True):
        one, other = divmod(pair, count)
        borders[one][other] = borders[other][one] = length
    return borders


def _in_reading_order(labels: NDArray[np.integer]) -> NDArray[np.int32]:
    """Labels renamed 0, 1, ... in the order in which reading row by row meets them."""
    _, first, inverse = np.unique(labels.ravel(), return_index=True, return_inverse=True)
    rank = np.empty(first.size, np.int32)
    rank[np.argsort(first)] = np.arange(first.size, dtype=np.int32)
    return rank[inverse].reshape(labels.shape)


def _check(*maps: Map) -> None:
    if not all(array.dtype == np.bool_ or np.issubdtype(array.dtype, np.integer) for array in maps):
        raise ValueError(f"maps of {', '.join(str(array.dtype) for array in maps)}, expected whole numbers")
    shapes = {array.shape for array in maps}
    if len(shapes) != 1 or maps[0].ndim != 2 or maps[0].size == 0:
        raise ValueError(f"maps of the shapes {sorted(shapes)}, expected [H,W], one shape")
