"""The exported file as a session whose outputs also hold the logits, so that parity is gated on them too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from hc_deploy.evaluate.fidelity import BOUNDS, Fidelity, measure_fidelity
from hc_deploy.export.deployed import deployed_labels
from hc_deploy.export.diagnose import expose_values, logits_value
from hc_deploy.export.model_file import write_model
from hc_deploy.export.near_ties import near_ties
from hc_deploy.export.onnx import ExportedModel
from hc_deploy.export.precision import with_precision
from hc_deploy.runtime.session import Array, Outputs, Session, SessionBase
from hc_deploy.spec import ModelSpec, Precision
from hc_deploy.temporary import temporary_folder


def has_logits(spec: ModelSpec) -> bool:
    """Whether the logits are computed at all: not for other tasks, nor for superpixels alone."""
    return spec.task == "segmentation" and not {"labels", "logits"}.isdisjoint(spec.outputs)


class OnnxUnderTest(SessionBase):
    """The model file itself, and beside it a copy that exposes the logits.

    Outputs of the file come from the file; `logits` (and `labels`, where the file gives logits alone) from the copy.

    Args:
        model: what was exported. path: the file it was written to.
        open_session: opens a model file (handed in: `export` knows no runtime).
    """

    _copies = True  # the two sessions do

    def __init__(self, model: ExportedModel, path: Path, open_session: Callable[[Path], Session]) -> None:
        self.spec, self.name = model.spec, model.spec.arch
        self._open = open_session
        self._segments = has_logits(model.spec)
        self._held = ExitStack()
        self._folder = self._held.enter_context(temporary_folder())
        self._file = self._held.enter_context(open_session(path))
        self._exposed: Session | None = None
        if self._segments and "logits" not in model.spec.outputs:
            self._logits = logits_value(model.proto, binary=model.spec.threshold is not None)
            exposed = self._open_proto(expose_values(model.proto, [self._logits]), "logits")
            self._exposed = self._held.enter_context(exposed)
        self.provider = self._file.provider

    def _load(self, images: Array) -> None:
        self._size = images.shape[1:3] if self.spec.input == "uint8" else images.shape[2:]
        for session in self._sessions():
            session.load(images)

    def _execute(self) -> None:
        for session in self._sessions():
            session.execute()

    def _fetch(self) -> Outputs:
        outputs = self._file.fetch()
        if self._exposed is not None:
            outputs["logits"] = self._exposed.fetch()[self._logits]
        if self._segments and "labels" not in outputs:
            outputs["labels"] = deployed_labels(torch.from_numpy(outputs["logits"]), self.spec, self._size).numpy()
        return outputs

    def run_proto(self, proto: onnx.ModelProto, images: np.ndarray[Any, Any]) -> Outputs:
        """All graph outputs of another model on `images`, in the same runtime."""
        with self._open_proto(proto, "values") as session:
            return session.run(images)

    def _close(self) -> None:
        self._held.close()

    def _sessions(self) -> list[Session]:
        return [self._file] if self._exposed is None else [self._file, self._exposed]

    def _open_proto(self, proto: onnx.ModelProto, name: str) -> Session:
        path = self._folder / f"{name}.onnx"
        write_model(proto, path)
        return self._open(path)


def measure_precision(
    model: ExportedModel,
    path: Path,
    precision: Precision,
    images: Iterable[Array],
    *,
    keep_fp32: Iterable[str] = (),
    open_session: Callable[[Path], Session],
) -> Fidelity:
    """What the precision of an engine changes, before there is an engine: the retyped graph against the float32 one.

    `path` is the file that `model` was written to.

    Both run in ONNX Runtime, which on a CPU rounds every float16 value as a GPU does and adds up in float32. It has
    no bfloat16 there.
    """
    typed = replace(model, proto=with_precision(model.proto, precision, keep_fp32=keep_fp32))
    with temporary_folder() as folder:
        retyped = folder / f"{precision}.onnx"
        write_model(typed.proto, retyped)
        with (
            OnnxUnderTest(model, path, open_session) as reference,
            OnnxUnderTest(typed, retyped, open_session) as candidate,
            near_ties(model.proto, model.spec, open_session) as ties,
        ):
            return measure_fidelity(reference, candidate, images, explained=ties, tolerance=BOUNDS[precision].tie)
