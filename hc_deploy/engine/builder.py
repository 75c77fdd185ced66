"""The builder's own process: a request on standard input, events on standard output, an engine in a file.

TensorRT ends the whole process on some faults, and holds the interpreter's lock for minutes: so it works in a child
(`build.py` is the parent), and whatever happens here becomes one clear line there. Run as `python -m
hc_deploy.engine.builder`. Events are JSON, one a line: `stage`, `log`, `phase`, `layers`, `done`, `error`.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hc_deploy.engine import flavours, plugin_library
from hc_deploy.engine.configure import configure, layers
from hc_deploy.engine.inspected import engine_layers
from hc_deploy.engine.options import BuildOptions
from hc_deploy.errors import DeployError
from hc_deploy.system.children import leave_signals_to_the_parent
from hc_deploy.system.files import write_bytes, write_error
from hc_deploy.system.gpu import read_gpu
from hc_deploy.system.temporary import temporary_folder

EVENTS_PER_SECOND = 20


class Events:
    """Writes events to the parent, on a copy of standard output: TensorRT's own prints go to standard error."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def emit(self, event: str, **fields: Any) -> None:
        self._file.write(json.dumps({"event": event, **fields}) + "\n")


def main() -> None:
    """Build what the request asks for; never raises, exits 1 after an `error` event."""
    leave_signals_to_the_parent()
    events = Events()
    try:
        _build(json.load(sys.stdin), events)
    except DeployError as error:
        _fail(error, events)
    except MemoryError:
        _fail(DeployError("the builder ran out of host memory"), events)
    _leave(0)


def _fail(error: DeployError, events: Events) -> None:
    events.emit("error", kind=type(error).__name__, received=error.received, expected=error.expected, mend=error.mend)
    _leave(1)


def _leave(code: int) -> None:
    """End without TensorRT's own clean-up, which may crash once the engine is written."""
    atexit._run_exitfuncs()
    os._exit(code)


def _build(request: Mapping[str, Any], events: Events) -> None:
    options = BuildOptions.from_json(request["options"])
    events.emit("stage", name="load")
    trt = _load(options)
    flavours.require_builder_device(options.flavour)
    logger = flavours.error_logger(trt, lambda message: events.emit("log", text=message))
    events.emit("stage", name="precision")
    from hc_deploy.graph.model_file import write_model

    model = _typed_model(Path(request["onnx"]), options, events)
    if request["typed_model"] is not None:
        write_model(model, Path(request["typed_model"]))
    events.emit("stage", name="parse")
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    with temporary_folder() as folder:  # a file, for one of more than 2 GiB points to its weights
        write_model(model, folder / "typed.onnx")
        if not parser.parse_from_file(str(folder / "typed.onnx")):
            raise _refusal(parser, options)
    del model
    found = layers(trt, network)
    events.emit("layers", **found)
    config = configure(trt, builder, network, options, has_plugins=bool(found["plugins"]), shapes=request["shapes"])
    config.progress_monitor = _monitor(trt, events)
    events.emit("stage", name="build")
    start = time.monotonic()
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise DeployError(
            "TensorRT could not build the engine", expected="a network that it can build within its limits"
        )
    seconds = time.monotonic() - start
    _inspect(trt, logger, engine, options, events)
    events.emit("stage", name="write")
    _write(Path(request["engine"]), engine)
    if options.timing_cache is not None:
        write_bytes(Path(options.timing_cache), memoryview(config.get_timing_cache().serialize()))
    events.emit("done", version=trt.__version__, seconds=seconds)


def _inspect(trt: Any, logger: Any, data: Any, options: BuildOptions, events: Events) -> None:
    """Tell what the engine computes in, where there is a GPU that opens it; else the parsed network's types stand."""
    if read_gpu(clocks=False) is None:
        return
    runtime = trt.Runtime(logger)
    if options.carried_library is not None:
        runtime.engine_host_code_allowed = True  # it was built here, a moment ago
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:  # an RTX engine on a GPU that is not RTX, say
        return
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    try:
        events.emit("layers", **engine_layers(text))
    except ValueError as error:
        events.emit("log", text=f"inspector: {error}")


def _load(options: BuildOptions) -> Any:
    trt = flavours.load(options.flavour)
    if options.plugin == "library":
        plugin_library.register(trt, plugin_library.find(options.plugin_library))
    elif options.plugin == "python":
        from hc_deploy.engine import quick_plugins

        quick_plugins.register(trt)
    return trt


def _typed_model(path: Path, options: BuildOptions, events: Events) -> Any:
    """The model as TensorRT gets it: its precision in the graph, its custom ops for the plugin or as their bodies."""
    from hc_deploy.graph.functions import as_plugin_nodes, as_standard_operators
    from hc_deploy.graph.model_file import read_model
    from hc_deploy.graph.precision import expected_types, with_precision

    model = with_precision(read_model(path), options.precision, keep_fp32=options.keep_fp32)
    events.emit("expected", types=expected_types(model))
    return as_standard_operators(model) if options.plugin == "none" else as_plugin_nodes(model)


def _network_flags(trt: Any) -> int:
    """Strongly typed: the graph's types hold. TensorRT 11 and RTX are so anyway."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _refusal(parser: Any, options: BuildOptions) -> DeployError:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    said = "; ".join(" ".join(error.desc().split()) for error in errors) or "no reason given"
    nodes = ", ".join(
        sorted({f"{error.node_operator()} '{error.node_name()}'" for error in errors if error.node_name()})
    )
    mend = None
    if "DeformConv" in said + nodes:
        mend = "export with --deform sampled (DCNv2 as standard operators)"
    elif options.plugin == "none":
        mend = "--plugin library"
    return DeployError(
        f"{options.flavour} cannot take {nodes or 'the model'}: {said}"[:1500],
        expected="operators that this flavour has, with inputs that fit them",
        mend=mend,
    )


def _monitor(trt: Any, events: Events) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Phases are nested; a step of an outer phase is told at once, of inner ones at most twenty times a second."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}
            self.told = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            events.emit("phase", name=phase_name, parent=parent_phase, done=0, total=num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            now = time.monotonic()
            if now - self.told > 1 / EVENTS_PER_SECOND:
                self.told = now
                events.emit("phase", name=phase_name, done=step + 1, total=self.steps.get(phase_name, 0))
            return True

        def phase_finish(self, phase_name: str) -> None:
            total = self.steps.pop(phase_name, 0)
            events.emit("phase", name=phase_name, done=total, total=total)

    return Monitor()


def _write(path: Path, data: Any) -> None:
    """Straight to the name that the parent gave and removes if anything goes wrong."""
    try:
        path.write_bytes(memoryview(data))
    except OSError as error:
        raise write_error(path, error) from None


if __name__ == "__main__":
    main()
