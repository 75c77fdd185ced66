"""What SSN is trained with (Jampani et al., ECCV 2018, "Loss functions"): soft assignments and labels -> losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from models.slic import CANDIDATES, Grid

COMPACTNESS = 1e-5
"""lambda of L = L_recon + lambda * L_compact."""
IGNORE = 255
FLOOR = 1e-10


def reconstruction_loss(weights: torch.Tensor, labels: torch.Tensor, grid: Grid, *, classes: int) -> torch.Tensor:
    """L_recon = CE(R, Q~ Q^T R): labels averaged over superpixels, spread to the pixels again, against themselves.

    Args:
        weights: Q, soft assignment [B,9,H,W] that `SSN.forward` gives.
        labels: R, int64 [B,H,W]; 255 counts for nothing.
        classes: how many labels there are (segments of an annotation, or classes).

    Returns:
        Mean cross-entropy of the reconstructed label distributions over the labelled pixels, a scalar.
    """
    known = labels != IGNORE
    targets = labels.masked_fill(~known, 0)
    truth = F.one_hot(targets, classes).movedim(-1, 1).to(weights.dtype)
    rebuilt = grid.spread(grid.pool(truth, weights, known.unsqueeze(1)), weights)
    right = rebuilt.gather(1, targets.unsqueeze(1))[:, 0] / rebuilt.sum(1).clamp(min=FLOOR)
    return -(right.clamp(min=FLOOR).log() * known).sum() / known.sum().clamp(min=1)


def compactness_loss(weights: torch.Tensor, grid: Grid) -> torch.Tensor:
    """L_compact = |I_xy - I'_xy|^2: how far pixels lie from the softly averaged position of their hard superpixel.

    Returns:
        Mean over pixels and over both coordinates, in squared pixels, a scalar. The assignment back is hard (H), so
        the gradient goes through the averaged positions.
    """
    height, width = weights.shape[2:]
    rows = torch.arange(height, device=weights.device, dtype=weights.dtype).reshape(1, 1, -1, 1)
    columns = torch.arange(width, device=weights.device, dtype=weights.dtype).reshape(1, 1, 1, -1)
    place = torch.cat([rows.expand(1, 1, height, width), columns.expand(1, 1, height, width)], 1)
    place = place.expand(weights.shape[0], 2, height, width)
    hard = F.one_hot(weights.argmax(1), CANDIDATES).movedim(-1, 1).to(weights.dtype)
    return F.mse_loss(grid.spread(grid.pool(place, weights), hard), place)


def ssn_loss(
    weights: torch.Tensor, labels: torch.Tensor, grid: Grid, *, classes: int, compactness: float = COMPACTNESS
) -> torch.Tensor:
    """L = L_recon + lambda * L_compact; arguments as of the two."""
    loss = reconstruction_loss(weights, labels, grid, classes=classes)
    return loss + compactness * compactness_loss(weights, grid)
