"""model.onnx -> model.engine and its sidecar: `build_engine`, the parent of the builder's process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from hc_deploy import errors
from hc_deploy.engine import plugin_library
from hc_deploy.engine.options import BuildOptions
from hc_deploy.engine.sidecar import FileRecord, Layers, Sidecar, sidecar_path
from hc_deploy.errors import DeployError, GateError
from hc_deploy.files import atomic_path, require_file
from hc_deploy.gpu import read_gpu
from hc_deploy.spec import ModelSpec, Precision

COMPUTED_AS: dict[Precision, str] = {"fp32": "fp32", "tf32": "fp32", "fp16": "fp16", "bf16": "bf16"}
LEAST_SHARE = {"network": 0.9, "engine": 0.5}
"""Least share of convolutions and plugins in the type asked for; below it something took the graph back to float32. In
an engine, fused layers at the network's ends count as well."""
LAST_LINES = 3


@dataclass
class Progress:
    """Where a build is, for whoever shows it.

    Attributes:
        stage: load, precision, parse, build or write. phase, done, total: the builder's outermost phase and its steps.
    """

    stage: str = "load"
    phase: str = ""
    done: int = 0
    total: int = 0


@dataclass
class _Told:
    """What the child has told so far."""

    progress: Progress = field(default_factory=Progress)
    messages: list[str] = field(default_factory=list)
    layers: dict[str, Any] | None = None
    finished: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


def build_engine(
    onnx: Path,
    engine: Path,
    spec: ModelSpec,
    options: BuildOptions,
    *,
    typed_model: Path | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Sidecar:
    """Build an engine from a model; both files take their names only when all is well.

    Args:
        onnx: the model, as `export.py` wrote it. engine: what to write; its sidecar goes beside it.
        spec: what the model eats and gives.
        typed_model: where to keep the model as TensorRT gets it (precision in the graph), for trtexec and the like.
        on_progress: called as the build goes on.

    Raises:
        DeployError: the flavour refuses the model, or its builder died; the message says at what and its last words.
        GateError: the network does not compute in the precision asked for.
        MissingDependencyError: the flavour, the plugin library or a GPU that it needs is not there.
    """
    require_file(onnx, what="a model.onnx made by export.py")
    library = None
    if options.plugin == "library":
        path = plugin_library.find(Path(options.plugin_library) if options.plugin_library else None)
        library, options = FileRecord.of(path), replace(options, plugin_library=str(path))
    with atomic_path(engine) as temporary:
        request = {
            "onnx": str(onnx),
            "engine": str(temporary),
            "typed_model": None if typed_model is None else str(typed_model),
            "options": asdict(options),
        }
        told = _run(request, options, on_progress or (lambda _: None))
        assert told.layers is not None and told.finished is not None
        layers = Layers(**told.layers)
        _require_precision(layers, options)
        sidecar = Sidecar(
            spec=spec,
            options=options,
            version=told.finished["version"],
            engine=replace(FileRecord.of(temporary), name=engine.name),
            onnx=FileRecord.of(onnx),
            layers=layers,
            plugin=library if layers.plugins else None,
            device=read_gpu(),
            seconds=round(told.finished["seconds"], 3),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        sidecar_path(engine).unlink(missing_ok=True)  # an old one never stands beside a new engine
    sidecar.write(engine)
    return sidecar


def _require_precision(layers: Layers, options: BuildOptions) -> None:
    wanted = COMPUTED_AS[options.precision]
    total = sum(layers.computing.values())
    if not total:
        raise GateError("the network has no convolution or plugin", expected="a network")
    least = LEAST_SHARE[layers.source]
    if layers.computing.get(wanted, 0) / total < least and not options.keep_fp32:
        raise GateError(
            f"--precision {options.precision}: of {total} convolutions and plugins {layers.shares()} "
            f"(in the {layers.source})",
            expected=f"at least {least:.0%} in {wanted}",
            mend="--precision fp32, or name what may stay with --keep-fp32",
        )


def _run(request: dict[str, Any], options: BuildOptions, on_progress: Callable[[Progress], None]) -> _Told:
    told = _Told()
    with tempfile.TemporaryFile() as noise:
        child = subprocess.Popen(
            [sys.executable, "-m", "hc_deploy.engine.builder"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=noise, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(json.dumps(request))
            child.stdin.close()
            for line in child.stdout:
                _take(json.loads(line), told)
                on_progress(told.progress)
            child.wait()
        finally:  # Ctrl-C as well: the child ends with us, and its file goes with it
            child.kill()
            child.wait()
        if child.returncode != 0 or told.finished is None:
            raise _failure(told, child.returncode, noise, options)
    return told


def _take(event: dict[str, Any], told: _Told) -> None:
    kind = event.pop("event")
    if kind == "stage":
        told.progress = Progress(stage=event["name"])
    elif kind == "phase":
        current = told.progress
        if event.get("parent") is None and "parent" in event:
            told.progress = Progress(current.stage, event["name"], 0, event["total"])
        elif event["name"] == current.phase:
            current.done = event["done"]
    elif kind == "log":
        if event["severity"] != "warning":
            told.messages.append(event["text"])
    elif kind == "layers":  # first the network's, then the engine's: plugins are known by name in the former
        told.layers = event if told.layers is None else {**event, "plugins": told.layers["plugins"]}
    elif kind == "done":
        told.finished = event
    elif kind == "error":
        told.error = event


def _failure(told: _Told, code: int, noise: IO[bytes], options: BuildOptions) -> DeployError:
    """The one error that a failed child becomes: what it was doing, and its last words."""
    noise.seek(0)
    printed = [line for line in noise.read().decode(errors="replace").splitlines() if line.strip()]
    words = [*told.messages[-LAST_LINES:], *printed[-1:]]
    last = "; ".join(" ".join(word.split()) for word in words)[:1500]
    if told.error is not None:
        kind = getattr(errors, told.error["kind"], DeployError)
        received = told.error["received"]
        if last and last not in received:
            received += f"\nTensorRT says: {last}"
        failure: DeployError = kind(received, expected=told.error["expected"], mend=told.error["mend"])
        return failure
    stage = {"load": "loading", "precision": "setting the precision", "parse": "parsing"}.get(
        told.progress.stage, told.progress.stage
    )
    how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"
    out_of_memory = -code == signal.SIGKILL or "out of memory" in last.lower() or "bad_alloc" in last
    return DeployError(
        f"the {options.flavour} builder died of {how} at: {stage} {told.progress.phase}".rstrip()
        + (f"\nits last words: {last}" if last else ""),
        expected="it to finish" + ("; the machine's memory is the likely limit" if out_of_memory else ""),
        mend="a smaller --max-shape, or --workspace MIB" if out_of_memory else "hc-deploy doctor",
    )
