"""A parsed network -> what it holds (`layers`), and the builder's configuration for it (`configure`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hc_deploy.engine.flavours import capabilities_of
from hc_deploy.engine.options import BuildOptions
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.shown import quoted
from hc_deploy.system.files import require_file

MIB = 1 << 20


def layers(trt: Any, network: Any) -> dict[str, Any]:
    """Counts for `sidecar.Layers`, of the network as parsed."""
    names = {trt.float32: "fp32", trt.float16: "fp16", trt.bfloat16: "bf16"}
    heavy = {trt.LayerType.CONVOLUTION, trt.LayerType.DECONVOLUTION}
    plugins: Counter[str] = Counter()
    types: Counter[str] = Counter()
    computing: Counter[str] = Counter()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        is_plugin = layer.type == trt.LayerType.PLUGIN_V3
        if is_plugin:
            plugins[_plugin_name(trt, layer)] += 1
        # What a layer computes in: the type that it takes (HCArgmax gives integers).
        name = names.get(layer.get_input(0).dtype) if layer.num_inputs else names.get(layer.get_output(0).dtype)
        if name is None:
            continue
        types[name] += 1
        if is_plugin or layer.type in heavy:
            computing[name] += 1
    return {
        "source": "network",
        "count": network.num_layers,
        "plugins": plugins,
        "types": types,
        "computing": computing,
    }


def _plugin_name(trt: Any, layer: Any) -> str:
    """The op of a plugin layer: from the plugin where the bindings give it, else from the layer's name."""
    layer.__class__ = trt.IPluginV3Layer
    try:
        return str(layer.plugin.get_capability_interface(trt.PluginCapabilityType.CORE).plugin_name)
    except (AttributeError, TypeError):
        return str(layer.name).removeprefix("node_").rstrip("_0123456789")


def configure(
    trt: Any, builder: Any, network: Any, options: BuildOptions, *, has_plugins: bool, shapes: Sequence[Sequence[int]]
) -> Any:
    """The builder's configuration for `options`; `shapes` are the least, the tuned and the largest of the image.

    Raises:
        UsageError: a compute capability or hardware level that this TensorRT does not build for.
        DeployError: the plugin library or the timing cache cannot be read.
    """
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # so that the inspector tells the layers' types
    tf32 = trt.BuilderFlag.TF32
    config.set_flag(tf32) if options.precision == "tf32" else config.clear_flag(tf32)
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware != "none":
        level = getattr(trt.HardwareCompatibilityLevel, options.hardware.upper(), None)
        if level is None:
            raise UsageError(
                f"--hardware-compatible {options.hardware}", expected="a newer TensorRT", mend="ampere_plus"
            )
        config.hardware_compatibility_level = level
    if options.compute_capabilities:
        _set_capabilities(trt, config, options.compute_capabilities)
    if has_plugins and options.carried_library is not None:
        config.plugins_to_serialize = [options.carried_library]
    if options.timing_cache is not None:
        _set_timing_cache(config, Path(options.timing_cache))
    _set_profile(builder, network, config, shapes)
    return config


def _set_capabilities(trt: Any, config: Any, capabilities: tuple[str, ...]) -> None:
    known = capabilities_of(trt)
    unknown = [text for text in capabilities if text not in known]
    if unknown:
        raise UsageError(
            f"--compute-capability {unknown[0]}",
            expected=f"one that this TensorRT-RTX builds for: {', '.join(known)}",
            mend="--engine tensorrt for other GPUs",
        )
    config.num_compute_capabilities = len(capabilities)
    for index, text in enumerate(capabilities):
        config.set_compute_capability(known[text], index)


def _set_timing_cache(config: Any, path: Path) -> None:
    data = require_file(path, what="a timing cache").read_bytes() if path.exists() else b""
    if not config.set_timing_cache(config.create_timing_cache(data), False):
        raise DeployError(
            f"{path} is no timing cache of this TensorRT and GPU",
            expected="one that was written here",
            mend=f"rm {quoted(path)}",
        )


def _set_profile(builder: Any, network: Any, config: Any, shapes: Sequence[Sequence[int]]) -> None:
    image = network.get_input(0)
    if -1 not in tuple(image.shape):
        return
    profile = builder.create_optimization_profile()
    profile.set_shape(image.name, *(tuple(shape) for shape in shapes))
    config.add_optimization_profile(profile)
