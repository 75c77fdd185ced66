"""What a file of ours is: model.onnx, checkpoint or report -> lines of (title, text)."""

from __future__ import annotations

from pathlib import Path

from hc_deploy.errors import MissingDependencyError, UsageError
from hc_deploy.files import require_file
from hc_deploy.spec import CHECKPOINTS

Lines = list[tuple[str, str]]
KINDS = "model.onnx, a checkpoint (.safetensors, .pth, .pt) or a report (.json)"


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
    if path.suffix == ".json":
        return lines + _report(path)
    if path.suffix != ".onnx" and path.suffix not in CHECKPOINTS:
        raise UsageError(f"{path}: unknown kind of file '{path.suffix}'", expected=KINDS)
    try:
        from hc_deploy.export.describe import describe_checkpoint, describe_onnx
    except ImportError as error:
        raise MissingDependencyError(
            f"reading {path} needs more than running it: {error}",
            expected="the export extra",
            mend="pip install torch onnx onnxscript safetensors",
        ) from None
    return lines + (describe_onnx(path) if path.suffix == ".onnx" else describe_checkpoint(path))


def _report(path: Path) -> Lines:
    from hc_deploy.bench.report import read_report

    report = read_report(path)
    height, width = report.workload.frame
    return [
        ("kind", f"latency report of {report.created}"),
        ("machine", f"{report.environment.cpu}, {report.environment.usable_cores} cores"),
        ("workload", f"frame {height}x{width}, {report.workload.rounds} rounds, baseline {report.baseline}"),
        *(
            (model.name, f"{model.arch} on {model.provider}, input {model.size[0]}x{model.size[1]}")
            for model in report.models
        ),
    ]
