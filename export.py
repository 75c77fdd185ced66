"""Checkpoint -> model.onnx -> model.engine, each verified: `python export.py CHECKPOINT [--engine FLAVOUR] -o DIR`."""

from __future__ import annotations

from hc_deploy.system import interrupts

if __name__ == "__main__":
    interrupts.install()  # before the first slow import

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hc_deploy.commands.engine import (
    ENGINE_FILES,
    EngineArguments,
    build_options,
    claim_files,
    print_engine,
    require_no_engine_options,
    require_ready,
    shown,
)
from hc_deploy.commands.options import spread
from hc_deploy.commands.summary import next_line
from hc_deploy.console import option_pairs, print_line, run_app
from hc_deploy.engine.options import BuildOptions, Shape
from hc_deploy.errors import UsageError
from hc_deploy.shown import quoted
from hc_deploy.spec import CHANNELS, INPUT_KINDS, OUTPUTS, SCALES, ModelSpec, Output, Task, parse_size
from hc_deploy.system.limits import MOST_BATCH, require_image_memory

if TYPE_CHECKING:
    from torch import nn

    from hc_deploy.arrows.export import Exported
    from models.asked import Asked
    from models.load import Loaded

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
MODEL_OPTIONS = "Model options (for --random-init, or in place of what the checkpoint says)"
CHECKPOINT = "Checkpoint options"
INPUT = "What the network was trained with (where its file does not say)"


@dataclass(frozen=True)
class CheckpointArguments:
    """What of the file is loaded."""

    weights_from: Annotated[
        str | None,
        typer.Option(
            help="Whose weights: torchvision, mmseg, semseg, or auto (by the names) (default: this project's).",
            rich_help_panel=CHECKPOINT,
        ),
    ] = None
    state_key: Annotated[
        str | None, typer.Option(help="Which state dict of a file that holds several.", rich_help_panel=CHECKPOINT)
    ] = None
    ignore_keys: Annotated[
        list[str] | None,
        typer.Option(help="Unexpected names to leave out, e.g. 'criterion.*'; repeatable.", rich_help_panel=CHECKPOINT),
    ] = None


@dataclass(frozen=True)
class InputArguments:
    """What the network is fed, and what its classes are, as typed."""

    mean: Annotated[
        str | None,
        typer.Option(help="One number a channel, after --scale (default: ImageNet's).", rich_help_panel=INPUT),
    ] = None
    std: Annotated[str | None, typer.Option(help="Likewise.", rich_help_panel=INPUT)] = None
    channels: Annotated[
        str | None,
        typer.Option(help="What the network is fed: rgb, bgr or gray (default: rgb).", rich_help_panel=INPUT),
    ] = None
    scale: Annotated[
        str | None,
        typer.Option(help="What images are divided by first: 255 or 1 (default: 255).", rich_help_panel=INPUT),
    ] = None
    classes_from: Annotated[
        str | None,
        typer.Option(help="Class names: a file, cityscapes or voc (default: numbers).", rich_help_panel=INPUT),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Probability of the second class, of a network with one channel (default: 0.5).", rich_help_panel=INPUT
        ),
    ] = None


@dataclass(frozen=True)
class ModelArguments:
    """Build options of the network; None: not given."""

    level: Annotated[int | None, typer.Option(help="Hierarchical level, 0 to 4.", rich_help_panel=MODEL_OPTIONS)] = None
    branch: Annotated[
        str | None, typer.Option(help="Sampling branch: identity, residual or block.", rich_help_panel=MODEL_OPTIONS)
    ] = None
    downsample: Annotated[
        str | None, typer.Option(help="Downsampling in the blocks: conv or dcnv2.", rich_help_panel=MODEL_OPTIONS)
    ] = None
    deform: Annotated[
        str | None,
        typer.Option(
            help="DCNv2 as plain operators (sampled) or DeformConv (operator).", rich_help_panel=MODEL_OPTIONS
        ),
    ] = None
    dim: Annotated[int | None, typer.Option(help="Embedding dimension K.", rich_help_panel=MODEL_OPTIONS)] = None
    tau: Annotated[float | None, typer.Option(help="Softmax temperature.", rich_help_panel=MODEL_OPTIONS)] = None
    similarity: Annotated[str | None, typer.Option(help="cosine or dot.", rich_help_panel=MODEL_OPTIONS)] = None
    border: Annotated[str | None, typer.Option(help="zero or exclude.", rich_help_panel=MODEL_OPTIONS)] = None
    assignment: Annotated[str | None, typer.Option(help="soft, or hard (Eq. 1).", rich_help_panel=MODEL_OPTIONS)] = None
    classes: Annotated[int | None, typer.Option(help="Number of classes.", rich_help_panel=MODEL_OPTIONS)] = None
    width: Annotated[int | None, typer.Option(help="Channels of conv1.", rich_help_panel=MODEL_OPTIONS)] = None
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="NAME=VALUE for your own factory.", rich_help_panel=MODEL_OPTIONS),
    ] = None

    def options(self) -> dict[str, Any]:
        """What was typed."""
        named = {name: value for name, value in asdict(self).items() if name != "option" and value is not None}
        return named | option_pairs(self.option or [])


