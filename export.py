"""Checkpoint -> model.onnx -> model.engine, each verified: `python export.py CHECKPOINT [--engine FLAVOUR] -o DIR`."""

from __future__ import annotations

from hc_deploy import interrupts

if __name__ == "__main__":
    interrupts.take()  # before the first slow import

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hc_deploy.commands.engine import (
    EngineArguments,
    build_options,
    claim_files,
    print_engine,
    require_no_engine_options,
    require_ready,
    shown,
)
from hc_deploy.console import option_pairs, print_line, run_app
from hc_deploy.engine.options import BuildOptions, Shape
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.limits import MOST_BATCH, require_image_memory
from hc_deploy.shown import quoted
from hc_deploy.spec import CHANNELS, INPUT_KINDS, OUTPUTS, SCALES, ModelSpec, Output, Task, parse_size

if TYPE_CHECKING:
    from torch import nn

    from hc_deploy.evaluate.fidelity import Fidelity
    from hc_deploy.export.onnx import ExportedModel
    from models.asked import Asked
    from models.load import Loaded

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
MODEL_OPTIONS = "Model options (for --random-init, or in place of what the checkpoint says)"
ENGINE_OPTIONS = "Engine options (with --engine)"
CHECKPOINT = "Checkpoint options"
INPUT = "What the network was trained with (where its file does not say)"


