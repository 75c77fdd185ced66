"""A case and its files -> an opened Session; the only module that knows one backend from another.

In a dry run the sessions of ONNX Runtime and torch are on the CPU, and engines are not opened.
"""

from __future__ import annotations

from typing import Any

from benchmarks.gpu.cases import ENGINES, Backend, Case
from benchmarks.gpu.store import Files
from hc_deploy.errors import DeployError
from hc_deploy.runtime.session import Session
from hc_deploy.spec import Precision
from hc_deploy.system.gpu import Gpu

DRY_THREADS = 1
"""Tiny networks gain nothing from more."""
VERSIONED = ("tensorrt", "tensorrt_rtx", "tensorrt_lean", "onnxruntime", "torch", "pycuda")
MULTIPLIES: dict[Backend, Precision] = {"onnxruntime-cuda": "tf32", "onnxruntime-tensorrt": "tf32"}
"""How float32 is multiplied where the backend's default is not float32: ONNX Runtime's providers take TF32."""


def bounds_of(case: Case, *, dry_run: bool) -> Precision:
    """The precision whose bounds hold for the answers of `case`."""
    if case.precision != "fp32" or dry_run:
        return case.precision
    return MULTIPLIES.get(case.backend, "fp32")


def open_case(case: Case, files: Files, *, dry_run: bool) -> Session:
    """The session.

    Raises:
        DeployError: what was missing, or why the backend refused.
    """
    if case.backend.startswith("torch"):
        return _torch(case, files, dry_run=dry_run)
    if case.backend in ENGINES:
        if dry_run:
            raise DeployError("engines are not run in a dry run")
        from hc_deploy.runtime.tensorrt import TensorRtSession

        return TensorRtSession(files.model)
    from hc_deploy.runtime import open_session

    provider = case.backend.removeprefix("onnxruntime-")
    if dry_run and provider == "cuda":
        return open_session(files.model, provider="cpu", threads=DRY_THREADS)
    return open_session(files.model, provider=provider)


def _torch(case: Case, files: Files, *, dry_run: bool) -> Session:
    """Channels last and cuDNN's own search, as torch is used where speed counts; fp32 without TF32."""
    import torch

    from benchmarks.networks.measure import HalfNet
    from hc_deploy.export.deployed import DeployedNet
    from hc_deploy.runtime.torch import TorchSession
    from models import build

    if not dry_run and not torch.cuda.is_available():
        raise DeployError(f"torch {torch.__version__} finds no GPU")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    net = build(case.network.arch, **case.network.options)
    net.load_state_dict(torch.load(files.model, weights_only=True))
    network: Any = HalfNet(net) if case.precision == "fp16" else net
    module: Any = DeployedNet(network, files.spec)
    module = module.to(memory_format=torch.channels_last)
    if case.backend == "torch-compile":
        mode: dict[str, Any] = {"backend": "eager"} if dry_run else {"mode": "reduce-overhead"}
        module = torch.compile(module, dynamic=False, **mode)
    device, threads = ("cpu", DRY_THREADS) if dry_run else ("cuda", None)
    return TorchSession(module, files.spec, name=case.name, device=device, threads=threads)


def loaded_versions() -> dict[str, str]:
    """Of the runtimes that this process has imported."""
    import sys

    found = {name: str(getattr(sys.modules.get(name), "__version__", "")) for name in VERSIONED}
    if torch := sys.modules.get("torch"):
        from hc_deploy.ops.kernels import LIBRARY

        found["torch's CUDA"] = str(torch.version.cuda or "")
        found["HC kernels in torch"] = "built" if LIBRARY.is_file() else "not built"
    return {name: version for name, version in found.items() if version}


def rtx_refusal(gpu: Gpu | None) -> str:
    """What TensorRT-RTX itself says about this GPU: the compute capabilities that it builds for; '' if it is listed."""
    from hc_deploy.engine import flavours

    try:
        trt = flavours.load("tensorrt-rtx")
    except DeployError:
        return ""
    known = flavours.capabilities_of(trt)
    capability = gpu.compute_capability if gpu else None
    if capability is None or capability in known:
        return ""
    return (
        f"; TensorRT-RTX {trt.__version__} builds for compute capability {', '.join(known)}, this GPU has {capability}"
    )
