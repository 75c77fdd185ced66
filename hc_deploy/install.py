"""The install line of each thing that may be missing, said the same by every message. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hc_deploy.errors import MissingDependencyError, first_line
from hc_deploy.spec import Flavour

NUMPY = "pip install numpy"
OPENCV = "pip install opencv-python"
TORCH = "pip install torch"
EXPORT = "pip install torch onnx onnx-ir onnxscript safetensors"
ONNX = "pip install onnx"
ENGINE = "pip install onnx onnx-ir onnxscript onnxruntime"
ONNXRUNTIME = "pip install onnxruntime"
ONNXRUNTIME_GPU = 'pip install "onnxruntime-gpu[cuda,cudnn]"'
"""The plain onnxruntime-gpu brings neither CUDA nor cuDNN, and its CUDA provider does not load without them."""
OPENVINO = "pip install openvino onnx onnx-ir"
PYCUDA = "pip install pycuda"
CUDA_BINDINGS = "pip install cuda-bindings"
TENSORRT: dict[Flavour, str] = {
    "tensorrt": "pip install tensorrt cuda-bindings",
    "tensorrt-rtx": "pip install tensorrt-rtx-cu13 cuda-bindings",
}
TENSORRT_LEAN = "pip install tensorrt_lean cuda-bindings"


@contextmanager
def importing(what: str, *, extra: str, mend: str) -> Iterator[None]:
    """Imports in the block that fail become one MissingDependencyError: `what` is not to be had without `extra`."""
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(f"{what}: {first_line(error)}", expected=f"the {extra} extra", mend=mend) from None
