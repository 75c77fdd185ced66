"""Differentiable SLIC (Jampani et al., ECCV 2018, Algorithm 1): pixel features [B,C,H,W] -> soft superpixels.

A regular grid of nh x nw cells starts the superpixels; pixel (i, j) lies in cell (i*nh // H, j*nw // W), and its nine
candidates are the superpixels of the 3 x 3 cells around that, n = 3*(dy+1) + (dx+1), as in section 3.3. The grid is the
network's, not the image's: a model of dynamic size gives the same number of superpixels at every size.

All work is done cell by cell: the pixels of a cell share their candidates, so that distances are a batched product
[P,C] @ [C,9] and the update of the centres its transpose; nothing of size pixels x superpixels or pixels x 9 x C is
ever written, and both exporters and TensorRT have every operator (gathers with tables, MatMul, Softmax).
"""

from __future__ import annotations

import math

import torch
from torch import nn

CANDIDATES = 9
OWN = 4
MIN_WEIGHT = 1e-8
"""A superpixel to which all pixels together give less weight than this keeps its centre."""


def grid_shape(superpixels: int, aspect: float) -> tuple[int, int]:
    """(nh, nw) of the grid with about `superpixels` cells that are square on images of width / height `aspect`."""
    columns = min(superpixels, max(1, round(math.sqrt(superpixels * aspect))))
    return max(1, round(superpixels / columns)), columns


