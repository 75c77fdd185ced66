"""The plugin without a compiler: TensorRT's Python module in, the four ops in its plugin registry out, kernels as PTX.

TensorRT >= 10.9 calls these "quickly deployable plugins, ahead of time": while it builds, it asks Python for each
node's kernel and launch, and writes both into the engine. A built engine needs neither Python, nor this package, nor a
plugin library. The other road is the C++ library (`libhc_plugins.so`): the same names in the same namespace, so one of
the two a process.

Types are checked when TensorRT chooses formats, ranks and attributes when it asks for the output's type, sizes when it
asks for the launch. The layer of TensorRT between gives no chance to refuse at creation.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from hc_deploy.engine import nvrtc
from hc_deploy.engine.kernel_source import FIXED_K, Element, Kernel, kernel_folder
from hc_deploy.engine.plugin_library import NAMESPACE
from hc_deploy.engine.quick_ops import GRID_LIMIT, LABELS, OPS, QuickOp, Sizes, cluster_arguments, cluster_options
from hc_deploy.errors import DeployError, MissingDependencyError
from hc_deploy.system.gpu import driver_version

VERSION = "1"
OLDEST_TENSORRT = (10, 9)

# TensorRT 10.16 with numpy 2.4 cannot read an attribute declared `float` ("only 0-dimensional arrays ..."); an array of
# one number is read by all.
_ATTRIBUTES = {"tau": npt.NDArray[np.float32], "similarity": str, "border": str, "assignment": str}


def register(trt: ModuleType) -> None:
    """Put the four ops into TensorRT's plugin registry, for this process. Call it before an ONNX file is parsed.

    A second call changes nothing. Kernels are compiled when an engine is built, 0.1 to 0.4 s each.

    Args:
        trt: the module `tensorrt`, 10.9 or newer. TensorRT-RTX takes the C++ library alone.

    Raises:
        MissingDependencyError: TensorRT is too old or of the RTX flavour, or NVRTC is absent.
        DeployError: the C++ library's creators are registered, or NVRTC is newer than the driver.
    """
    _require_version(trt)
    if _registered(trt):
        return
    compiler = nvrtc.Nvrtc()
    nvrtc.check_driver(compiler.version, driver_version())
    folder = kernel_folder()

    @functools.cache
    def ptx(kernel: Kernel) -> bytes:
        return compiler.compile(kernel.source, architecture=kernel.architecture, include=[folder])

    # By its name, as TensorRT's own files import it.
    quick = importlib.import_module("tensorrt.plugin")
    for op in OPS:
        _Callbacks(op, trt, quick, ptx).define()


def _require_version(trt: ModuleType) -> None:
    version = str(trt.__version__)
    if trt.__name__.startswith("tensorrt_rtx"):
        raise MissingDependencyError(
            f"TensorRT-RTX {version} takes plugins of a C++ library only",
            expected="TensorRT 10.9 or newer, for kernels from Python",
            mend="make plugin, and build with the library",
        )
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_TENSORRT:
        raise MissingDependencyError(
            f"TensorRT {version} takes no kernels from Python",
            expected="TensorRT 10.9 or newer",
            mend="pip install --upgrade tensorrt, or make plugin, and build with the library",
        )


def _registered(trt: ModuleType) -> bool:
    """Whether this road is open already.

    Raises:
        DeployError: the other one is.
    """
    registry = trt.get_plugin_registry()
    found = {op.name: registry.get_creator(op.name, VERSION, NAMESPACE) for op in OPS}
    present = {name: creator for name, creator in found.items() if creator is not None}
    foreign = [name for name, creator in present.items() if not isinstance(creator, trt.IPluginCreatorV3Quick)]
    if foreign:
        raise DeployError(
            f"{', '.join(foreign)} of a C++ plugin library are registered in this process already",
            expected="one road to the plugin a process: the library, or kernels from Python",
            mend="a process that does not load libhc_plugins.so",
        )
    return bool(present)


@dataclass(frozen=True)
class _Callbacks:
    """What TensorRT calls for one op.

    Its Python layer reads names and types from the signatures and allows no defaults in them; it hands attributes over
    by name to describe(), by position to launch(). So the signatures are stated, and the functions take what comes.
    """

    op: QuickOp
    trt: ModuleType
    quick: ModuleType
    ptx: Callable[[Kernel], bytes]

    def define(self) -> None:
        """Register the op."""
        name, quick = f"{NAMESPACE}::{self.op.name}", self.quick
        inputs = dict.fromkeys(self.op.inputs, quick.TensorDesc)
        attributes = _ATTRIBUTES if self.op.clustered else {}
        outputs = {"outputs": tuple[quick.TensorDesc]}  # type: ignore[name-defined]
        kernel = tuple[str, bytes, quick.KernelLaunchParams, quick.SymIntExprs]  # type: ignore[name-defined]
        combinations = list[quick.AutoTuneCombination]  # type: ignore[name-defined]

        quick.register(name)(_signed(self.describe, inputs | attributes, quick.TensorDesc))
        quick.autotune(name)(_signed(self.formats, inputs | outputs, combinations))
        quick.aot_impl(name)(_signed(self.launch, inputs | attributes | outputs | {"tactic": int}, kernel))

    def describe(self, *inputs: Any, **attributes: Any) -> Any:
        """Type and symbolic sizes of the output."""
        for name, tensor in zip(self.op.inputs, inputs, strict=True):
            if (rank := len(tensor.shape_expr)) != 4:
                raise DeployError(f"{self.op.name}: {name} has {rank} dimensions", expected="4: [B,channels,H,W]")
        sizes = tuple(self.op.output(*(tensor.shape_expr for tensor in inputs)))
        if inputs[0].shape_expr[0].is_fake:
            # Asked for the type alone. No number may become a symbol here: if the node before was refused, TensorRT's
            # layer still holds that node's maker of symbols, which is gone, and the process would crash.
            sizes = tuple(self.quick.ShapeExpr() for _ in sizes)
        dtype = self.trt.int32 if self.op.tile is LABELS else inputs[0].dtype
        output = self.quick.from_shape_expr(sizes, dtype)
        # launch() gets the attributes in the order of the caller, without their names, but this very object too.
        output.options = self._options(attributes) if self.op.clustered else None
        return output

    def formats(self, *_: Any) -> list[Any]:
        """Plain NCHW, all of one type; of argmax's `like`, whose shape alone is read, the type is free."""
        types = ["FP32|FP16|BF16"] * (len(self.op.inputs) + 1)
        if self.op.tile is LABELS:
            types[1:] = ["FP32*FP16*BF16", "INT32"]
        return [self.quick.AutoTuneCombination(", ".join(types), "LINEAR")]

    def launch(self, *values: Any) -> tuple[str, bytes, Any, Any]:
        """Kernel, PTX, launch geometry, and the integers between the kernel's inputs and its output."""
        inputs, (output,) = values[: len(self.op.inputs)], values[-2]
        self._check_sizes([_numbers(tensor.shape) for tensor in inputs])
        sizes = self.op.arguments(*(tensor.shape_expr for tensor in inputs))
        kernel = Kernel(self.op.kernel, self._element(inputs[0]), self.op.clustered and _is(sizes[-3], FIXED_K))
        arguments = [*sizes, *(cluster_arguments(output.options) if self.op.clustered else ())]
        extra = self.quick.SymIntExprs.from_tuple([self.quick.SymInt32(value) for value in arguments])
        return kernel.name, self.ptx(kernel), self._geometry(sizes), extra

    def _options(self, attributes: Mapping[str, Any]) -> Any:
        try:
            return cluster_options(attributes)
        except ValueError as error:
            raise DeployError(f"{self.op.name}: {error}") from error

    def _element(self, tensor: Any) -> Element:
        elements: dict[Any, Element] = {self.trt.float32: "f32", self.trt.float16: "f16", self.trt.bfloat16: "bf16"}
        return elements[tensor.dtype]

    def _geometry(self, sizes: Sizes) -> Any:
        """Grid and block as in launch.cu. A batch over the limit is looped over inside the kernel."""
        (batch, *_, height, width), tile, cdiv = sizes, self.op.tile, self.quick.cdiv
        if tile is not LABELS:
            height, width = cdiv(height, 2), cdiv(width, 2)
        return self.quick.KernelLaunchParams(
            grid_x=cdiv(width, tile.columns),
            grid_y=cdiv(height, tile.rows),
            grid_z=self.quick.min(batch, GRID_LIMIT),
            block_x=tile.threads,
        )

    def _check_sizes(self, shapes: Sequence[tuple[int, ...]]) -> None:
        expected = [tuple(sizes) for sizes in self.op.expected(*shapes)]
        known = all(size > 0 for shape in shapes for size in shape)
        if known and list(shapes) != expected:
            raise DeployError(
                f"{self.op.name}: {self._named(shapes)}",
                expected=f"{self._named(expected)} (a coarse map is ceil(H/2) x ceil(W/2))",
            )

    def _named(self, shapes: Sequence[tuple[int, ...]]) -> str:
        return ", ".join(f"{name} {list(shape)}" for name, shape in zip(self.op.inputs, shapes, strict=True))


def _signed(callback: Callable[..., Any], parameters: Mapping[str, Any], returns: Any) -> Callable[..., Any]:
    """`callback` as a function whose signature has these names and types."""

    @functools.wraps(callback)
    def function(*values: Any, **named: Any) -> Any:
        return callback(*values, **named)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    listed = [inspect.Parameter(name, kind, annotation=hint) for name, hint in parameters.items()]
    function.__signature__ = inspect.Signature(listed, return_annotation=returns)  # type: ignore[attr-defined]
    return function


def _numbers(shape: Any) -> tuple[int, ...]:
    """Sizes of a planned tensor; of a dynamic one those that TensorRT times it at."""
    return tuple(shape.opt) if shape.is_dynamic else tuple(shape)


def _is(size: Any, value: int) -> bool:
    """Whether a symbolic size is known while the engine is built, and is `value`."""
    return size.is_constant and size.constant_value() == value
