"""A Session on OpenVINO: `model.onnx` in, its custom ops as their bodies of standard operators, in fp32 or bf16.

OpenVINO does not expand the functions of an ONNX file, so they are inlined before it reads the model. What was asked
for is what runs: the types of the compiled model are read back, and bf16 answers are held against fp32 ones before
the first image of a user's (on some processors bf16 has been silently wrong).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from hc_deploy import install
from hc_deploy.errors import DeployError, MissingDependencyError, UsageError, first_line
from hc_deploy.ran import Runtime
from hc_deploy.runtime.graph_check import Tensor, check_graph
from hc_deploy.runtime.onnxruntime import expected_bytes
from hc_deploy.runtime.session import Array, Outputs, SessionBase, session_name
from hc_deploy.spec import ModelSpec
from hc_deploy.system.files import require_file
from hc_deploy.system.temporary import temporary_folder

HINTS = {"fp32": "f32", "bf16": "bf16"}
"""Our names of the precisions, OpenVINO's."""
FOUND = {"f32": "fp32", "bf16": "bf16", "f16": "fp16", "i8": "int8", "u8": "int8"}
WORK = ("Convolution", "Deconvolution", "FullyConnected", "GroupConvolution")
LEAST_SHARE = 0.9
"""Of the layers that carry the work, in the precision asked for."""
LEAST_AGREEMENT, MOST_ERROR = 0.97, 0.05
"""Of bf16 with fp32 on one image: pixels of the same class, and the largest difference as a share of the range."""
OPEN_SIZE = (256, 512)
"""Of that image where the model takes any."""


def import_openvino() -> Any:
    """The openvino module, or a MissingDependencyError with the install line."""
    try:
        import openvino
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"openvino cannot be imported ({first_line(error)})", expected="OpenVINO", mend=install.OPENVINO
        ) from None
    return openvino


def capabilities(core: Any) -> list[str]:
    """What OpenVINO can compute in on this processor, in its names: `FP32`, `BF16`, `INT8`, ..."""
    found: list[str] = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return found


class OpenVinoSession(SessionBase):
    """One `model.onnx` on OpenVINO's CPU device; see `open_session` for arguments and errors."""

    def __init__(
        self, path: Path, *, precision: str = "fp32", threads: int | None = None, expect_sha256: str | None = None
    ) -> None:
        require_file(path, what="a model.onnx made by export.py")
        if precision not in HINTS:
            raise UsageError(f"--precision {precision} with --provider openvino", expected=f"one of {', '.join(HINTS)}")
        openvino = import_openvino()
        core = openvino.Core()
        self._require_capable(core, precision)
        data = None if expect_sha256 is None else expected_bytes(path, expect_sha256)
        self.spec, model = _read(core, path, data)
        check_graph(self.spec, _tensors(model.inputs), _tensors(model.outputs), source=str(path))
        self.name, self.provider = session_name(path), "openvino"
        self._compiled = _compile(core, model, path, precision, threads)
        self._request: Any = self._compiled.create_infer_request()
        self._tensor = openvino.Tensor
        self._input: Any = None
        found = _found(self._compiled)
        version = openvino.get_version().partition("-")[0]
        self.runtime = Runtime("openvino", version, precision, found, "engine" if found else None)
        _require_precision(found, precision, path)
        if precision != "fp32":
            self._prove(_compile(core, model, path, "fp32", threads))

    @staticmethod
    def _require_capable(core: Any, precision: str) -> None:
        if precision == "bf16" and "BF16" not in capabilities(core):
            raise DeployError(
                f"this processor computes no bf16 (OpenVINO finds {', '.join(sorted(capabilities(core)))})",
                expected="a processor with AVX-512 BF16 or AMX",
                mend="--precision fp32",
            )

    def _load(self, images: Array) -> None:
        self._input = self._tensor(images, shared_memory=True)  # the copy that the base made
        self._request.set_input_tensor(self._input)

    def _execute(self) -> None:
        self._request.infer()

    def _fetch(self) -> Outputs:
        return {
            name: np.array(self._request.get_output_tensor(index).data, copy=True)
            for index, name in enumerate(self.spec.outputs)
        }

    def _close(self) -> None:
        self._request = self._compiled = self._input = None

    def _prove(self, reference: Any) -> None:
        """DeployError unless this precision gives about what fp32 gives."""
        image = _image(self.spec)
        given = self.run(image)
        self._unload()
        truth = reference.create_infer_request()
        truth.infer({0: image})
        for index, (name, array) in enumerate(given.items()):
            problem = _difference(name, truth.get_output_tensor(index).data, array)
            if problem is not None:
                raise DeployError(
                    f"bf16 is wrong on this processor (OpenVINO): {problem}",
                    expected="about the answers of fp32",
                    mend="--precision fp32",
                )


