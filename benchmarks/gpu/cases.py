"""What a run holds: options in; networks, cases, and the groups that are measured side by side, out. Standard library.

A group is measured in one process, its cases in turn: ratios are taken within groups alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from hc_deploy.errors import UsageError
from hc_deploy.spec import Precision

Backend = Literal[
    "tensorrt", "tensorrt-rtx", "onnxruntime-cuda", "onnxruntime-tensorrt", "torch-eager", "torch-compile"
]
Kind = Literal["probe", "pair", "levels", "torch"]
BACKENDS: tuple[Backend, ...] = (
    "tensorrt", "tensorrt-rtx", "onnxruntime-tensorrt", "onnxruntime-cuda", "torch-compile", "torch-eager",
)  # fmt: skip
ENGINES = ("tensorrt", "tensorrt-rtx")
"""Backends whose engines are built ahead, with the plugin and as standard operators."""
WITH_PLUGIN = (*ENGINES, "onnxruntime-tensorrt")
TWINS = {"hcpspnet": "pspnet", "hcdeeplabv3": "deeplabv3", "hcfcn32": "fcn32", "hcfpn": "fpn"}
LEVEL = 2
"""Of the HC networks, where levels are not swept."""
SWEPT, SWEPT_BACKBONE = "hcfcn32", "resnet18"
PROBE_SIZE, TINY_WIDTH = (64, 128), 4


@dataclass(frozen=True)
class Network:
    """One network at one size (height, width). `level`: None for a plain one. `width`: None for the paper's."""

    system: str
    backbone: str
    size: tuple[int, int]
    level: int | None = None
    width: int | None = None

    @property
    def arch(self) -> str:
        return f"{self.system}_{self.backbone}"

    @property
    def options(self) -> dict[str, Any]:
        given = {"level": self.level, "width": self.width}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def key(self) -> str:
        """Unique; a folder's name."""
        options = "".join(f"-{name}{value}" for name, value in self.options.items())
        return f"{self.arch}{options}-{self.size[0]}x{self.size[1]}"


@dataclass(frozen=True)
class Case:
    """A network on a backend.

    Attributes:
        name: unique in its group. plugin: custom ops by our kernels; False: as standard operators. Torch takes the
            kernels where `make plugin` built them.
    """

    name: str
    network: Network
    backend: Backend
    precision: Precision
    plugin: bool


@dataclass(frozen=True)
class Group:
    """Cases that are measured in turn, and the name of the one that ratios are taken against."""

    kind: Kind
    name: str
    cases: tuple[Case, ...]
    baseline: str


@dataclass(frozen=True)
class Scope:
    """How much of everything."""

    size: tuple[int, int] = (1024, 2048)
    backbones: tuple[str, ...] = ("resnet101", "resnet50", "resnet18")
    systems: tuple[str, ...] = tuple(TWINS)
    precisions: tuple[Precision, ...] = ("fp16", "fp32")
    levels: tuple[int, ...] = (0, 1, 2, 3, 4)
    width: int | None = None

    def network(self, system: str, backbone: str, level: int | None = None) -> Network:
        return Network(system, backbone, self.size, level, self.width)


FULL = Scope()
QUICK = Scope(size=(512, 1024), backbones=("resnet18",))
DRY = Scope(size=PROBE_SIZE, backbones=("resnet18",), systems=("hcfcn32", "hcpspnet"), levels=(0, 4), width=TINY_WIDTH)


def plan(scope: Scope) -> list[Group]:
    """All groups, in the order in which they are worth having: a run may be ended early."""
    groups: list[Group] = []
    for precision in scope.precisions:
        for backend in BACKENDS:
            for backbone in scope.backbones:
                groups += [_pair(scope, system, backbone, backend, precision) for system in scope.systems]
            groups.append(_levels(scope, backend, precision))
            if backend != "torch-eager":
                groups += [_beside_torch(scope, backbone, backend, precision) for backbone in scope.backbones]
    return groups


def probe(backend: Backend) -> Group:
    """The smallest thing that shows whether a backend runs here at all, without the plugin where it can."""
    network = Network("hcfcn32", "resnet18", PROBE_SIZE, LEVEL, TINY_WIDTH)
    case = Case(network.system, network, backend, "fp32", plugin=backend not in ENGINES)
    return Group("probe", f"{backend}/probe", (case,), case.name)


def chosen(groups: Sequence[Group], only: Iterable[str]) -> list[Group]:
    """The groups whose name holds one of the texts (`*` and `?` as in a shell); all of them without a text.

    Raises:
        UsageError: a text that is in no name.
    """
    kept: set[str] = set()
    for text in only:
        found = {group.name for group in groups if fnmatchcase(group.name, f"*{text}*")}
        if not found:
            raise UsageError(
                f"--only {text}", expected="a part of a group's name, as " + ", ".join(_examples(groups))
            )  # fmt: skip
        kept |= found
    return [group for group in groups if not only or group.name in kept]


def _examples(groups: Sequence[Group]) -> Iterator[str]:
    for kind in ("pair", "levels", "torch"):
        yield from [group.name for group in groups if group.kind == kind][:1]


def _pair(scope: Scope, system: str, backbone: str, backend: Backend, precision: Precision) -> Group:
    """An HC network and its plain twin; of an engine's flavour also the former as standard operators."""
    hc, plain = scope.network(system, backbone, LEVEL), scope.network(TWINS[system], backbone)
    cases = [Case(hc.system, hc, backend, precision, plugin=backend != "onnxruntime-cuda")]
    if backend in ENGINES:
        cases.append(Case(f"{hc.system} standard", hc, backend, precision, plugin=False))
    cases.append(Case(plain.system, plain, backend, precision, plugin=backend != "onnxruntime-cuda"))
    return Group("pair", f"{backend}/{precision}/{backbone}/{system}/pair", tuple(cases), plain.system)


def _levels(scope: Scope, backend: Backend, precision: Precision) -> Group:
    networks = [scope.network(SWEPT, SWEPT_BACKBONE, level) for level in scope.levels]
    cases = tuple(
        Case(f"level {network.level}", network, backend, precision, plugin=backend != "onnxruntime-cuda")
        for network in networks
    )
    return Group("levels", f"{backend}/{precision}/{SWEPT_BACKBONE}/{SWEPT}/levels", cases, cases[0].name)


def _beside_torch(scope: Scope, backbone: str, backend: Backend, precision: Precision) -> Group:
    """One backend beside eager torch. Two flavours of TensorRT never share a process: each has a Python module of its
    own around libraries of the same classes."""
    network = scope.network(scope.systems[0], backbone, LEVEL)
    other = Case(backend, network, backend, precision, plugin=backend != "onnxruntime-cuda")
    eager = Case("torch-eager", network, "torch-eager", precision, plugin=True)
    return Group("torch", f"{backend}/{precision}/{backbone}/{network.system}/torch", (other, eager), eager.name)
