"""The compiled TensorRT plugin: its path -> our four ops in the plugin registry of a TensorRT module.

The ops can come into a registry by two roads, this library or the quick plugins of Python. Both use the same names, so
one process takes one of them.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import ModuleType

from hc_deploy.errors import DeployError, MissingDependencyError
from hc_deploy.system.files import require_file

LIBRARY = Path(__file__).parent.parent / "lib" / "libhc_plugins.so"
NAMESPACE = "hc_deploy"
OPS = ("HCArgmax", "HCAssign", "HCDecode", "HCUpsample")
WHAT = "the compiled TensorRT plugin (libhc_plugins.so)"

_registered: dict[str, Path] = {}
"""Module name -> library that `register` put into its registry, which a process has once a module."""


def find(path: Path | str | None = None) -> Path:
    """The plugin library: `path`, or where `make plugin` puts it.

    Raises:
        MissingDependencyError: none was named and none is built.
        DeployError: `path` is not a readable file.
    """
    if path is not None:
        return require_file(Path(path), what=WHAT)
    if not LIBRARY.exists():
        raise MissingDependencyError(
            f"{LIBRARY} does not exist",
            expected=WHAT,
            mend="make plugin (needs nvcc and TensorRT's headers), or name the library",
        )
    return LIBRARY


def registered_ops(trt: ModuleType) -> tuple[str, ...]:
    """Names of the ops of our namespace in the registry of `trt`, by whichever road they came."""
    creators = trt.get_plugin_registry().all_creators
    return tuple(sorted({creator.name for creator in creators if creator.plugin_namespace == NAMESPACE}))


def register(trt: ModuleType, path: Path) -> None:
    """Load the library into the registry of `trt` (the module of `flavours.load`); a second call does nothing.

    Raises:
        DeployError: the file is no plugin library of ours, or the ops are registered already by other means.
    """
    path = path.resolve()
    if _registered.get(trt.__name__) == path:
        return
    if present := registered_ops(trt):
        source = _registered.get(trt.__name__, "other means than this library")
        raise DeployError(
            f"{', '.join(present)} are already registered with {trt.__name__}, by {source}; {path} cannot be as well",
            expected="one road to the plugins in a process: the compiled library or the quick plugins",
            mend="a new process",
        )
    _require_plugin_library(path)
    trt.get_plugin_registry().load_library(str(path))
    if registered_ops(trt) != OPS:
        raise DeployError(
            f"{path} gave {trt.__name__} the ops {registered_ops(trt) or 'none'} in namespace {NAMESPACE}",
            expected=", ".join(OPS),
            mend="make plugin",
        )
    _registered[trt.__name__] = path


def _require_plugin_library(path: Path) -> None:
    """TensorRT tells a failed load to its log alone; the system's loader says why."""
    require_file(path, what=WHAT)
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise DeployError(f"{path} cannot be loaded: {error}", expected=WHAT, mend="make plugin") from None
    if not hasattr(library, "getCreators"):
        raise DeployError(f"{path} has no function getCreators", expected=WHAT, mend="make plugin")