def _read(core: Any, path: Path, data: bytes | None) -> tuple[ModelSpec, Any]:
    """The spec, and OpenVINO's model of the file."""
    rewrites = "--provider openvino rewrites the model, and needs more than running it"
    with install.importing(rewrites, extra="openvino", mend=install.OPENVINO):
        from hc_deploy.graph.functions import as_standard_operators
        from hc_deploy.graph.model_file import read_model, spec_of, write_model
    given = read_model(path, data)
    spec = spec_of(given, path)
    with temporary_folder() as folder:
        write_model(as_standard_operators(given), folder / "model.onnx")
        try:
            return spec, core.read_model(str(folder / "model.onnx"))
        except RuntimeError as error:
            raise _refusal(path, error) from None


def _compile(core: Any, model: Any, path: Path, precision: str, threads: int | None) -> Any:
    options = {"INFERENCE_PRECISION_HINT": HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = str(threads)
    try:
        return core.compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise _refusal(path, error) from None


def _refusal(path: Path, error: RuntimeError) -> DeployError:
    """OpenVINO's errors end with what happened; what comes before are places in its source."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return DeployError(
        f"{path} cannot be opened by OpenVINO: {lines[-1][:300] if lines else type(error).__name__}",
        expected="a whole model.onnx of operators that it has",
        mend="--provider cpu, which is ONNX Runtime",
    )


def _tensors(ports: Any) -> list[Tensor]:
    found = []
    for port in ports:
        shape = port.get_partial_shape()
        sides = None if shape.rank.is_dynamic else tuple(d.get_length() if d.is_static else None for d in shape)
        found.append(Tensor(port.get_any_name(), np.dtype(port.get_element_type().to_dtype()).name, sides))
    return found


def _found(compiled: Any) -> dict[str, int]:
    """How many of the layers that carry the work run in each type, as the compiled model tells."""
    counts: Counter[str] = Counter()
    for node in compiled.get_runtime_model().get_ops():
        told = node.get_rt_info()
        if told["layerType"].value in WORK:
            kind = told["runtimePrecision"].value
            counts[FOUND.get(kind, kind)] += 1
    return dict(counts)


def _require_precision(found: dict[str, int], precision: str, path: Path) -> None:
    total = sum(found.values())
    if total and found.get(precision, 0) < LEAST_SHARE * total:
        raise DeployError(
            f"{path} in {precision}: of {total} convolutions OpenVINO runs {found.get(precision, 0)} in it",
            expected=f"at least {LEAST_SHARE:.0%}",
            mend="--precision fp32",
        )


def _image(spec: ModelSpec) -> Array:
    """A seeded image of smooth shades and edges, in the form that the model takes."""
    height, width = spec.height or OPEN_SIZE[0], spec.width or OPEN_SIZE[1]
    shape = spec.input_shape(batch=spec.batch or 1, height=height, width=width)
    rows, columns = np.arange(height)[:, None] * 9 // height, np.arange(width)[None] * 13 // width
    levels = np.random.default_rng(0).integers(0, 256, (9, 13, 3))[rows, columns]
    if spec.input == "uint8":
        return np.ascontiguousarray(np.broadcast_to(levels.astype(np.uint8), shape))
    planes = (levels / 127.5 - 1).astype(np.float32).transpose(2, 0, 1)[: shape[1]]
    return np.ascontiguousarray(np.broadcast_to(planes, shape))


def _difference(name: str, truth: Array, given: Array) -> str | None:
    """What is wrong with an output, in words; None where it is about the same."""
    if name in ("labels", "superpixels"):
        same = float((truth == given).mean())
        return None if same >= LEAST_AGREEMENT else f"{same:.1%} of its {name} are those of fp32"
    scale = float(np.abs(truth[np.isfinite(truth)]).max(initial=0.0)) or 1.0
    finite = np.isfinite(given) == np.isfinite(truth)
    error = float(np.abs(given - truth)[finite & np.isfinite(truth)].max(initial=0.0)) / scale
    if finite.all() and error <= MOST_ERROR:
        return None
    return f"its {name} differ by {error:.1%} of their range" if finite.all() else f"its {name} are not finite"
