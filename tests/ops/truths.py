"""Independent truths for the ops: float64 loops over pixels, and the paper's Appendix B and C, slips mended."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from hc_deploy.ops import ClusterOptions


def loop_assign(features: np.ndarray, seeds: np.ndarray, options: ClusterOptions) -> np.ndarray:
    """HCAssign by its definition, a pixel at a time, float64: [B,K,H,W], [B,K,h,w] -> [B,9,H,W]."""
    batch, _, height, width = features.shape
    _, _, h, w = seeds.shape
    out = np.zeros((batch, 9, height, width))
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                x = features[b, :, i, j].astype(np.float64)
                logits = np.full(9, -math.inf)
                for n in range(9):
                    y, z = i // 2 + n // 3 - 1, j // 2 + n % 3 - 1
                    inside = 0 <= y < h and 0 <= z < w
                    if not inside and options.border == "exclude":
                        continue
                    s = seeds[b, :, y, z].astype(np.float64) if inside else np.zeros_like(x)
                    similarity = float(x @ s)
                    if options.similarity == "cosine":
                        similarity /= max(math.sqrt(x @ x), 1e-6) * max(math.sqrt(s @ s), 1e-6)
                    logits[n] = similarity / options.tau
                if options.assignment == "hard":
                    out[b, np.flatnonzero(logits == logits.max())[0], i, j] = 1
                else:
                    e = np.exp(logits - logits.max())
                    out[b, :, i, j] = e / e.sum()
    return out


def loop_decode(coarse: np.ndarray, assignment: np.ndarray) -> np.ndarray:
    """HCDecode by its definition, a pixel at a time, float64: [B,C,h,w], [B,9,H,W] -> [B,C,H,W]."""
    batch, channels, h, w = coarse.shape
    _, _, height, width = assignment.shape
    out = np.zeros((batch, channels, height, width))
    for b in range(batch):
        for i in range(height):
            for j in range(width):
                for n in range(9):
                    y, z = i // 2 + n // 3 - 1, j // 2 + n % 3 - 1
                    if 0 <= y < h and 0 <= z < w:
                        out[b, :, i, j] += assignment[b, n, i, j].astype(np.float64) * coarse[b, :, y, z]
    return out


def loop_argmax(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """HCArgmax by its definition in float64: half-pixel bilinear enlargement, then the first largest."""
    _, _, h, w = logits.shape

    def weights(n: int, target: int) -> np.ndarray:
        matrix = np.zeros((target, n))
        for i in range(target):
            centre = max((i + 0.5) * n / target - 0.5, 0.0)
            low = min(int(centre), n - 1)
            matrix[i, low] += 1 - (centre - low)
            matrix[i, min(low + 1, n - 1)] += centre - low
        return matrix

    enlarged = np.einsum("ih,bchw,jw->bcij", weights(h, size[0]), logits.astype(np.float64), weights(w, size[1]))
    return enlarged.argmax(1)


def appendix_b(features: torch.Tensor, seeds: torch.Tensor, tau: float) -> torch.Tensor:
    """The paper's Appendix B after its mappings W and W~; mended: K channels in the reshapes, cosine similarity.

    Even sizes and zero border only, as the paper's own code.
    """
    features, seeds = (t / t.norm(dim=1, keepdim=True).clamp_min(1e-6) for t in (features, seeds))
    batch, dim, height, width = features.shape
    candidates = F.unfold(seeds, kernel_size=3, padding=1).reshape(batch, dim, 9, -1)
    pixels = F.unfold(features, kernel_size=2, stride=2).reshape(batch, dim, 4, -1)
    similarities = torch.einsum("bkcn,bkpn->bcpn", candidates, pixels).reshape(batch * 9, 4, -1)
    similarities = F.fold(similarities, (height, width), kernel_size=2, stride=2).reshape(batch, 9, height, width)
    return (similarities / tau).softmax(1)


def appendix_c(coarse: torch.Tensor, assignment: torch.Tensor) -> torch.Tensor:
    """The paper's Appendix C as printed."""
    batch, _, height, width = assignment.shape
    channels = coarse.shape[1]
    candidates = F.unfold(coarse, kernel_size=3, padding=1).reshape(batch, channels, 9, -1)
    weights = F.unfold(assignment, kernel_size=2, stride=2).reshape(batch, 9, 4, -1)
    decoded = torch.einsum("bkcn,bcpn->bkpn", candidates, weights).reshape(batch, channels * 4, -1)
    return F.fold(decoded, (height, width), kernel_size=2, stride=2)
