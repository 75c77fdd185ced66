"""DIR/models: a network in; its weights, ONNX file, torch's answers and engines out, made once and checked when reused.

What a file is reused for: `made.json` names the code, the torch and the hash of each file; an engine has its sidecar.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.gpu.cases import ENGINES, Case, Network
from hc_deploy.engine.options import BuildOptions, Shape, ShapeRange
from hc_deploy.engine.sidecar import FileRecord, Sidecar, read_sidecar, verify_engine
from hc_deploy.errors import DeployError
from hc_deploy.runtime.session import Array, Outputs, SessionBase
from hc_deploy.spec import Flavour, ModelSpec, Precision
from hc_deploy.system.files import atomic_path, make_folder, write_bytes
from hc_deploy.system.gpu import Gpu
from hc_deploy.system.strict_json import render

IMAGES = 2
"""Parity images: 4.2 million pixels at 1024x2048."""
WEIGHTS, ONNX, REFERENCE, SPEC, MADE = "weights.pt", "model.onnx", "reference.npz", "spec.json", "made.json"
KEPT = (WEIGHTS, ONNX, REFERENCE, SPEC)
ROOT = Path(__file__).resolve().parents[2]
CODE = (
    "models/**/*.py",
    "hc_deploy/ops/*.py",
    "hc_deploy/export/*.py",
    "hc_deploy/graph/**/*.py",
    "hc_deploy/arrows/*.py",
    "hc_deploy/engine/*.py",
)
"""What decides about the files: when it changes, all are made anew."""


@dataclass(frozen=True)
class Files:
    """What a case runs: `model` is what the backend opens. `engine`: an engine's sidecar."""

    folder: Path
    model: Path
    engine: Sidecar | None = None

    @property
    def spec(self) -> ModelSpec:
        return read_spec(self.folder)


class Store:
    """The folder.

    Args:
        folder: DIR/models. device: the GPU that engines are built on; None: no GPU.
    """

    def __init__(self, folder: Path, *, device: Gpu | None) -> None:
        self._folder, self._device = folder, device
        self._code = code_digest()
        self._ready: set[str] = set()

    def prepare(self, case: Case) -> Files:
        """Make or find the files of `case`.

        Raises:
            DeployError: the network cannot be exported, or its engine cannot be built here.
        """
        folder = self._network(case.network)
        if case.backend in ENGINES:
            return self._engine(folder, case)
        if case.backend.startswith("torch"):
            return Files(folder, folder / WEIGHTS)
        return Files(folder, _typed(folder, case.precision))

    def _network(self, network: Network) -> Path:
        folder = make_folder(self._folder / network.key)
        if network.key in self._ready or self._is_made(folder, network):
            self._ready.add(network.key)
            return folder
        for old in folder.iterdir():  # engines and typed models too: the code that made them has changed
            old.unlink()
        make_network(network, folder)
        files = {name: FileRecord.of(folder / name).sha256 for name in KEPT}
        made = {**self._made_by(network), "files": files}
        write_bytes(folder / MADE, render(made, indent=1).encode())
        self._ready.add(network.key)
        return folder

    def _is_made(self, folder: Path, network: Network) -> bool:
        try:
            made = json.loads((folder / MADE).read_text())
            files = made.pop("files")
            return made == self._made_by(network) and all(
                FileRecord.of(folder / name).sha256 == files[name] for name in KEPT
            )
        except (OSError, ValueError, KeyError, AttributeError):
            return False

    def _made_by(self, network: Network) -> dict[str, Any]:
        import torch

        return {"network": json.loads(json.dumps(asdict(network))), "code": self._code, "torch": torch.__version__}

    def _engine(self, folder: Path, case: Case) -> Files:
        from hc_deploy.arrows.build import build_engine
        from hc_deploy.engine import plugin_library

        library = plugin_library.find() if case.plugin else None
        path = folder / f"{case.backend}-{case.precision}-{'plugin' if case.plugin else 'standard'}.engine"
        spec = read_spec(folder)
        options = BuildOptions(
            flavour=cast(Flavour, case.backend),
            precision=case.precision,
            profile=ShapeRange.of(spec, Shape(1, *case.network.size)),
            plugin="library" if library else "none",
            plugin_library=str(library) if library else None,
        )
        if not fits(path, options, folder / ONNX, library=library, device=self._device):
            build_engine(folder / ONNX, path, options)
        return Files(folder, path, read_sidecar(path))


