"""What is timed: one hierarchical level and type in, named runs with their bytes out.

The levels of the paper's image, 1024x2048, K = 64, C = 19: level 4 decodes to 512x1024, each level below to half. Bytes
are those of the kernels' header comments: each input read once, each output written once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F

from benchmarks.kernels.cases import DTYPES
from benchmarks.kernels.timing import Run
from hc_deploy.cluster_options import ClusterOptions
from hc_deploy.ops import upsample
from hc_deploy.ops.kernels import KernelLibrary

IMAGE = (1024, 2048)
LEVELS = (1, 2, 3, 4)
EMBEDDING, CLASSES = 64, 19
REGION = 64
"""Pixels of the image that a blob of the smooth logits is wide, about: a scene has regions, not noise."""


@dataclass(frozen=True)
class Contender:
    """One thing that is timed.

    Attributes:
        op: what it computes. variant: by what. bytes: that it must move at least. run: does it once.
        copy: a device-to-device copy that moves as many bytes (half read, half written); kernels alone.
    """

    op: str
    variant: str
    bytes: int
    run: Run
    copy: Run | None = None


@dataclass(frozen=True)
class Level:
    """One level and type: `fine` is (H, W) of the map it decodes to."""

    level: int
    dtype: str
    image: tuple[int, int] = IMAGE

    @property
    def fine(self) -> tuple[int, int]:
        """Half the image at level 4, a quarter at level 3, and so on."""
        return self.image[0] >> (5 - self.level), self.image[1] >> (5 - self.level)

    def bytes(self, op: str) -> int:
        """Read once and written once."""
        pixels, element = self.fine[0] * self.fine[1], DTYPES[self.dtype].itemsize
        cells = pixels // 4
        if op == "HCArgmax":
            return CLASSES * pixels * element + 4 * self.image[0] * self.image[1]
        elements = {
            "HCAssign": EMBEDDING * (pixels + cells) + 9 * pixels,
            "HCDecode": CLASSES * (pixels + cells) + 9 * pixels,
            "HCUpsample": (EMBEDDING + CLASSES) * (pixels + cells),
        }[op]
        return elements * element

    def upsample_inputs(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """coarse, features and seeds: normal numbers."""
        height, width = self.fine
        half = (height // 2, width // 2)
        shapes = ((1, CLASSES, *half), (1, EMBEDDING, height, width), (1, EMBEDDING, *half))
        coarse, features, seeds = (self._draw(shape).to(device, DTYPES[self.dtype]) for shape in shapes)
        return coarse, features, seeds

    def logits(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Smooth ones, with regions of one class, and random ones without: HCArgmax skips work inside regions."""
        blobs = self._draw((1, CLASSES, max(self.image[0] // REGION, 2), max(self.image[1] // REGION, 2)))
        smooth = F.interpolate(blobs, size=self.fine, mode="bicubic")
        random = self._draw((1, CLASSES, *self.fine))
        return smooth.to(device, DTYPES[self.dtype]), random.to(device, DTYPES[self.dtype])

    def _draw(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(math.prod(shape)))


def contenders(
    level: Level, library: KernelLibrary, device: torch.device, *, compiled: Callable[..., object] | None = None
) -> list[Contender]:
    """All runs of one level. `compiled`: the reference by torch.compile, called with coarse, features, seeds."""
    coarse, features, seeds = level.upsample_inputs(device)
    smooth, random = level.logits(device)
    options = ClusterOptions()
    assignment = library.assign(features, seeds, options)
    kernels: dict[tuple[str, str], Run] = {
        ("HCAssign", "kernel"): lambda: library.assign(features, seeds, options),
        ("HCDecode", "kernel"): lambda: library.decode(coarse, assignment),
        ("HCUpsample", "kernel"): lambda: library.upsample(coarse, features, seeds, options),
        ("HCArgmax", "kernel, smooth logits"): lambda: library.argmax(smooth, level.image),
        ("HCArgmax", "kernel, random logits"): lambda: library.argmax(random, level.image),
    }
    rows = [
        Contender(op, variant, level.bytes(op), run, _copy(level.bytes(op), device))
        for (op, variant), run in kernels.items()
    ]
    others: Mapping[str, Run] = {
        "two kernels": lambda: library.decode(coarse, library.assign(features, seeds, options)),
        "torch eager": lambda: upsample.reference(coarse, features, seeds, options),
        **({"torch.compile": partial(compiled, coarse, features, seeds)} if compiled is not None else {}),
    }
    return rows + [Contender("HCUpsample", name, level.bytes("HCUpsample"), run) for name, run in others.items()]


def compiled_reference(backend: str) -> Callable[..., object]:
    """torch.compile of HCUpsample's reference, one graph a shape. `backend`: inductor; eager in the dry run."""
    import torch._dynamo

    torch._dynamo.config.recompile_limit = 64  # each level and type is a graph of its own
    options = ClusterOptions()

    def reference(coarse: torch.Tensor, features: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
        return upsample.reference(coarse, features, seeds, options)

    return torch.compile(reference, backend=backend, dynamic=False, fullgraph=True)


def _copy(size: int, device: torch.device) -> Run:
    source = torch.zeros(size // 2, dtype=torch.uint8, device=device).random_(0, 256)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)
