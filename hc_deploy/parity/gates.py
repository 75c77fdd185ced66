"""The gates between a model and an engine: what the precision changes, and whether the engine repeats the model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hc_deploy.graph.model_file import write_model
from hc_deploy.graph.precision import with_precision
from hc_deploy.parity.exposed import OnnxUnderTest
from hc_deploy.parity.fidelity import BOUNDS, Fidelity, measure_fidelity, require_fidelity
from hc_deploy.parity.id_ties import near_ties
from hc_deploy.parity.images import parity_images
from hc_deploy.runtime.session import Array, Session
from hc_deploy.spec import ModelSpec, Precision
from hc_deploy.system.temporary import temporary_folder

if TYPE_CHECKING:
    import onnx

    from hc_deploy.engine.options import BuildOptions

Opener = Callable[[Path], Session]
"""Opens a model file: handed in, for `parity` knows no runtime."""


def measure_precision(
    model: onnx.ModelProto,
    spec: ModelSpec,
    path: Path,
    precision: Precision,
    images: Iterable[Array],
    *,
    keep_fp32: Iterable[str] = (),
    open_session: Opener,
) -> Fidelity:
    """What the precision of an engine changes, before there is an engine: the retyped graph against the float32 one.

    Both run in ONNX Runtime, which on a CPU rounds every float16 value as a GPU does and adds up in float32. It has
    no bfloat16 there.

    Args:
        model, spec: in float32. path: the file that `model` was read from or written to.
    """
    typed = with_precision(model, precision, keep_fp32=keep_fp32)
    with temporary_folder() as folder:
        retyped = folder / f"{precision}.onnx"
        write_model(typed, retyped)
        with (
            OnnxUnderTest(model, spec, path, open_session) as reference,
            OnnxUnderTest(typed, spec, retyped, open_session) as candidate,
            near_ties(model, spec, open_session) as ties,
        ):
            return measure_fidelity(reference, candidate, images, explained=ties, tolerance=BOUNDS[precision].tie)


def gate_precision(
    model: onnx.ModelProto, spec: ModelSpec, path: Path, options: BuildOptions, open_session: Opener
) -> str:
    """What the precision changes, in words; GateError where it is too much. Arguments as of `measure_precision`."""
    if options.precision in ("fp32", "tf32"):
        return "the graph as it is"
    if options.precision == "bf16":
        return "not compared (ONNX Runtime has no bfloat16 on a CPU)"
    fidelity = measure_precision(
        model, spec, path, options.precision, profile_images(spec, options),
        keep_fp32=options.keep_fp32, open_session=open_session,
    )  # fmt: skip
    require_fidelity(
        fidelity,
        candidate=f"{spec.arch} in {options.precision}",
        cause="values beyond 65504, or sums of many terms, are what float16 loses",
        precision=options.precision,
        mend="--precision bf16 or fp32, or keep operators with --keep-fp32",
    )
    return fidelity.summary(reference="fp32")


def gate_engine(model: onnx.ModelProto, path: Path, engine: Path, options: BuildOptions, open_session: Opener) -> str:
    """The engine against the ONNX file, in words; GateError where they differ. `model` is what is in `path`."""
    with (
        open_session(path) as reference,
        open_session(engine) as candidate,
        near_ties(model, reference.spec, open_session) as ties,
    ):
        images = profile_images(reference.spec, options)
        tolerance = BOUNDS[options.precision].tie
        fidelity = measure_fidelity(reference, candidate, images, explained=ties, tolerance=tolerance)
    require_fidelity(fidelity, candidate="the engine", cause="", precision=options.precision, mend="--precision fp32")
    return fidelity.summary(reference="ONNX Runtime")


def profile_images(spec: ModelSpec, options: BuildOptions) -> Iterator[Array]:
    """Parity images of the tuned shape, and one of the least where that is another: what a CPU can do of a profile."""
    tuned, least = options.profile.tuned, options.profile.least
    for shape, count in ((tuned, 2), (least, 1 if least != tuned else 0)):
        fixed = replace(spec, batch=shape.batch, height=shape.height, width=shape.width)
        yield from itertools.islice(parity_images(fixed, size=(shape.height, shape.width)), count)
