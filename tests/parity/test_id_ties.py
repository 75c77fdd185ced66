"""Which ids near ties lead to, against the similarities of every chain of cells, one by one."""

import itertools

import numpy as np
import pytest

from hc_deploy.parity.id_ties import _reachable

SIZES = [(11, 13), (6, 7), (3, 4)]
"""Of the maps, from fine to coarse; the image is twice as large as the finest."""


def maps():
    rng = np.random.default_rng(0)
    wide = [rng.standard_normal((2, 3, *size)).astype(np.float32) for size in SIZES]
    return [(wide[0], wide[1], "cosine"), (wide[1] + 0.5, wide[2], "dot")]


def margins(features, seeds, similarity, batch, row, column):
    """{cell: how much less similar it is than the best one}, as a share of the lengths, for one pixel."""
    _, _, h, w = seeds.shape
    cells = [(row // 2 + dy, column // 2 + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    cells = [(y, x) for y, x in cells if 0 <= y < h and 0 <= x < w]
    pixel = features[batch, :, row, column]
    found = {cell: float(pixel @ seeds[batch, :, cell[0], cell[1]]) for cell in cells}
    lengths = {cell: float(np.linalg.norm(seeds[batch, :, cell[0], cell[1]])) for cell in cells}
    if similarity == "dot":
        lengths = dict.fromkeys(cells, max(lengths.values()))
    found = {cell: value / lengths[cell] / float(np.linalg.norm(pixel)) for cell, value in found.items()}
    return {cell: max(found.values()) - value for cell, value in found.items()}


@pytest.mark.parametrize("tolerance", [0.0, 0.05, 0.3])
def test_every_chain_of_cells(tolerance):
    levels, stride = maps(), 2
    height, width = (stride * side for side in SIZES[0])
    for wanted in range(SIZES[2][0] * SIZES[2][1]):
        given = np.full((2, height, width), wanted)
        where = np.nonzero(given >= 0)
        found = _reachable(levels, stride, where, given, tolerance).reshape(given.shape)
        for batch, row, column in itertools.product(range(2), range(SIZES[0][0]), range(SIZES[0][1])):
            first = margins(*levels[0], batch, row, column)
            ids = set()
            for (y, x), margin in first.items():
                if margin <= tolerance:
                    second = margins(*levels[1], batch, y, x)
                    ids |= {i * SIZES[2][1] + j for (i, j), less in second.items() if less <= tolerance}
            block = found[batch, stride * row : stride * row + stride, stride * column : stride * column + stride]
            assert (block == (wanted in ids)).all()
