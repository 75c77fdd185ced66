"""A model file -> the Session on the runtime that runs it. Each runtime is imported when one of its files is opened."""

from __future__ import annotations

from pathlib import Path

from hc_deploy.errors import DeployError, UsageError
from hc_deploy.runtime.native_ops import Kernels
from hc_deploy.runtime.session import Session
from hc_deploy.shown import quoted
from hc_deploy.spec import DEPLOYED
from hc_deploy.system.digest import checked_sha256

KINDS = "a model.onnx or model.engine"


def open_session(
    path: Path | str,
    *,
    provider: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    kernels: Kernels = "auto",
    expect_sha256: str | None = None,
) -> Session:
    """Open a model file.

    Args:
        path: `model.onnx` or `model.engine` made by `export.py`, or the folder that holds the former.
        provider: for a model.onnx, `cpu` (the default), `cuda` or `tensorrt` of ONNX Runtime, or `openvino`. What was
            asked for runs, or this fails. An engine has its own runtime.
        precision: with `openvino`, `fp32` (the default) or `bf16`, which is held against fp32 before it is used.
        threads: threads of one run on a CPU; None leaves it to the runtime (all cores).
        kernels: what computes our ops in a model.onnx on a CPU: `native` (what `make native` built, or this fails),
            `bodies` (the standard operators in the file) or `auto` (native where it is built; the session's `kernels`
            says which). An engine has its own.
        expect_sha256: what the file's hash must be (64 hexadecimal digits), checked before a byte of it is parsed;
            None: not checked.

    Raises:
        DeployError: the file is missing, truncated, of another kind, or carries no metadata of ours; an engine that
            is not the one of its sidecar, or was built for another TensorRT or GPU.
        MissingDependencyError: the provider, the runtime, a GPU that it needs or the native kernels are not there.
    """
    path = Path(path)
    if expect_sha256 is not None:
        expect_sha256 = checked_sha256(expect_sha256)
    if path.is_dir() and (path / "model.onnx").exists():
        path = path / "model.onnx"
    _require_model(path)
    if precision is not None and (path.suffix != ".onnx" or provider != "openvino"):
        raise UsageError(
            f"--precision {precision} with {path}",
            expected="it with a model.onnx and --provider openvino; others run in the types of their file",
        )
    if path.suffix == ".engine":
        given = {"--provider": provider, "--threads": threads, "--kernels": None if kernels == "auto" else kernels}
        if option := next((name for name, value in given.items() if value is not None), None):
            raise UsageError(f"{option} with the engine {path}", expected=f"no {option}: an engine has its own runtime")
        from hc_deploy.runtime.tensorrt import TensorRtSession

        return TensorRtSession(path, expect_sha256=expect_sha256)
    if provider == "openvino":
        if kernels == "native":
            raise UsageError("--kernels native with --provider openvino", expected="it with ONNX Runtime on a CPU")
        from hc_deploy.runtime.openvino import OpenVinoSession

        return OpenVinoSession(path, precision=precision or "fp32", threads=threads, expect_sha256=expect_sha256)
    from hc_deploy.runtime.onnxruntime import OnnxRuntimeSession

    return OnnxRuntimeSession(
        path, provider=provider or "cpu", threads=threads, kernels=kernels, expect_sha256=expect_sha256
    )


def _require_model(path: Path) -> None:
    """Refuse what no runtime opens."""
    if not path.exists():
        raise DeployError(f"{path} does not exist", expected=f"{KINDS}, or the folder that holds a model.onnx")
    if path.suffix in DEPLOYED:
        return
    if path.is_dir():
        raise UsageError(f"{path}: no runtime for a folder without model.onnx", expected=KINDS)
    raise UsageError(
        f"{path} is no model that runs (by its name a checkpoint, which is exported first)",
        expected=KINDS,
        mend=f"python export.py {quoted(path)} -o {quoted(path.with_suffix(''))}",
    )


def open_bodies(path: Path) -> Session:
    """As `open_session`, a model.onnx on the bodies that it holds: gates vouch for the file, which runs anywhere."""
    return open_session(path, kernels="bodies" if path.suffix == ".onnx" else "auto")
