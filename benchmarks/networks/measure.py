"""A group in; its contenders' samples, parity and memory out. The networks are built, run and let go here."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from benchmarks.kernels.timing import Clock, interleaved
from benchmarks.networks.cases import Contender, Group, Network, Numbers
from benchmarks.networks.fold import fold_batch_norms
from hc_deploy.export.deployed import DeployedNet
from hc_deploy.parity.images import parity_images
from hc_deploy.spec import ModelSpec
from models.calibrate import calibrate
from models.load import new_network

Run = Callable[[], object]
WARMUP = 3


@dataclass(frozen=True)
class Sampled:
    """One contender. `nanoseconds`: entry i is of round i. `agreement`: share of the pixels whose class is that of the
    network in float32 on the CPU, by the torch references of the ops. `memory`: bytes that it held at its peak."""

    name: str
    nanoseconds: tuple[int, ...]
    agreement: float
    memory: int


@dataclass(frozen=True)
class Reference:
    """A network on the CPU, and what it answers: labels [1,H,W]."""

    module: nn.Module
    spec: ModelSpec
    labels: torch.Tensor


class References:
    """Networks with their answers, made once each.

    Args:
        size: of the image in pixels, (H, W).
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._known: dict[Network, Reference] = {}
        spec = ModelSpec(arch="", task="segmentation", classes=("a", "b"), palette=((0, 0, 0), (1, 1, 1)), level=0)
        spec = replace(spec, batch=1, height=size[0], width=size[1])
        self.image: np.ndarray = next(parity_images(spec, size=size))

    @torch.inference_mode()
    def of(self, network: Network) -> Reference:
        """The network's reference."""
        if network not in self._known:
            net, spec = new_network(network.arch, network.options)
            calibrate(net, spec)
            (labels,) = DeployedNet(net, spec)(torch.from_numpy(self.image))
            self._known[network] = Reference(net, spec, labels)
        return self._known[network]


class HalfNet(nn.Module):
    """A network in float16 after a normalisation in float32, as in the exported graph."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.half()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(image.half())
        return logits


def measure(group: Group, references: References, device: torch.device, clock: Clock, *, rounds: int) -> list[Sampled]:
    """Every contender of the group, in turn."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = group.numbers == "tf32"
    runs: dict[str, Run] = {}
    facts: dict[str, tuple[float, int]] = {}
    image = torch.from_numpy(references.image).to(device)
    for contender in group.contenders:
        before = _reset_memory(device)
        reference = references.of(contender.network)
        run = prepared(contender, reference, image, group.numbers)
        labels = run().cpu()  # type: ignore[attr-defined]
        facts[contender.name] = ((labels == reference.labels).double().mean().item(), _peak(device) - before)
        runs[contender.name] = run
    samples = interleaved(runs, clock, rounds=rounds, warmup=WARMUP)
    return [Sampled(name, tuple(samples[name]), *facts[name]) for name in runs]


@torch.inference_mode()
def prepared(contender: Contender, reference: Reference, image: torch.Tensor, numbers: Numbers) -> Run:
    """What runs the contender once on `image` and gives its labels; a graph is captured."""
    net = fold_batch_norms(copy.deepcopy(reference.module))
    # Channels last where the tensor cores multiply; float32 without them was no faster so.
    if numbers != "float32":
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module: nn.Module = DeployedNet(HalfNet(net) if numbers == "float16" else net, reference.spec).to(image.device)
    if contender.mode == "compiled":
        module = torch.compile(module, dynamic=False, backend="inductor" if image.is_cuda else "eager")  # type: ignore[assignment]

    @torch.inference_mode()
    def run() -> torch.Tensor:
        labels: torch.Tensor = module(image)[0]
        return labels

    run()
    return run if contender.mode == "eager" or not image.is_cuda else _captured(run)


def _captured(run: Callable[[], torch.Tensor]) -> Run:
    """`run` as one CUDA graph; what it gives is the same tensor each time."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARMUP):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        labels = run()

    def replay(_alive: object = run) -> torch.Tensor:  # the graph holds addresses of its weights
        graph.replay()
        return labels

    return replay


def _reset_memory(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