@app.command()
def main(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="Checkpoint: safetensors, or what torch.save wrote.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder that model.onnx is written to.")] = Path(),
    arch: Annotated[
        str | None, typer.Option(help="Architecture, e.g. hcpspnet_resnet101, or your own package.module:factory.")
    ] = None,
    weights_from: Annotated[
        str | None,
        typer.Option(
            help="Whose weights: torchvision, mmseg, semseg, or auto (by the names) (default: this project's)."
        ),
    ] = None,
    random_init: Annotated[
        bool,
        typer.Option(
            "--random-init", help="No checkpoint: seeded random weights; of your own factory, those it gives."
        ),
    ] = False,
    state_key: Annotated[
        str | None, typer.Option(help="Which state dict of a file that holds several.", rich_help_panel=CHECKPOINT)
    ] = None,
    ignore_keys: Annotated[
        list[str] | None,
        typer.Option(help="Unexpected names to leave out, e.g. 'criterion.*'; repeatable.", rich_help_panel=CHECKPOINT),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="One number a channel, after --scale (default: ImageNet's).", rich_help_panel=INPUT),
    ] = None,
    std: Annotated[str | None, typer.Option(help="Likewise.", rich_help_panel=INPUT)] = None,
    channels: Annotated[
        str | None,
        typer.Option(help="What the network is fed: rgb, bgr or gray (default: rgb).", rich_help_panel=INPUT),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="What images are divided by first: 255 or 1 (default: 255).", rich_help_panel=INPUT),
    ] = None,
    classes_from: Annotated[
        str | None,
        typer.Option(help="Class names: a file, cityscapes or voc (default: numbers).", rich_help_panel=INPUT),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Probability of the second class, of a network with one channel (default: 0.5).", rich_help_panel=INPUT
        ),
    ] = None,
    size: Annotated[str, typer.Option(help="HEIGHTxWIDTH of the input.")] = "512x1024",
    batch: Annotated[int, typer.Option(min=1, max=MOST_BATCH, help="Images a run.")] = 1,
    dynamic: Annotated[bool, typer.Option("--dynamic", help="Any batch, height and width; --size is checked.")] = False,
    input_kind: Annotated[
        str,
        typer.Option("--input", help="uint8: RGB [B,H,W,3], normalised inside. float: normalised [B,3,H,W]."),
    ] = "uint8",
    outputs: Annotated[
        str | None, typer.Option(help=f"Comma-separated, of {', '.join(OUTPUTS['segmentation'])} (default: labels).")
    ] = None,
    level: Annotated[
        int | None, typer.Option(help="Hierarchical level, 0 to 4.", rich_help_panel=MODEL_OPTIONS)
    ] = None,
    branch: Annotated[
        str | None, typer.Option(help="Sampling branch: identity, residual or block.", rich_help_panel=MODEL_OPTIONS)
    ] = None,
    downsample: Annotated[
        str | None, typer.Option(help="Downsampling in the blocks: conv or dcnv2.", rich_help_panel=MODEL_OPTIONS)
    ] = None,
    deform: Annotated[
        str | None,
        typer.Option(
            help="DCNv2 as plain operators (sampled) or DeformConv (operator).", rich_help_panel=MODEL_OPTIONS
        ),
    ] = None,
    dim: Annotated[int | None, typer.Option(help="Embedding dimension K.", rich_help_panel=MODEL_OPTIONS)] = None,
    tau: Annotated[float | None, typer.Option(help="Softmax temperature.", rich_help_panel=MODEL_OPTIONS)] = None,
    similarity: Annotated[str | None, typer.Option(help="cosine or dot.", rich_help_panel=MODEL_OPTIONS)] = None,
    border: Annotated[str | None, typer.Option(help="zero or exclude.", rich_help_panel=MODEL_OPTIONS)] = None,
    assignment: Annotated[
        str | None, typer.Option(help="soft, or hard (Eq. 1).", rich_help_panel=MODEL_OPTIONS)
    ] = None,
    classes: Annotated[int | None, typer.Option(help="Number of classes.", rich_help_panel=MODEL_OPTIONS)] = None,
    width: Annotated[int | None, typer.Option(help="Channels of conv1.", rich_help_panel=MODEL_OPTIONS)] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="NAME=VALUE for your own factory.", rich_help_panel=MODEL_OPTIONS),
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="Build an engine too: tensorrt, or tensorrt-rtx (needs no GPU to build).")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, tf32, fp16 or bf16 (default: fp16).", rich_help_panel=ENGINE_OPTIONS)
    ] = None,
    keep_fp32: Annotated[
        list[str] | None,
        typer.Option(help="Operator type or node that stays in float32; repeatable.", rich_help_panel=ENGINE_OPTIONS),
    ] = None,
    min_shape: Annotated[
        str | None,
        typer.Option(help="BATCHxHEIGHTxWIDTH, of a dynamic model (default: 1x64x64).", rich_help_panel=ENGINE_OPTIONS),
    ] = None,
    opt_shape: Annotated[
        str | None,
        typer.Option(help="The shape it is tuned for (default: --batch x --size).", rich_help_panel=ENGINE_OPTIONS),
    ] = None,
    max_shape: Annotated[
        str | None, typer.Option(help="The largest (default: --opt-shape).", rich_help_panel=ENGINE_OPTIONS)
    ] = None,
    plugin: Annotated[
        str | None,
        typer.Option(
            help="library (make plugin), python (TensorRT >= 10.9) or none: standard operators (default: library).",
            rich_help_panel=ENGINE_OPTIONS,
        ),
    ] = None,
    plugin_library: Annotated[
        Path | None, typer.Option(help="Another libhc_plugins.so.", rich_help_panel=ENGINE_OPTIONS)
    ] = None,
    carry_plugin: Annotated[
        bool | None,
        typer.Option(
            "--carry-plugin/--no-carry-plugin",
            help="Put the plugin into the engine (default: yes).",
            rich_help_panel=ENGINE_OPTIONS,
            show_default=False,
        ),
    ] = None,
    workspace: Annotated[
        int | None, typer.Option(help="Most scratch memory, MiB (default: all).", rich_help_panel=ENGINE_OPTIONS)
    ] = None,
    optimization_level: Annotated[
        int | None,
        typer.Option(help="0 (built fast) to 5 (runs fast) (default: TensorRT's).", rich_help_panel=ENGINE_OPTIONS),
    ] = None,
    timing_cache: Annotated[
        Path | None, typer.Option(help="File of kernel timings, read and written.", rich_help_panel=ENGINE_OPTIONS)
    ] = None,
    version_compatible: Annotated[
        bool | None,
        typer.Option(
            "--version-compatible",
            help="For later TensorRT versions too.",
            rich_help_panel=ENGINE_OPTIONS,
            show_default=False,
        ),
    ] = None,
    hardware_compatible: Annotated[
        str | None, typer.Option(help="ampere_plus or same_compute_capability.", rich_help_panel=ENGINE_OPTIONS)
    ] = None,
    compute_capability: Annotated[
        list[str] | None,
        typer.Option(
            help="GPUs of a tensorrt-rtx engine, as 8.6; repeatable (default: all).", rich_help_panel=ENGINE_OPTIONS
        ),
    ] = None,
    typed_model: Annotated[
        Path | None,
        typer.Option(help="Also write the ONNX file as TensorRT gets it, for trtexec.", rich_help_panel=ENGINE_OPTIONS),
    ] = None,
) -> None:
    """Export a checkpoint to one verified ONNX file, and to an engine where --engine asks for one.

    The file holds the clustering ops as nodes of the domain hc_deploy with bodies of standard operators, for runtimes
    without the plugin, and its own description, so every later command needs the file and nothing else. It is run in
    ONNX Runtime and compared with torch before it takes its name: exit code 3 names the operator that differs.
    """
    given = {
        "level": level, "branch": branch, "downsample": downsample, "deform": deform, "dim": dim, "tau": tau,
        "similarity": similarity, "border": border, "assignment": assignment, "classes": classes, "width": width,
    }  # fmt: skip
    options = {name: value for name, value in given.items() if value is not None} | option_pairs(option or [])
    height, columns = parse_size(size)
    require_image_memory(batch, height, columns, mend="a smaller --size or --batch")
    _check(input_kind, checkpoint, arch, random_init)
    if random_init and weights_from is not None:
        raise UsageError("--random-init and --weights-from", expected="one of the two")
    arguments = EngineArguments(
        precision, keep_fp32, min_shape, opt_shape, max_shape, plugin, plugin_library, carry_plugin, workspace,
        optimization_level, timing_cache, version_compatible, hardware_compatible, compute_capability, typed_model,
    )  # fmt: skip
    if engine is None:
        require_no_engine_options(arguments)
    claim_files(checkpoint, output, arguments, engine=engine is not None)
    said = {"mean": mean, "std": std, "channels": channels, "scale": scale, "classes_from": classes_from}
    asked = _asked(said, threshold, (height, columns))
    loaded = _network(
        checkpoint, arch=arch, weights_from=weights_from, options=options, state_key=state_key,
        ignore_keys=ignore_keys or [], asked=asked,
    )  # fmt: skip
    net = loaded.net
    spec = replace(
        loaded.spec,
        input=input_kind,  # type: ignore[arg-type]
        outputs=_outputs(outputs, loaded.spec.task),
        batch=None if dynamic else batch,
        height=None if dynamic else height,
        width=None if dynamic else columns,
    )
    _require_memory(net, batch, height, columns)
    chosen = None
    if engine is not None:  # what can be refused is refused before minutes of export, not after
        chosen = build_options(engine, arguments, spec, Shape(batch, height, columns))
        require_ready(chosen, output)
    model = _export(net, spec, output / "model.onnx", (height, columns), loaded.notes)
    if chosen is not None:
        _build(model, output / "model.onnx", chosen, typed_model)
    _next(spec, output / ("model.onnx" if engine is None else "model.engine"))


