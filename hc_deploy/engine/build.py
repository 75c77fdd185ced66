"""model.onnx -> model.engine and its sidecar: `run_builder`, the parent of the builder's process.

What users call is `hc_deploy.arrows.build.build_engine`, which puts the gates around it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

from hc_deploy import errors
from hc_deploy.engine import plugin_library
from hc_deploy.engine.options import BuildOptions
from hc_deploy.engine.sidecar import FileRecord, Layers, Sidecar, sidecar_path
from hc_deploy.errors import DeployError, GateError
from hc_deploy.spec import ModelSpec, Precision
from hc_deploy.system.files import atomic_path, require_file
from hc_deploy.system.gpu import read_gpu
from hc_deploy.system.interrupts import cleanup
from hc_deploy.system.temporary import temporary_folder

COMPUTED_AS: dict[Precision, str] = {"fp32": "fp32", "tf32": "fp32", "fp16": "fp16", "bf16": "bf16"}
LEAST_SHARE = 0.85
"""Of convolutions and custom ops, in the type asked for; with less (and no --keep-fp32) the graph hardly has it. Ids of
superpixels are decoded in float32: four of 34 layers at level 4 of a network that gives nothing else."""
TOLERANCE = {"network": 0.05, "engine": 0.4}
"""How much less of them the layers may compute in it. An engine's fused layers at the network's ends count as well."""
LAST_LINES = 3
OUT_OF_MEMORY = re.compile(r"out of memory|outofmemory|bad_alloc|workspace|insufficient memory", re.IGNORECASE)
SMALLER = "a smaller --max-shape, or another --workspace MIB"


@dataclass(frozen=True)
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
class _BuilderState:
    """What the child has told so far."""

    progress: Progress = field(default_factory=Progress)
    messages: list[str] = field(default_factory=list)
    expected: dict[str, int] = field(default_factory=dict)
    layers: dict[str, Any] | None = None
    finished: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


def run_builder(
    onnx: Path,
    engine: Path,
    spec: ModelSpec,
    options: BuildOptions,
    *,
    typed_model: Path | None = None,
    verify: Callable[[Path], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Sidecar:
    """Build an engine from a model; both files take their names only when all is well.

    Args:
        onnx: the model, as `export.py` wrote it. engine: what to write; its sidecar goes beside it.
        spec: what the model eats and gives.
        typed_model: where to keep the model as TensorRT gets it (precision in the graph), for trtexec and the like.
        verify: called with the finished engine under its temporary name, sidecar beside it; what it raises undoes all.
        on_progress: called as the build goes on.

    Raises:
        DeployError: the flavour refuses the model, or its builder died; the message says at what and its last words.
        GateError: the network does not compute in the precision asked for.
        MissingDependencyError: the flavour, the plugin library or a GPU that it needs is not there.
    """
    require_file(onnx, what="a model.onnx made by export.py")
    library = None
    if options.plugin == "library":
        path = plugin_library.find(options.plugin_library)
        library, options = FileRecord.of(path), replace(options, plugin_library=str(path))
    if sidecar_path(engine).is_dir():
        raise DeployError(f"{sidecar_path(engine)} is a folder", expected="room for the sidecar", mend="another -o")
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(atomic_path(engine))
        beside = sidecar_path(temporary)
        stack.enter_context(cleanup(partial(beside.unlink, missing_ok=True)))
        request = {
            "onnx": str(onnx),
            "engine": str(temporary),
            "shapes": [
                spec.input_shape(batch=shape.batch, height=shape.height, width=shape.width)
                for shape in (options.profile.least, options.profile.tuned, options.profile.most)
            ],
            "typed_model": str(stack.enter_context(atomic_path(typed_model))) if typed_model else None,
            "options": asdict(options),
        }
        told = _run(request, options, on_progress or (lambda _: None))
        files = (replace(FileRecord.of(temporary), name=engine.name), FileRecord.of(onnx), library)
        sidecar = _sidecar(spec, options, told, files)
        _require_precision(sidecar.layers, told.expected, options)
        sidecar.write(temporary)
        if verify is not None:
            verify(temporary)
        beside.replace(sidecar_path(engine))  # an engine that is not its sidecar's is not opened
    return sidecar


def _sidecar(
    spec: ModelSpec, options: BuildOptions, told: _BuilderState, files: tuple[FileRecord, FileRecord, FileRecord | None]
) -> Sidecar:
    """The record of a build; `files` are the engine, the model and the plugin library."""
    assert told.layers is not None and told.finished is not None
    layers = Layers(**told.layers)
    return Sidecar(
        spec=spec,
        options=options,
        version=told.finished["version"],
        engine=files[0],
        onnx=files[1],
        layers=layers,
        plugin=files[2] if layers.plugins else None,
        device=read_gpu(),
        seconds=round(told.finished["seconds"], 3),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _require_precision(layers: Layers, expected: dict[str, int], options: BuildOptions) -> None:
    """GateError unless the layers compute in the types that the typed graph gave them."""
    wanted, total = COMPUTED_AS[options.precision], sum(layers.computing.values())
    if not total:
        return
    found, asked = layers.computing.get(wanted, 0) / total, expected.get(wanted, 0) / (sum(expected.values()) or 1)
    least = asked - TOLERANCE[layers.source]
    if found < least or (asked < LEAST_SHARE and not options.keep_fp32):
        raise GateError(
            f"--precision {options.precision}: of {total} convolutions and plugins {layers.shares()} "
            f"(in the {layers.source})",
            expected=f"at least {max(least, LEAST_SHARE if not options.keep_fp32 else 0):.0%} in {wanted}",
            mend="--precision fp32, or name what may stay with --keep-fp32",
        )


def _run(request: dict[str, Any], options: BuildOptions, on_progress: Callable[[Progress], None]) -> _BuilderState:
    told = _BuilderState()
    with tempfile.TemporaryFile() as noise, temporary_folder() as scratch:
        child = subprocess.Popen(
            [sys.executable, "-m", "hc_deploy.engine.builder"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=noise, text=True, start_new_session=True,
            env={**os.environ, "TMPDIR": str(scratch)},  # a killed child cannot remove its own
        )  # fmt: skip
        try:
            with cleanup(partial(_end, child)):  # before its files go, which it would write again
                assert child.stdin is not None and child.stdout is not None
                child.stdin.write(json.dumps(request))
                child.stdin.close()
                for line in child.stdout:
                    if not line.endswith("\n"):
                        break  # killed while it told something
                    _take(json.loads(line), told)
                    on_progress(told.progress)
                child.wait()
        finally:
            child.wait()
        if child.returncode != 0 or told.finished is None:
            raise _failure(told, child.returncode, noise, options)
    return told


def _end(child: subprocess.Popen[str]) -> None:
    """Kill the child and wait until it is gone; it is not reaped: Ctrl-C may come within `child.wait`."""
    child.kill()
    with contextlib.suppress(ChildProcessError, AttributeError):  # gone already; Windows
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


def _take(event: dict[str, Any], told: _BuilderState) -> None:
    kind = event.pop("event")
    if kind in ("stage", "phase"):
        told.progress = _moved_on(told.progress, event) if kind == "phase" else Progress(stage=event["name"])
    elif kind == "log":
        told.messages.append(event["text"])
    elif kind == "expected":
        told.expected = event["types"]
    elif kind == "layers":  # first the network's, then the engine's: plugins are known by name in the former
        told.layers = event if told.layers is None else {**event, "plugins": told.layers["plugins"]}
    elif kind == "done":
        told.finished = event
    elif kind == "error":
        told.error = event


def _moved_on(progress: Progress, event: dict[str, Any]) -> Progress:
    """Of the builder's nested phases the outermost is shown."""
    if "parent" in event and event["parent"] is None:
        return Progress(progress.stage, event["name"], 0, event["total"])
    if event["name"] == progress.phase:
        return replace(progress, done=event["done"])
    return progress


def _failure(told: _BuilderState, code: int, noise: IO[bytes], options: BuildOptions) -> DeployError:
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
        mend = told.error["mend"] or (SMALLER if OUT_OF_MEMORY.search(last) else None)
        failure: DeployError = kind(received, expected=told.error["expected"], mend=mend)
        return failure
    stage = {"load": "loading", "precision": "setting the precision", "parse": "parsing"}.get(
        told.progress.stage, told.progress.stage
    )
    how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"exit code {code}"
    out_of_memory = -code == signal.SIGKILL or OUT_OF_MEMORY.search(last)
    return DeployError(
        f"the {options.flavour} builder died of {how} at: {stage} {told.progress.phase}".rstrip()
        + (f"\nits last words: {last}" if last else ""),
        expected="it to finish" + ("; the machine's memory is the likely limit" if out_of_memory else ""),
        mend=SMALLER if out_of_memory else "hc-deploy doctor",
    )