@app.command()
@spread(loading=CheckpointArguments, fed=InputArguments, built=ModelArguments, engine_options=EngineArguments)
def main(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="Checkpoint: safetensors, or what torch.save wrote.")
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder that model.onnx is written to.")] = Path(),
    arch: Annotated[
        str | None, typer.Option(help="Architecture, e.g. hcpspnet_resnet101, or your own package.module:factory.")
    ] = None,
    random_init: Annotated[
        bool,
        typer.Option(
            "--random-init", help="No checkpoint: seeded random weights; of your own factory, those it gives."
        ),
    ] = False,
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
    engine: Annotated[
        str | None, typer.Option(help="Build an engine too: tensorrt, or tensorrt-rtx (needs no GPU to build).")
    ] = None,
    *,
    loading: CheckpointArguments,
    fed: InputArguments,
    built: ModelArguments,
    engine_options: EngineArguments,
) -> None:
    """Export a checkpoint to one verified ONNX file, and to an engine where --engine asks for one.

    The file holds the clustering ops as nodes of the domain hc_deploy with bodies of standard operators, for runtimes
    without the plugin, and its own description, so every later command needs the file and nothing else. It is run in
    ONNX Runtime and compared with torch before it takes its name: exit code 3 names the operator that differs.
    """
    height, columns = parse_size(size)
    require_image_memory(batch, height, columns, mend="a smaller --size or --batch")
    _check(input_kind, checkpoint, arch, random_init)
    if random_init and loading.weights_from is not None:
        raise UsageError("--random-init and --weights-from", expected="one of the two")
    if engine is None:
        require_no_engine_options(engine_options)
    names = ("model.onnx", *ENGINE_FILES) if engine is not None else ("model.onnx",)
    claim_files(checkpoint, output, engine_options, names)
    asked = _asked(fed, (height, columns))
    loaded = _network(checkpoint, arch, built.options(), loading, asked)
    spec = replace(
        loaded.spec,
        input=input_kind,  # type: ignore[arg-type]
        outputs=_outputs(outputs, loaded.spec.task),
        batch=None if dynamic else batch,
        height=None if dynamic else height,
        width=None if dynamic else columns,
    )
    _require_memory(loaded.net, batch, height, columns)
    chosen = None
    if engine is not None:  # what can be refused is refused before minutes of export, not after
        chosen = build_options(engine, engine_options, spec, Shape(batch, height, columns))
        require_ready(chosen, output)
    from hc_deploy.arrows.export import export_model

    any_size = ":" not in spec.arch  # as all networks of the registry
    exported = export_model(loaded.net, spec, output / "model.onnx", size=(height, columns), any_size=any_size)
    _print_model(exported, loaded.notes)
    if chosen is not None:
        _build(output / "model.onnx", chosen, engine_options.typed_model)
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


def _asked(fed: InputArguments, size: tuple[int, int]) -> Asked:
    """What the user says of the network's input, classes and threshold."""
    from hc_deploy.classes import read_classes
    from models.asked import Asked

    mean, std, scale = _numbers("mean", fed.mean), _numbers("std", fed.std), _numbers("scale", fed.scale)
    if scale is not None and scale not in [(one,) for one in SCALES]:
        raise UsageError(f"--scale {fed.scale}", expected="255 or 1")
    if fed.channels not in (None, *CHANNELS):
        raise UsageError(f"--channels {fed.channels}", expected=f"one of {', '.join(CHANNELS)}")
    if fed.threshold is not None and not 0 < fed.threshold < 1:
        raise UsageError(f"--threshold {fed.threshold:g}", expected="a probability between 0 and 1")
    return Asked(
        mean=mean,
        std=std,
        channels=fed.channels,  # type: ignore[arg-type]
        scale=scale[0] if scale else None,
        classes=read_classes(fed.classes_from) if fed.classes_from is not None else None,
        threshold=fed.threshold,
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
    checkpoint: Path | None, arch: str | None, options: dict[str, Any], loading: CheckpointArguments, asked: Asked
) -> Loaded:
    from models.calibrate import calibrate
    from models.load import load_network, new_network

    if checkpoint is not None:
        return load_network(
            checkpoint, arch=arch, options=options, weights_from=loading.weights_from, state_key=loading.state_key,
            ignore_keys=loading.ignore_keys or [], asked=asked,
        )  # fmt: skip
    assert arch is not None
    loaded = new_network(arch, options, asked=asked)
    if ":" not in arch:  # weights that somebody's factory has loaded are not random ones
        calibrate(loaded.net, loaded.spec)
    return loaded


def _build(onnx: Path, options: BuildOptions, typed_model: Path | None) -> None:
    from hc_deploy.arrows.build import build_engine

    with shown(options.flavour) as show:
        built = build_engine(onnx, onnx.with_suffix(".engine"), options, typed_model=typed_model, on_progress=show)
    print_engine(built)


def _print_model(exported: Exported, notes: tuple[str, ...]) -> None:
    """What was exported; `notes` say what was done to the weights."""
    spec, (path, *others) = exported.spec, exported.files
    shown = ", ".join(f"{count} {name}" for name, count in sorted(exported.custom_nodes.items())) or "none"
    dims = [str(size) if size else "any" for size in (spec.batch, spec.height, spec.width)]
    print_line(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    for other in others:
        print_line(f"{other}  {other.stat().st_size / 1e6:.1f} MB, which belongs to it")
    classes = f", {len(spec.classes)} classes" if spec.classes else ""
    print_line(f"  network   {spec.arch}: {spec.task}{classes}, level {spec.level}")
    print_line(f"  input     {spec.input}, batch {dims[0]}, {dims[1]} x {dims[2]}; outputs {', '.join(spec.outputs)}")
    print_line(f"  fed       {spec.normalisation_text()}")
    for note in notes:
        print_line(f"  weights   {note}")
    print_line(f"  nodes     {exported.nodes}, of them custom: {shown}")
    print_line(f"  parity    {exported.fidelity.summary()}")
    print_line(f"  time      {exported.seconds[0]:.1f} s export, {exported.seconds[1]:.1f} s verification")


def _next(spec: ModelSpec, path: Path) -> None:
    print_line(f"next: hc-deploy inspect {quoted(path)}" if spec.outputs == ("logits",) else next_line(path))


if __name__ == "__main__":
    run_app(app)
