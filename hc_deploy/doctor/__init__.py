"""What is installed, what really works, and the install line of what is missing. The machine enters, findings leave.

Nothing is believed from a version number alone where it can be tried: a provider runs a model, a codec writes a video,
TensorRT-RTX builds an engine.
"""

from __future__ import annotations

from hc_deploy import install
from hc_deploy.doctor.findings import Finding, Status, package

__all__ = ["Finding", "Status", "examine"]


def examine() -> list[Finding]:
    """All findings, in the order of the pipeline."""
    from hc_deploy.doctor import gpu, runtimes

    return [
        runtimes.machine(),
        package("numpy", "numpy", "everything", install.NUMPY, required=True),
        package("opencv-python", "cv2", "frames and videos", install.OPENCV, required=True),
        *runtimes.onnxruntime(),
        runtimes.native_ops(),
        runtimes.openvino(),
        *runtimes.codecs(),
        *(
            package(name, module, "export", install.EXPORT)
            for name, module in (
                ("torch", "torch"), ("onnx", "onnx"), ("onnxscript", "onnxscript"), ("safetensors", "safetensors"),
            )
        ),
        *gpu.driver(),
        gpu.kernels(),
        *gpu.plugins(),
        *gpu.tensorrt(),
    ]  # fmt: skip