def _require_memory(net: nn.Module, batch: int, height: int, width: int) -> None:
    from hc_deploy.export.memory import require_network_memory

    require_network_memory(net, batch=batch, height=height, width=width)


def _check(input_kind: str, checkpoint: Path | None, arch: str | None, random_init: bool) -> None:
    if input_kind not in INPUT_KINDS:
        raise UsageError(f"--input {input_kind}", expected=f"one of {', '.join(INPUT_KINDS)}")
    if random_init == (checkpoint is not None) or (random_init and arch is None):
        raise UsageError(
            "neither a checkpoint nor --random-init --arch NAME"
            if checkpoint is None
            else "a checkpoint and --random-init",
            expected="one of the two",
            mend="python export.py CHECKPOINT -o DIR, or python export.py --random-init --arch NAME -o DIR",
        )


def _outputs(text: str | None, task: Task) -> tuple[Output, ...]:
    legal = OUTPUTS[task]
    asked = [name.strip() for name in text.split(",")] if text is not None else [legal[0]]
    wanted = tuple(name for name in legal if name in asked)
    if sorted(wanted) != sorted(asked):
        raise UsageError(f"--outputs {text}", expected=f"each of {', '.join(legal)} at most once")
    if task == "segmentation" and not {"labels", "logits"} & set(wanted):
        raise UsageError(f"--outputs {text}", expected="labels or logits among them")
    return wanted


def _asked(said: dict[str, str | None], threshold: float | None, size: tuple[int, int]) -> Asked:
    """What the user says of the network's input, classes and threshold."""
    from hc_deploy.classes import read_classes
    from models.asked import Asked

    numbers = {name: _numbers(name, said[name]) for name in ("mean", "std", "scale")}
    if numbers["scale"] is not None and numbers["scale"] not in [(one,) for one in SCALES]:
        raise UsageError(f"--scale {said['scale']}", expected="255 or 1")
    if said["channels"] not in (None, *CHANNELS):
        raise UsageError(f"--channels {said['channels']}", expected=f"one of {', '.join(CHANNELS)}")
    if threshold is not None and not 0 < threshold < 1:
        raise UsageError(f"--threshold {threshold:g}", expected="a probability between 0 and 1")
    return Asked(
        mean=numbers["mean"],
        std=numbers["std"],
        channels=said["channels"],  # type: ignore[arg-type]
        scale=numbers["scale"][0] if numbers["scale"] else None,
        classes=read_classes(said["classes_from"]) if said["classes_from"] is not None else None,
        threshold=threshold,
        size=size,
    )


