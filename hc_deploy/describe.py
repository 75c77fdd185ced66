"""What a file of ours is: model.onnx, model.engine, checkpoint or report -> lines of (title, text)."""

from __future__ import annotations

from pathlib import Path

from hc_deploy import install
from hc_deploy.engine.sidecar import FileRecord, verify_engine
from hc_deploy.errors import DeployError, MissingDependencyError, UsageError
from hc_deploy.graph.external_data import require_external_data
from hc_deploy.shown import quoted
from hc_deploy.spec import METADATA_KEY, ModelSpec, network_text
from hc_deploy.system.digest import file_sha256
from hc_deploy.system.files import require_file

Lines = list[tuple[str, str]]
KINDS = "model.onnx, model.engine, a checkpoint (.safetensors, .pth, .pt) or a report (.json)"


def describe(path: Path) -> Lines:
    """Titles and texts that describe the file; a folder stands for the model.onnx in it.

    Raises:
        DeployError: missing, truncated or of no kind that is known.
        MissingDependencyError: reading this kind needs the export extra.
    """
    if path.is_dir() and (path / "model.onnx").exists():
        path = path / "model.onnx"
    require_file(path, what=KINDS)
    lines = [("file", f"{path}, {path.stat().st_size / 1e6:.2f} MB")]
    if path.suffixes[-2:] == [".engine", ".json"]:
        raise UsageError(
            f"{path} is the sidecar of an engine",
            expected=KINDS,
            mend=f"hc-deploy inspect {quoted(path.with_suffix(''))}",
        )
    if path.suffix == ".engine":
        return lines + _engine(path)
    lines.append(("sha256", file_sha256(path)))
    if path.suffix == ".json" and not path.name.endswith(".index.json"):
        return lines + _report(path)
    if path.suffix == ".onnx":
        return lines + _onnx(path)
    with install.importing(f"reading {path} needs more than running a model", extra="export", mend=install.EXPORT):
        from hc_deploy.export.describe import describe_checkpoint
    return lines + describe_checkpoint(path)


def _onnx(path: Path) -> Lines:
    """A model.onnx: by the onnx package, or where that is not installed by ONNX Runtime, which tells no operators."""
    beside = require_external_data(path)
    lines = [("weights in", f"{file.name}, {file.stat().st_size / 1e6:.2f} MB") for file in beside]
    try:
        from hc_deploy.graph.describe import describe_graph
    except ImportError:
        from hc_deploy.runtime import open_session

        with open_session(path) as session:
            return [*lines, *_spec(session.spec), ("operators", f"not listed: {install.ONNX} shows them")]
    spec, graph = describe_graph(path)
    kind = f"ONNX without '{METADATA_KEY}' metadata: not made by export.py, hc-deploy cannot run it"
    told = [*_spec(spec), *_refused(path)] if spec is not None else [("kind", kind)]
    return lines + told + graph


def _refused(path: Path) -> Lines:
    """A line where no command would run the model: its metadata does not fit its graph, say."""
    from hc_deploy.runtime import open_session

    try:
        open_session(path).close()
    except MissingDependencyError:
        return []
    except DeployError as error:
        return [("refused", error.received.splitlines()[0])]
    return []


def _spec(spec: ModelSpec) -> Lines:
    sides = [str(side) if side is not None else "any" for side in (spec.batch, spec.height, spec.width)]
    lines = [
        ("kind", "model exported by hc_deploy"),
        ("network", network_text(spec.arch, spec.options) + f", level {spec.level}"),
        ("classes", f"{len(spec.classes)}: {', '.join(spec.classes)}"),
        ("takes", f"{spec.input} RGB, batch {sides[0]}, height {sides[1]}, width {sides[2]}"),
        ("gives", ", ".join(spec.outputs)),
    ]
    if spec.input == "float":
        lines.append(("normalisation", f"by the caller: mean {spec.mean}, deviation {spec.std}"))
    return lines


def _engine(path: Path) -> Lines:
    """The sidecar, whether the engine is the one that it describes, and the engine itself where there is a GPU."""

    sidecar = verify_engine(path)
    options, layers, device = sidecar.options, sidecar.layers, sidecar.device
    where = (
        f"{device.name} ({device.compute_capability}), driver {device.driver}" if device else "a machine without a GPU"
    )
    travels = "travels in the engine" if sidecar.carries_plugin else "must be there when it runs"
    lines = [
        ("sha256", sidecar.engine.sha256),
        ("kind", f"engine of {options.flavour} {sidecar.version}, the one its sidecar describes"),
        ("network", f"{sidecar.spec.arch}, level {sidecar.spec.level}, from {sidecar.onnx}"),
        ("takes", f"{sidecar.spec.input} RGB, batch x height x width {options.profile}"),
        ("gives", ", ".join(sidecar.spec.outputs)),
        ("precision", f"{options.precision} asked for; of convolutions and plugins {layers.shares()}"),
        ("layers", f"{layers.count} in the {layers.source}; plugins: {layers.plugin_counts()}"),
        ("plugin", f"{sidecar.plugin}, {travels}" if sidecar.plugin else "not needed"),
        ("GPUs", ", ".join(options.compute_capabilities) or "all of the flavour, or the builder's own"),
        ("built", f"{sidecar.created} on {where}, in {sidecar.seconds:.1f} s"),
    ]  # fmt: skip
    return lines + _another_onnx(path, sidecar.onnx) + _opened(path)


def _another_onnx(path: Path, built_from: FileRecord) -> Lines:
    """A line where the ONNX file beside the engine is not the one that it was built from."""
    beside = path.with_name(built_from.name)
    if not beside.is_file():
        return []
    found = FileRecord.of(beside)
    if found.sha256 == built_from.sha256:
        return []
    return [("beside", f"another {found}: the engine was not built from it")]


def _opened(path: Path) -> Lines:
    """The engine itself, or why it is not opened here."""
    from hc_deploy.runtime.tensorrt import TensorRtSession
    from hc_deploy.system.gpu import read_gpu

    if read_gpu(clocks=False) is None:
        return [("engine", "not opened: no GPU here")]
    try:
        with TensorRtSession(path) as session:
            memory = session.memory()
    except DeployError as error:
        return [("engine", f"not opened: {error.received.splitlines()[0]}")]
    return [
        ("engine", f"opens here; {memory.engine / 1e6:.1f} MB of scratch, {memory.free / 1e6:.0f} MB free beside it")
    ]


def _report(path: Path) -> Lines:
    from hc_deploy.bench.report import read_report
    from hc_deploy.bench.results import what_ran

    report = read_report(path)
    height, width = report.workload.frame
    return [
        ("kind", f"latency report of {report.created}"),
        ("machine", f"{report.environment.cpu}, {report.environment.usable_cores} cores"),
        ("workload", f"frame {height}x{width}, {report.workload.rounds} rounds, baseline {report.baseline}"),
        *(
            (model.name, "{}: {}; precision {}; input {}".format(model.arch, *what_ran(model)))
            for model in report.models
        ),
    ]