class Grid(nn.Module):
    """nh x nw cells over an image of any size: layouts by cell, candidates of a cell, and the way back.

    P is the number of pixel slots of a cell, ceil(H/nh) * ceil(W/nw); where the grid does not divide the image, some
    slots of some cells are empty. N = nh * nw numbers cells and superpixels row by row.
    """

    neighbours: torch.Tensor
    contributions: torch.Tensor
    inside: torch.Tensor

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        step = torch.arange(CANDIDATES)
        row = row.reshape(-1, 1) + step // 3 - 1
        column = column.reshape(-1, 1) + step % 3 - 1
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        own = torch.arange(rows * columns).reshape(-1, 1)
        neighbours = torch.where(inside, row * columns + column, own)
        # Cell j is candidate 8 - n of the cell that is candidate n of j.
        self._table("contributions", neighbours * CANDIDATES + (CANDIDATES - 1 - step))
        self._table("neighbours", neighbours)
        self._table("inside", inside.float().unsqueeze(2))

    def _table(self, name: str, values: torch.Tensor) -> None:
        self.register_buffer(name, values, persistent=False)

    def to_cells(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[B,C,H,W] -> the same by cell [B,N,P,C], and which slots hold a pixel [N,P,1] (1 or 0)."""
        batch, channels, height, width = pixels.shape
        rows, row_filled = _slots(height, self.rows, pixels)
        columns, column_filled = _slots(width, self.columns, pixels)
        cells = pixels.index_select(2, rows.flatten()).index_select(3, columns.flatten())
        cells = cells.reshape(batch, channels, self.rows, -1, self.columns, columns.shape[1])
        cells = cells.permute(0, 2, 4, 3, 5, 1).reshape(batch, self.rows * self.columns, -1, channels)
        filled = row_filled[:, None, :, None] * column_filled[None, :, None, :]
        return cells, filled.reshape(self.rows * self.columns, -1, 1)

    def from_cells(self, cells: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """[B,N,P,C] -> [B,C,H,W] at the size of `image` [B,*,H,W]: the inverse of `to_cells`."""
        rows, slots_down = _places(image.shape[2], self.rows, cells)
        columns, slots_across = _places(image.shape[3], self.columns, cells)
        batch, channels = cells.shape[0], cells.shape[3]
        pixels = cells.reshape(batch, self.rows, self.columns, slots_down, slots_across, channels)
        pixels = pixels.permute(0, 5, 1, 3, 2, 4)
        pixels = pixels.reshape(batch, channels, self.rows * slots_down, self.columns * slots_across)
        return pixels.index_select(2, rows).index_select(3, columns)

    def barred(self, filled: torch.Tensor) -> torch.Tensor:
        """Which slots hold a pixel [N,P,1] -> [N,1,9]: -inf for candidates outside the grid or without a pixel, else 0.

        Cells have no pixel where the image is smaller than the grid. A cell's own superpixel is never barred.
        """
        pixels = self.candidates(filled.sum(1).unsqueeze(0))[0] * self.inside
        own = torch.arange(CANDIDATES, device=filled.device).reshape(1, 1, -1) == OWN
        barred = (pixels.transpose(1, 2) == 0) & ~own
        return torch.zeros_like(pixels.transpose(1, 2)).masked_fill(barred, -torch.inf)

    def candidates(self, centres: torch.Tensor) -> torch.Tensor:
        """Centres [B,N,C] -> the nine candidates of each cell [B,N,9,C]; outside the grid the cell's own."""
        batch, count, channels = centres.shape
        return centres.index_select(1, self.neighbours.flatten()).reshape(batch, count, CANDIDATES, channels)

    def collect(self, parts: torch.Tensor) -> torch.Tensor:
        """What each cell gives to its candidates [B,N,9,C] -> what each superpixel receives [B,N,C]."""
        received = parts.flatten(1, 2).index_select(1, self.contributions.flatten()).reshape(parts.shape)
        return (received * self.inside).sum(2)

    def pool(self, values: torch.Tensor, weights: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Pixels [B,C,H,W] -> superpixels [B,N,C]: the mean weighted by `weights` [B,9,H,W] (column-normalised Q).

        Args:
            mask: [B,1,H,W], 1 where a pixel counts. A superpixel without any weight gets 0.
        """
        known = torch.ones_like(values[:, :1]) if mask is None else mask.to(values)
        pixels, filled = self.to_cells(torch.cat([values * known, known], 1))
        shares, _ = self.to_cells(weights)
        sums = self.collect(shares.transpose(2, 3) @ (pixels * filled))
        return sums[..., :-1] / sums[..., -1:].clamp(min=MIN_WEIGHT)

    def spread(self, centres: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Superpixels [B,N,C] -> pixels [B,C,H,W]: the mean of the candidates by `weights` (row-normalised Q)."""
        shares, _ = self.to_cells(weights)
        return self.from_cells(shares @ self.candidates(centres), weights)

    def ids(self, scores: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """Scores by cell [B,N,P,9] -> id of the best superpixel of each pixel, int32 [B,H,W] (the first of equals)."""
        best = scores.argmax(3, keepdim=True)
        cell = torch.arange(self.rows * self.columns, device=scores.device).reshape(1, -1, 1, 1)
        ids = self.neighbours.flatten()[cell * CANDIDATES + best].to(torch.int32)
        return self.from_cells(ids, image)[:, 0]


def slic_scores(features: torch.Tensor, grid: Grid, iterations: int) -> torch.Tensor:
    """Algorithm 1, lines 2-6: features [B,C,H,W] -> scores by cell [B,N,P,9] of the last association.

    Softmax over the last axis gives Q of the paper's Q_pi = exp(-|F_p - S_i|^2), normalised over the nine candidates as
    in the authors' release. The scores lack -|F_p|^2, which is the same for all candidates of a pixel. Features
    are taken relative to the mean of their cell: |F - S|^2 = |F|^2 - 2FS + |S|^2 would otherwise lose to
    rounding what distinguishes neighbours (positions and colours reach 40, their squares 1600).

    Args:
        iterations: v >= 1 associations, with v - 1 updates of the centres between them.
    """
    pixels, filled = grid.to_cells(features)
    mean = (pixels * filled).sum(2) / filled.sum(1).clamp(min=1.0)
    offsets = torch.cat([pixels - mean.unsqueeze(2), torch.ones_like(pixels[..., :1])], 3) * filled
    barred = grid.barred(filled)
    centres, scores = mean, _scores(offsets, grid.candidates(mean), mean, barred)
    for _ in range(iterations - 1):
        centres = _update(scores.softmax(3), offsets, centres, mean, grid)
        scores = _scores(offsets, grid.candidates(centres), mean, barred)
    return scores


def _scores(offsets: torch.Tensor, candidates: torch.Tensor, mean: torch.Tensor, barred: torch.Tensor) -> torch.Tensor:
    """2 F.S - |S|^2 with S relative to the cell's mean; -inf for candidates that are none."""
    relative = candidates - mean.unsqueeze(2)
    terms = torch.cat([2 * relative, -relative.square().sum(3, keepdim=True)], 3)
    return offsets @ terms.transpose(2, 3) + barred


def _update(
    weights: torch.Tensor, offsets: torch.Tensor, centres: torch.Tensor, mean: torch.Tensor, grid: Grid
) -> torch.Tensor:
    """S_i = sum_p Q_pi F_p / sum_p Q_pi (Algorithm 1, line 5): [B,N,C]."""
    parts = weights.transpose(2, 3) @ offsets
    weight = parts[..., -1:]
    sums = grid.collect(torch.cat([parts[..., :-1] + weight * mean.unsqueeze(2), weight], 3))
    total = sums[..., -1:]
    return torch.where(total > MIN_WEIGHT, sums[..., :-1] / total.clamp(min=MIN_WEIGHT), centres)


def _starts(cell: torch.Tensor, size: int, cells: int) -> torch.Tensor:
    """First position of each cell: the least i with i*cells // size == cell."""
    return (cell * size + (cells - 1)) // cells


def _slots(size: int, cells: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Position that each slot of each cell shows, int64 [cells,slots], and 1 where it is one of the cell's own."""
    cell = torch.arange(cells, device=like.device).unsqueeze(1)
    slots = torch.arange((size + cells - 1) // cells, device=like.device).unsqueeze(0)
    position = _starts(cell, size, cells) + slots
    filled = position < _starts(cell + 1, size, cells)
    return position.clamp(max=size - 1), filled.to(like.dtype)


def _places(size: int, cells: int, like: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Slot in which each position stands, int64 [size], counted over all cells; and how many slots a cell has."""
    slots = (size + cells - 1) // cells
    position = torch.arange(size, device=like.device)
    cell = position * cells // size
    return cell * slots + position - _starts(cell, size, cells), slots
