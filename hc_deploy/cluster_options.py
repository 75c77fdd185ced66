"""The attributes of the clustering ops, checked in one place, without torch: engines are built where there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

Similarity = Literal["cosine", "dot"]
Border = Literal["zero", "exclude"]
Assignment = Literal["soft", "hard"]
NORM_FLOOR = 1e-6
"""What the cosine divides by at least."""


@dataclass(frozen=True)
class ClusterOptions:
    """How a pixel is assigned to its nine candidate seeds.

    Attributes:
        tau: softmax temperature of Eq. 4, positive and finite.
        similarity: `cosine` (the paper's text) or `dot` (the code of its Appendix B).
        border: `zero` pads seeds with zeros, as the paper's `unfold` does: a candidate outside the map has
            similarity 0 and decodes to 0. `exclude` gives it weight 0.
        assignment: `soft` (Eq. 4) or `hard` (Eq. 1: weight 1 on the first largest; has no gradient).

    Raises:
        ValueError: an attribute outside its legal values; the message names them.
    """

    tau: float = 0.07
    similarity: Similarity = "cosine"
    border: Border = "zero"
    assignment: Assignment = "soft"

    def __post_init__(self) -> None:
        if not (isinstance(self.tau, int | float) and math.isfinite(self.tau) and self.tau > 0):
            raise ValueError(f"tau={self.tau!r}: expected a positive finite number")
        for name, legal in (("similarity", Similarity), ("border", Border), ("assignment", Assignment)):
            if getattr(self, name) not in get_args(legal):
                raise ValueError(f"{name}={getattr(self, name)!r}: expected one of {', '.join(get_args(legal))}")
