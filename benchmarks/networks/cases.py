"""What a run holds, most important first: options in, groups of contenders out. Standard library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Mode = Literal["eager", "graph", "compiled"]
Modes = tuple[Mode, ...]
Numbers = Literal["float16", "float32", "tf32"]
"""How the network is multiplied: `tf32` is float32 whose products the tensor cores round to 10 bits."""
IMAGE, DRY_IMAGE = (1024, 2048), (64, 128)
LEVEL = 2
LEVELS = (0, 1, 2, 3, 4)
TINY_WIDTH = 4


@dataclass(frozen=True)
class Network:
    """A registry name; `level` of the clustering, None for a plain one; `width` in place of the paper's."""

    arch: str
    level: int | None = None
    width: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        given = {"level": self.level, "width": self.width}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def name(self) -> str:
        return self.arch if self.level in (None, LEVEL) else f"{self.arch} level {self.level}"


@dataclass(frozen=True)
class Contender:
    """One network in one mode.

    Attributes:
        mode: `eager`; `graph`: replayed from one CUDA graph; `compiled`: torch.compile, inside a CUDA graph.
    """

    network: Network
    mode: Mode

    @property
    def name(self) -> str:
        return f"{self.network.name}, {self.mode}"


@dataclass(frozen=True)
class Comparison:
    """Time of the one above over that of the one below, by names of contenders of one group; and the target, if any."""

    above: str
    below: str
    target: str = ""


@dataclass(frozen=True)
class Group:
    """Contenders that are sampled in turn, and the ratios that are taken between them."""

    name: str
    numbers: Numbers
    contenders: tuple[Contender, ...]
    comparisons: tuple[Comparison, ...]


SPEEDUP = "at least 5.0"
FCN = "at most 1.02"
LEVEL_COST = "at most 1.10"


TWINS = (("pspnet", "hcpspnet", SPEEDUP), ("deeplabv3", "hcdeeplabv3", SPEEDUP), ("fcn32", "hcfcn32", FCN))
"""A plain network, its HC twin, and the target of the ratio between them."""


def plan(*, dry_run: bool) -> list[Group]:
    """All groups; a run may be ended early by its limit."""
    backbone, width = ("resnet18", TINY_WIDTH) if dry_run else ("resnet101", None)
    half: Modes = ("graph", "eager")
    return [
        *(_twins(twin, backbone, "float16", half, width) for twin in TWINS),
        _levels("resnet18", "float16", width),
        *(_twins(twin, backbone, "float16", ("compiled",), width) for twin in TWINS[:2]),
        *(_twins(twin, backbone, "float32", ("graph",), width) for twin in TWINS),
        _levels("resnet50", "float16", width),
        *(_twins(twin, backbone, "tf32", ("graph",), width) for twin in TWINS),
        _twins(TWINS[2], backbone, "float16", ("compiled",), width),
        _levels("resnet18", "float32", width),
    ]


def _twins(twin: tuple[str, str, str], backbone: str, numbers: Numbers, modes: Modes, width: int | None) -> Group:
    """An HC network and its plain twin. The first mode is held against the target."""
    plain, hc, target = twin
    contenders, comparisons = [], []
    for mode in modes:
        slow = Contender(Network(f"{plain}_{backbone}", None, width), mode)
        fast = Contender(Network(f"{hc}_{backbone}", LEVEL, width), mode)
        contenders += [slow, fast]
        above, below = (fast, slow) if target == FCN else (slow, fast)
        comparisons.append(Comparison(above.name, below.name, target))
    name = f"{hc} beside {plain}, {backbone}, {numbers}, {' and '.join(modes)}"
    return Group(name, numbers, tuple(contenders), tuple(comparisons))


def _levels(backbone: str, numbers: Numbers, width: int | None) -> Group:
    levels = [Contender(Network(f"hcfcn32_{backbone}", level, width), "graph") for level in LEVELS]
    plain = Contender(Network(f"fcn32_{backbone}", None, width), "graph")
    comparisons = [Comparison(one.name, levels[0].name, LEVEL_COST * (one is levels[-1])) for one in levels[1:]]
    comparisons.append(Comparison(levels[LEVEL].name, plain.name, FCN))
    return Group(f"levels of hcfcn32, {backbone}, {numbers}", numbers, (*levels, plain), tuple(comparisons))
