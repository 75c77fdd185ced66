"""The exported file as a session whose outputs also hold the logits, so that parity is gated on them too."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from hc_deploy.graph.expose import expose_values, logits_value
from hc_deploy.graph.model_file import write_model
from hc_deploy.parity.label_ties import enlarged_labels
from hc_deploy.runtime.session import Array, Outputs, Session, SessionBase
from hc_deploy.spec import ModelSpec
from hc_deploy.system.temporary import temporary_folder


def has_logits(spec: ModelSpec) -> bool:
    """Whether the logits are computed at all: not for other tasks, nor for superpixels alone."""
    return spec.task == "segmentation" and not {"labels", "logits"}.isdisjoint(spec.outputs)


class OnnxUnderTest(SessionBase):
    """The model file itself, and beside it a copy that exposes the logits.

    Outputs of the file come from the file; `logits` (and `labels`, where the file gives logits alone) from the copy.

    Args:
        model, spec: what was exported. path: the file it was written to.
        open_session: opens a model file (handed in: `parity` knows no runtime).
    """

    _copies = True  # the two sessions do

    def __init__(
        self, model: onnx.ModelProto, spec: ModelSpec, path: Path, open_session: Callable[[Path], Session]
    ) -> None:
        self.spec, self.name = spec, spec.arch
        self._open = open_session
        self._segments = has_logits(spec)
        self._held = ExitStack()
        self._folder = self._held.enter_context(temporary_folder())
        self._file = self._held.enter_context(open_session(path))
        self._exposed: Session | None = None
        if self._segments and "logits" not in spec.outputs:
            self._logits = logits_value(model, binary=spec.threshold is not None)
            exposed = self._open_proto(expose_values(model, [self._logits]), "logits")
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
            outputs["labels"] = enlarged_labels(outputs["logits"], self.spec, self._size)
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
