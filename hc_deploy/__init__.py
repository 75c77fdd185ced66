"""Deployment toolkit for dense-prediction networks with hierarchical clustering: checkpoint, ONNX, engine, video.

The names below are loaded when they are first used, and what each needs (torch, onnx, a GPU) when it is called.
Functions return values and raise `DeployError`; nothing prints.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hc_deploy.arrows.benchmark import benchmark, compare
    from hc_deploy.arrows.build import Built, build_engine
    from hc_deploy.arrows.export import Exported, export_model, load_checkpoint
    from hc_deploy.arrows.segment import segment_image, segment_video
    from hc_deploy.engine.options import BuildOptions
    from hc_deploy.errors import DeployError
    from hc_deploy.runtime.opening import open_session
    from hc_deploy.runtime.session import Session
    from hc_deploy.spec import ModelSpec

__version__ = "0.1.0"
__all__ = [
    "BuildOptions",
    "Built",
    "DeployError",
    "Exported",
    "ModelSpec",
    "Session",
    "benchmark",
    "build_engine",
    "compare",
    "export_model",
    "load_checkpoint",
    "open_session",
    "segment_image",
    "segment_video",
]
_HOMES = {
    "hc_deploy.arrows.benchmark": ("benchmark", "compare"),
    "hc_deploy.arrows.build": ("Built", "build_engine"),
    "hc_deploy.arrows.export": ("Exported", "export_model", "load_checkpoint"),
    "hc_deploy.arrows.segment": ("segment_image", "segment_video"),
    "hc_deploy.engine.options": ("BuildOptions",),
    "hc_deploy.errors": ("DeployError",),
    "hc_deploy.runtime.opening": ("open_session",),
    "hc_deploy.runtime.session": ("Session",),
    "hc_deploy.spec": ("ModelSpec",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'hc_deploy' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