def _numbers(name: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise UsageError(f"--{name} {text}", expected="numbers with commas, e.g. 0.485,0.456,0.406") from None


def _network(
    checkpoint: Path | None,
    *,
    arch: str | None,
    weights_from: str | None,
    options: dict[str, Any],
    state_key: str | None,
    ignore_keys: list[str],
    asked: Asked,
) -> Loaded:
    from models.load import load_network, new_network
    from models.settle import settle

    if checkpoint is not None:
        return load_network(
            checkpoint, arch=arch, options=options, weights_from=weights_from, state_key=state_key,
            ignore_keys=ignore_keys, asked=asked,
        )  # fmt: skip
    assert arch is not None
    loaded = new_network(arch, options, asked=asked)
    if ":" not in arch:  # weights that somebody's factory has loaded are not random ones
        settle(loaded.net, loaded.spec)
    return loaded


def _export(
    net: nn.Module, spec: ModelSpec, path: Path, size: tuple[int, int], notes: tuple[str, ...]
) -> ExportedModel:
    from hc_deploy.export.model_file import drop_weights, on_trial, weight_files
    from hc_deploy.export.onnx import export_onnx
    from hc_deploy.files import atomic_path

    start = time.monotonic()
    replaced = weight_files(path)
    with atomic_path(path) as temporary:
        # A network of the registry takes any size, and a small one is traced faster.
        model = export_onnx(net, spec, example=size) if ":" in spec.arch else export_onnx(net, spec)
        with on_trial(model.proto, temporary):
            exported = time.monotonic()
            fidelity = _verify(net, model, temporary, size)
            verified = time.monotonic()
    drop_weights(replaced)
    _summary(model, path, fidelity, (exported - start, verified - exported), notes)
    return model


def _build(model: ExportedModel, onnx: Path, options: BuildOptions, typed_model: Path | None) -> None:
    """Gate the precision, build the engine, and compare it with the ONNX file where it can run."""
    from hc_deploy.engine.build import build_engine

    engine, said = onnx.with_suffix(".engine"), []
    precision = _verify_precision(model, onnx, options)
    with shown(options.flavour) as show:
        sidecar = build_engine(
            onnx, engine, model.spec, options, typed_model=typed_model, on_progress=show,
            verify=lambda built: said.append(_verify_engine(model, onnx, built, options)),
        )  # fmt: skip
    print_engine(engine, sidecar, precision_parity=precision, engine_parity=said[0])


def _verify_precision(model: ExportedModel, onnx: Path, options: BuildOptions) -> str:
    from hc_deploy.evaluate.fidelity import require_fidelity
    from hc_deploy.export.verify import measure_precision
    from hc_deploy.runtime import open_session

    if options.precision in ("fp32", "tf32"):
        return "the graph as it is"
    if options.precision == "bf16":
        return "not compared (ONNX Runtime has no bfloat16 on a CPU)"
    fidelity = measure_precision(
        model,
        onnx,
        options.precision,
        _profile_images(model.spec, options),
        keep_fp32=options.keep_fp32,
        open_session=open_session,
    )
    require_fidelity(
        fidelity,
        candidate=f"{model.spec.arch} in {options.precision}",
        cause="values beyond 65504, or sums of many terms, are what float16 loses",
        precision=options.precision,
        mend="--precision bf16 or fp32, or keep operators with --keep-fp32",
    )
    return fidelity.summary(reference="fp32")


def _verify_engine(model: ExportedModel, onnx: Path, engine: Path, options: BuildOptions) -> str:
    """Gate: the engine gives what the ONNX file gives in ONNX Runtime, at the ends of its profile that a CPU can do."""
    from hc_deploy.engine.sidecar import read_sidecar
    from hc_deploy.evaluate.fidelity import BOUNDS, measure_fidelity, require_fidelity
    from hc_deploy.export.near_ties import near_ties
    from hc_deploy.runtime import open_session
    from hc_deploy.runtime.engine_check import why_not_here

    reason = why_not_here(read_sidecar(engine))
    if reason is not None:
        return f"not run ({reason})"
    with (
        open_session(onnx) as reference,
        open_session(engine) as candidate,
        near_ties(model.proto, model.spec, open_session) as ties,
    ):
        images = _profile_images(reference.spec, options)
        tolerance = BOUNDS[options.precision].tie
        fidelity = measure_fidelity(reference, candidate, images, explained=ties, tolerance=tolerance)
    require_fidelity(fidelity, candidate="the engine", cause="", precision=options.precision, mend="--precision fp32")
    return fidelity.summary(reference="ONNX Runtime")


def _profile_images(spec: ModelSpec, options: BuildOptions) -> Iterator[Any]:
    """Parity images of the tuned shape, and one of the least where that is another."""
    from hc_deploy.evaluate.parity_images import parity_images

    tuned, least = options.profile.tuned, options.profile.least
    for shape, count in ((tuned, 2), (least, 1 if least != tuned else 0)):
        fixed = replace(spec, batch=shape.batch, height=shape.height, width=shape.width)
        yield from itertools.islice(parity_images(fixed, size=(shape.height, shape.width)), count)


def _verify(net: nn.Module, model: ExportedModel, path: Path, size: tuple[int, int]) -> Fidelity:
    """Gate: the file at `path` gives in ONNX Runtime what the network gives in torch."""
    from hc_deploy.evaluate.fidelity import measure_fidelity, require_fidelity
    from hc_deploy.evaluate.parity_images import parity_images
    from hc_deploy.export.diagnose import describe, divergences, worst
    from hc_deploy.export.untouched import Untouched
    from hc_deploy.export.verify import OnnxUnderTest
    from hc_deploy.runtime import open_session

    spec = model.spec
    reference = Untouched(net, spec)
    # What somebody's own network takes is known at --size alone; twice that is a multiple of whatever it needs.
    other = (2 * size[0], size[1]) if ":" in spec.arch else None
    with OnnxUnderTest(model, path, open_session) as candidate:
        try:
            fidelity = measure_fidelity(reference, candidate, parity_images(spec, size=size, other=other))
        except DeployError as error:
            if spec.size is not None:
                raise
            raise DeployError(
                f"{spec.arch} does not run at every size: {error.received}", expected="one that does, for --dynamic",
                mend="without --dynamic, one --size a model",
            ) from None  # fmt: skip
        if fidelity.failures():
            images = parity_images(spec, size=size, other=other)
            found = max((divergences(model, image, candidate.run_proto) for image in images), key=worst)
            require_fidelity(fidelity, candidate=spec.arch, cause=describe(found))
    return fidelity


def _summary(
    model: ExportedModel, path: Path, fidelity: Fidelity, seconds: tuple[float, float], notes: tuple[str, ...]
) -> None:
    from collections import Counter

    from hc_deploy.export.model_file import weight_files

    spec = model.spec
    custom = Counter(node.op_type for node in model.proto.graph.node if node.domain)
    shown = ", ".join(f"{count} {name}" for name, count in sorted(custom.items())) or "none"
    dims = [str(size) if size else "any" for size in (spec.batch, spec.height, spec.width)]
    for file in (path, *weight_files(path)):
        print_line(f"{file}  {file.stat().st_size / 1e6:.1f} MB" + (", which belongs to it" if file != path else ""))
    classes = f", {len(spec.classes)} classes" if spec.classes else ""
    print_line(f"  network   {spec.arch}: {spec.task}{classes}, level {spec.level}")
    print_line(f"  input     {spec.input}, batch {dims[0]}, {dims[1]} x {dims[2]}; outputs {', '.join(spec.outputs)}")
    print_line(f"  fed       {spec.normalisation_text()}")
    for note in notes:
        print_line(f"  weights   {note}")
    print_line(f"  nodes     {len(model.proto.graph.node)}, of them custom: {shown}")
    print_line(f"  parity    {fidelity.summary()}")
    print_line(f"  time      {seconds[0]:.1f} s export, {seconds[1]:.1f} s verification")


def _next(spec: ModelSpec, path: Path) -> None:
    if spec.outputs == ("logits",):
        follow = f"hc-deploy inspect {quoted(path)}"
    else:
        follow = f"hc-deploy video {quoted(path)} VIDEO -o out.mp4, or hc-deploy infer {quoted(path)} IMAGES -o DIR"
    print_line(f"next: {follow}")


if __name__ == "__main__":
    run_app(app)