def fits(engine: Path, options: BuildOptions, onnx: Path, *, library: Path | None, device: Gpu | None) -> bool:
    """Whether the engine is whole and what `options` would build from `onnx` now, here, with the TensorRT installed."""
    try:
        sidecar = verify_engine(engine)
    except DeployError:
        return False
    on_device = options.flavour == "tensorrt-rtx" or (
        sidecar.device is not None
        and device is not None
        and (sidecar.device.name, sidecar.device.compute_capability) == (device.name, device.compute_capability)
    )
    return (
        sidecar.options == options
        and sidecar.onnx.sha256 == FileRecord.of(onnx).sha256
        and (sidecar.plugin is None or (library and FileRecord.of(library).sha256) == sidecar.plugin.sha256)
        and on_device
        and installed_version(options.flavour) == sidecar.version
    )


@functools.cache
def installed_version(flavour: Flavour) -> str | None:
    """Of the Python module, found in a process of its own: two flavours of TensorRT do not share one."""
    import subprocess
    import sys

    code = f"from hc_deploy.engine import flavours; print(flavours.load({flavour!r}).__version__)"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() or None


def code_digest() -> str:
    """Hash of the Python files of `CODE`."""
    digest = hashlib.sha256()
    for file in sorted(path for pattern in CODE for path in ROOT.glob(pattern)):
        digest.update(f"{file.relative_to(ROOT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def make_network(network: Network, folder: Path) -> None:
    """Seeded random weights, the ONNX file, and torch's labels (float32, CPU, the torch reference of every op)."""
    import torch

    from hc_deploy.arrows.export import export_model
    from hc_deploy.export.deployed import DeployedNet
    from hc_deploy.parity.images import parity_images
    from hc_deploy.runtime.torch import TorchSession
    from models.calibrate import calibrate
    from models.load import new_network

    net, spec = new_network(network.arch, network.options)
    calibrate(net, spec)
    spec = replace(spec, batch=1, height=network.size[0], width=network.size[1])
    with atomic_path(folder / WEIGHTS) as temporary:
        torch.save(net.state_dict(), temporary)
    export_model(net, spec, folder / ONNX, any_size=True)
    write_bytes(folder / SPEC, spec.to_json().encode())
    reference = TorchSession(DeployedNet(net, spec), spec, name="torch")
    arrays: dict[str, Array] = {}
    for index, image in enumerate(islice(parity_images(spec, size=network.size), IMAGES)):
        arrays |= {f"image{index}": image, f"labels{index}": reference.run(image)["labels"]}
    with atomic_path(folder / REFERENCE) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def read_spec(folder: Path) -> ModelSpec:
    """Of the network in `folder`."""
    path = folder / SPEC
    return ModelSpec.from_json(path.read_text(), source=str(path))


def _typed(folder: Path, precision: Precision) -> Path:
    """The ONNX file in a precision; made once, for runtimes that take the types as the graph gives them."""
    from hc_deploy.graph.model_file import read_model, write_model
    from hc_deploy.graph.precision import with_precision

    if precision == "fp32":
        return folder / ONNX
    path = folder / f"{precision}.onnx"
    if not path.exists():
        write_model(with_precision(read_model(folder / ONNX), precision), path)
    return path


class Recorded(SessionBase):
    """Torch's answers on the parity images, as a session: `run` gives that of the image it is handed."""

    def __init__(self, folder: Path) -> None:
        self.spec, self.name, self.provider = read_spec(folder), "torch", "torch-cpu"
        with np.load(folder / REFERENCE) as arrays:
            self._images = [arrays[f"image{index}"] for index in range(IMAGES)]
            self._labels = [arrays[f"labels{index}"] for index in range(IMAGES)]

    def images(self) -> Iterator[Array]:
        """The images."""
        yield from self._images

    def _load(self, images: Array) -> None:
        self._index = next(i for i, known in enumerate(self._images) if np.array_equal(known, images))

    def _execute(self) -> None:
        """Done long ago."""

    def _fetch(self) -> Outputs:
        return {"labels": self._labels[self._index].copy()}
