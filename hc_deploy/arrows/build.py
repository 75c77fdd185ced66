"""model.onnx -> verified model.engine: `build_engine`. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hc_deploy import install
from hc_deploy.system.files import require_file

if TYPE_CHECKING:
    from hc_deploy.engine.build import Progress
    from hc_deploy.engine.options import BuildOptions
    from hc_deploy.engine.sidecar import Sidecar
    from hc_deploy.spec import ModelSpec

MODEL = "a model.onnx made by export.py"
BUILDING = "building an engine needs more than running one"


@dataclass(frozen=True)
class Built:
    """An engine that was built.

    Attributes:
        engine: the file; its sidecar lies beside it. sidecar: what stands in that.
        precision_parity: what the precision changes in the graph, in words. engine_parity: the engine against the ONNX
            file, or why it was not run here.
    """

    engine: Path
    sidecar: Sidecar
    precision_parity: str
    engine_parity: str


def build_engine(
    onnx: Path | str,
    engine: Path | str,
    options: BuildOptions,
    *,
    typed_model: Path | str | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Built:
    """Build a TensorRT engine that gives what the ONNX file gives; nothing is written where it does not.

    Args:
        onnx: a model.onnx of `export_model`.
        engine: what to write; its sidecar goes beside it.
        options: see `BuildOptions`; `BuildOptions.of` fills in the defaults.
        typed_model: where to keep the model as TensorRT gets it (precision in the graph), for trtexec and the like.
        on_progress: called as the build goes on.

    Raises:
        DeployError: the flavour refuses the model, or its builder died; the message says at what and its last words.
        GateError: the precision or the engine changes the answers too much, or the engine lacks the precision.
        MissingDependencyError: onnx, the flavour, the plugin library or a GPU that it needs is not there.
    """
    onnx, engine = Path(onnx), Path(engine)
    require_file(onnx, what=MODEL)
    with install.importing(BUILDING, extra="engine", mend=install.ENGINE):
        from hc_deploy.graph.model_file import read_model, spec_of
        from hc_deploy.parity.gates import gate_engine, gate_precision
    from hc_deploy.engine.build import run_builder
    from hc_deploy.engine.sidecar import read_sidecar
    from hc_deploy.runtime.engine_check import why_not_here
    from hc_deploy.runtime.opening import open_bodies

    model = read_model(onnx)
    spec = spec_of(model, onnx)
    precision_parity = gate_precision(model, spec, onnx, options, open_bodies)
    said: list[str] = []

    def verify(built: Path) -> None:
        reason = why_not_here(read_sidecar(built))
        said.append(f"not run ({reason})" if reason else gate_engine(model, onnx, built, options, open_bodies))

    sidecar = run_builder(
        onnx, engine, spec, options,
        typed_model=None if typed_model is None else Path(typed_model), on_progress=on_progress, verify=verify,
    )  # fmt: skip
    return Built(engine, sidecar, precision_parity, said[0])


def read_spec(onnx: Path) -> ModelSpec:
    """What a model.onnx takes and gives.

    Raises:
        DeployError: it was not made by `export_model`. MissingDependencyError: what reads it is not installed.
    """
    require_file(onnx, what=MODEL)
    with install.importing(BUILDING, extra="engine", mend=install.ENGINE):
        from hc_deploy.graph.model_file import read_spec as read
    return read(onnx)
