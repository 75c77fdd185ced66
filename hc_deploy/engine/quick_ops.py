"""The four ops as launches: sizes and attributes in, a kernel's arguments out. Needs neither TensorRT nor a GPU.

It says for a planner that works with symbolic sizes what `launch.cu` says for the C++ road; a test holds the two
together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hc_deploy.cluster_options import ClusterOptions
from hc_deploy.engine.kernel_source import KernelOp

CANDIDATES = 9
GRID_LIMIT = 65535
FLAGS = {"dot": 1, "exclude": 2, "hard": 4}
"""Bits of the kernels' integer `flags`, by attribute value (ClusterOptions in assign.cuh)."""

LEAST_TAU, MOST_TAU = np.float32(3e-33), np.float32(3e38)
"""HC_LEAST_TAU and HC_MOST_TAU of launch.h: beyond them a scale of the logits is no float32."""

Sizes = Sequence[Any]
"""Sizes of one tensor: integers, or TensorRT's symbolic ones."""


@dataclass(frozen=True)
class Tile:
    """What one block of threads makes: `rows` x `columns` of cells (of labels, for argmax)."""

    rows: int
    columns: int
    threads: int


CELLS = Tile(4, 32, 128)
LABELS = Tile(16, 128, 256)


@dataclass(frozen=True)
class QuickOp:
    """One op. Its functions take the sizes of the inputs, one argument each, in their order.

    Attributes:
        name: in ONNX and in TensorRT's registry. kernel: what computes it. inputs: names of the tensors.
        output: sizes of the output. arguments: sizes that the kernel takes, in its order; the last two are H and W.
        expected: integers in, the sizes that inputs of this batch, H and W must have to fit each other.
    """

    name: str
    kernel: KernelOp
    inputs: tuple[str, ...]
    output: Callable[..., Sizes]
    arguments: Callable[..., Sizes]
    expected: Callable[..., tuple[Sizes, ...]]

    @property
    def clustered(self) -> bool:
        """Whether it compares features with seeds: it has the attributes of `ClusterOptions` then."""
        return "seeds" in self.inputs

    @property
    def tile(self) -> Tile:
        return LABELS if self.kernel == "argmax" else CELLS


def _coarse(channels: int, fine: Sizes) -> Sizes:
    return (fine[0], channels, (fine[2] + 1) // 2, (fine[3] + 1) // 2)


OPS = (
    QuickOp(
        name="HCAssign",
        kernel="assign",
        inputs=("features", "seeds"),
        output=lambda fine, seeds: (fine[0], CANDIDATES, fine[2], fine[3]),
        arguments=lambda fine, seeds: tuple(fine),
        expected=lambda fine, seeds: (fine, _coarse(fine[1], fine)),
    ),
    QuickOp(
        name="HCDecode",
        kernel="decode",
        inputs=("coarse", "assignment"),
        output=lambda coarse, fine: (fine[0], coarse[1], fine[2], fine[3]),
        arguments=lambda coarse, fine: (fine[0], coarse[1], fine[2], fine[3]),
        expected=lambda coarse, fine: (_coarse(coarse[1], fine), (fine[0], CANDIDATES, fine[2], fine[3])),
    ),
    QuickOp(
        name="HCUpsample",
        kernel="upsample",
        inputs=("coarse", "features", "seeds"),
        output=lambda coarse, fine, seeds: (fine[0], coarse[1], fine[2], fine[3]),
        arguments=lambda coarse, fine, seeds: (fine[0], coarse[1], fine[1], fine[2], fine[3]),
        expected=lambda coarse, fine, seeds: (_coarse(coarse[1], fine), fine, _coarse(fine[1], fine)),
    ),
    QuickOp(
        name="HCArgmax",
        kernel="argmax",
        inputs=("logits", "like"),
        output=lambda logits, like: (logits[0], like[2], like[3]),
        arguments=lambda logits, like: (*logits, like[2], like[3]),
        expected=lambda logits, like: (logits, (logits[0], like[1], like[2], like[3])),
    ),
)


def cluster_options(attributes: Mapping[str, Any]) -> ClusterOptions:
    """The attributes as TensorRT hands them over, those absent at their defaults.

    Args:
        attributes: `tau` as an array of one number, the others as text.

    Raises:
        ValueError: an attribute is not legal, or tau is too small or large for float32; the message names it.
    """
    # A C string's end may be part of the text.
    given: dict[str, Any] = {name: v.rstrip("\0") if isinstance(v, str) else v for name, v in attributes.items()}
    if "tau" in given:
        tau = np.asarray(given["tau"]).reshape(-1)
        if tau.size != 1:
            raise ValueError(f"tau={tau.tolist()}: expected one number")
        given["tau"] = float(tau[0])
    options = ClusterOptions(**given)
    if not LEAST_TAU <= options.tau <= MOST_TAU:
        raise ValueError(f"tau={options.tau!r}: expected a number from {LEAST_TAU:g} to {MOST_TAU:g}")
    return options


def cluster_arguments(options: ClusterOptions) -> tuple[int, int]:
    """The last two integers of assign and upsample: the bits of the float32 1/tau, and the flags."""
    values = (options.similarity, options.border, options.assignment)
    inverse = np.float32(1) / np.float32(options.tau)
    return int(inverse.view(np.int32)), sum(FLAGS.get(value, 0) for value in values)
