"""checkpoint -> module -> verified model.onnx: `load_checkpoint`, `export_model`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hc_deploy.errors import DeployError
from hc_deploy.spec import ModelSpec
from hc_deploy.system.files import atomic_path

if TYPE_CHECKING:
    from torch import nn

    from hc_deploy.export.checkpoint import CheckpointInfo
    from hc_deploy.export.onnx import ExportedModel
    from hc_deploy.parity.fidelity import Fidelity

DEFAULT_SIZE = (512, 1024)


@dataclass(frozen=True)
class Exported:
    """A model that was exported, and how well it repeats the network.

    Attributes:
        files: model.onnx, and the file of its weights where one file has no room for them (2 GiB).
        fidelity: the file in ONNX Runtime against the user's own module in torch.
        nodes, custom_nodes: of the graph; the latter by operator.
        seconds: of export and verification.
    """

    files: tuple[Path, ...]
    spec: ModelSpec
    fidelity: Fidelity
    nodes: int
    custom_nodes: dict[str, int]
    seconds: tuple[float, float]


def export_model(
    network: nn.Module,
    spec: ModelSpec,
    path: Path | str,
    *,
    size: tuple[int, int] | None = None,
    any_size: bool = False,
) -> Exported:
    """Export a network to one ONNX file that gives what the network gives; nothing is written where it does not.

    The network runs in torch, as it is, and the file in ONNX Runtime, on the same images.

    Args:
        network: maps a normalised float image [B,C,H,W] to logits [B,classes,h,w] (docs/weights.md: own networks).
        spec: what the model takes and gives; a batch, height or width that is None becomes dynamic.
        path: model.onnx. An older one is replaced.
        size: (height, width) that a dynamic model is traced and checked at (default: 512x1024).
        any_size: the network takes every height and width, not only multiples of something. A dynamic model is then
            traced at a small size, which is faster, and checked at an odd one; else at twice the height of `size`.

    Raises:
        DeployError: torch cannot trace or translate the network, or it fails on an image.
        GateError: the file gives something else; the message names the operator.
        MissingDependencyError: torch, onnx or ONNX Runtime is not installed (the export extra).
    """
    from hc_deploy.export.onnx import export_onnx
    from hc_deploy.graph.model_file import drop_weights, on_trial, weight_files

    path = Path(path)
    size = spec.size or size or DEFAULT_SIZE
    start, replaced = time.monotonic(), weight_files(path)
    with atomic_path(path) as temporary:
        model = export_onnx(network, spec) if any_size else export_onnx(network, spec, example=size)
        with on_trial(model.proto, temporary):
            exported = time.monotonic()
            fidelity = _verify(network, model, temporary, size, any_size=any_size)
            verified = time.monotonic()
    drop_weights(replaced)
    nodes = model.proto.graph.node
    custom = dict(Counter(node.op_type for node in nodes if node.domain))
    seconds = (exported - start, verified - exported)
    return Exported((path, *weight_files(path)), spec, fidelity, len(nodes), custom, seconds)


def _verify(network: nn.Module, model: ExportedModel, path: Path, size: tuple[int, int], *, any_size: bool) -> Fidelity:
    """Gate: the file at `path` gives in ONNX Runtime what the network gives in torch."""
    from hc_deploy.export.diagnose import describe, divergences, worst
    from hc_deploy.export.untouched import Untouched
    from hc_deploy.parity.exposed import OnnxUnderTest
    from hc_deploy.parity.fidelity import measure_fidelity, require_fidelity
    from hc_deploy.parity.images import parity_images
    from hc_deploy.runtime.opening import open_bodies

    spec = model.spec
    reference = Untouched(network, spec)
    other = None if any_size else (2 * size[0], size[1])  # a multiple of whatever the network needs
    with OnnxUnderTest(model.proto, spec, path, open_bodies) as candidate:
        try:
            fidelity = measure_fidelity(reference, candidate, parity_images(spec, size=size, other=other))
        except DeployError as error:
            if spec.size is not None:
                raise
            raise DeployError(
                f"{spec.arch} does not run at every size: {error.received}", expected="one that does, for --dynamic",
                mend="without --dynamic, one --size a model",
            ) from None  # fmt: skip
        if fidelity.failures():
            images = parity_images(spec, size=size, other=other)
            found = max((divergences(model, image, candidate.run_proto) for image in images), key=worst)
            require_fidelity(fidelity, candidate=spec.arch, cause=describe(found))
    return fidelity


def load_checkpoint(path: Path | str, network: nn.Module, *, ignore_keys: Collection[str] = ()) -> CheckpointInfo:
    """Load a checkpoint's weights into a network, strictly; nothing in the file is run.

    Args:
        path: safetensors or what torch.save wrote, with any wrapper and prefix (docs/weights.md).
        network: gets the weights, in eval mode.
        ignore_keys: patterns of names in the file that it does not have.

    Returns:
        What the file says of itself: classes, normalisation, training.

    Raises:
        DeployError: no checkpoint, or its names, shapes or values do not fit the network; they are listed.
    """
    from hc_deploy.export.checkpoint import load_state, read_checkpoint

    checkpoint = read_checkpoint(Path(path))
    load_state(network, checkpoint, arch=type(network).__name__, ignore_keys=ignore_keys)
    network.eval()
    return checkpoint.info
