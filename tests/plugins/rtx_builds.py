"""A process of its own that parses and builds models with TensorRT-RTX, for tests: a builder that ends the process ends
this one. stdin: JSON {"library": path or null, "models": [{"path", "profile", "build"}]}; stdout: a JSON line a model.
"""

import json
import sys
import time
from pathlib import Path

from hc_deploy.engine import flavours, plugin_library


def plugin_layers(trt, network):
    """(op, version, namespace, output shape) of each plugin in the network, in its order; the shape may be unknown."""
    found = []
    for layer in network:
        if layer.type == trt.LayerType.PLUGIN_V3:
            layer.__class__ = trt.IPluginV3Layer
            core = layer.plugin.get_capability_interface(trt.PluginCapabilityType.CORE)
            try:
                shape = list(layer.get_output(0).shape)
            except RuntimeError:  # the plugin refused its inputs
                shape = None
            found.append([core.plugin_name, core.plugin_version, core.plugin_namespace, shape])
    return found


def build(trt, logger, model):
    logger.messages.clear()
    start = time.monotonic()
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(Path(model["path"]).read_bytes())
    result = {"parsed": parsed, "layers": network.num_layers, "plugins": plugin_layers(trt, network), "bytes": 0}
    if parsed and model["build"]:
        config = builder.create_builder_config()
        if model["profile"]:
            profile = builder.create_optimization_profile()
            for name, shapes in model["profile"].items():
                profile.set_shape(name, *shapes)
            config.add_optimization_profile(profile)
        engine = builder.build_serialized_network(network, config)
        result["bytes"] = engine.nbytes if engine is not None else 0
    return {**result, "messages": list(logger.messages), "seconds": time.monotonic() - start}


def main():
    request = json.load(sys.stdin)
    trt = flavours.load("tensorrt-rtx")

    class Logger(trt.ILogger):
        def __init__(self):
            super().__init__()
            self.messages = []

        def log(self, severity, text):
            if severity <= trt.ILogger.Severity.WARNING:
                self.messages.append(f"{severity.name}: {text}")

    if request["library"]:
        plugin_library.register(trt, Path(request["library"]))
    logger = Logger()
    for model in request["models"]:
        print(json.dumps(build(trt, logger, model)), flush=True)


if __name__ == "__main__":
    main()
