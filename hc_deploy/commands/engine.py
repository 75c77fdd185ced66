"""Options about an engine -> BuildOptions, the bar while it builds, what was built in words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hc_deploy.commands.options import option_names
from hc_deploy.commands.progress import live
from hc_deploy.console import claim_outputs, print_line, print_note
from hc_deploy.engine.options import BuildOptions, Shape, ShapeRange
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.shown import visible
from hc_deploy.system.files import make_folder
from hc_deploy.system.outputs import Output, files_of

if TYPE_CHECKING:
    from hc_deploy.arrows.build import Built
    from hc_deploy.engine.build import Progress
    from hc_deploy.spec import ModelSpec

ENGINE_FILES = ("model.engine", "model.engine.json")
STAGES = {
    "load": "loading TensorRT",
    "precision": "setting the precision",
    "parse": "parsing the model",
    "build": "building the engine",
    "write": "writing the engine",
}


PANEL = "Engine options"
APART = ("min_shape", "opt_shape", "max_shape", "typed_model")
"""What is typed and stands in no BuildOptions under its name."""


@dataclass(frozen=True)
class EngineArguments:
    """The options about an engine, as typed; None: not given. Named as the fields of `BuildOptions`."""

    precision: Annotated[
        str | None, typer.Option(help="fp32, tf32, fp16 or bf16 (default: fp16).", rich_help_panel=PANEL)
    ] = None
    keep_fp32: Annotated[
        list[str] | None,
        typer.Option(help="Operator type or node that stays in float32; repeatable.", rich_help_panel=PANEL),
    ] = None
    min_shape: Annotated[
        str | None,
        typer.Option(help="BATCHxHEIGHTxWIDTH, of a dynamic model (default: 1x64x64).", rich_help_panel=PANEL),
    ] = None
    opt_shape: Annotated[
        str | None,
        typer.Option(help="The shape it is tuned for (default: --batch x --size).", rich_help_panel=PANEL),
    ] = None
    max_shape: Annotated[
        str | None, typer.Option(help="The largest (default: --opt-shape).", rich_help_panel=PANEL)
    ] = None
    plugin: Annotated[
        str | None,
        typer.Option(
            help="library (make plugin), python (TensorRT >= 10.9) or none: standard operators (default: library).",
            rich_help_panel=PANEL,
        ),
    ] = None
    plugin_library: Annotated[Path | None, typer.Option(help="Another libhc_plugins.so.", rich_help_panel=PANEL)] = None
    carry_plugin: Annotated[
        bool | None,
        typer.Option(
            "--carry-plugin/--no-carry-plugin",
            help="Put the plugin into the engine (default: yes).",
            rich_help_panel=PANEL,
            show_default=False,
        ),
    ] = None
    workspace_mib: Annotated[
        int | None,
        typer.Option("--workspace", help="Most scratch memory, MiB (default: all).", rich_help_panel=PANEL),
    ] = None
    optimization_level: Annotated[
        int | None,
        typer.Option(help="0 (built fast) to 5 (runs fast) (default: TensorRT's).", rich_help_panel=PANEL),
    ] = None
    timing_cache: Annotated[
        Path | None, typer.Option(help="File of kernel timings, read and written.", rich_help_panel=PANEL)
    ] = None
    version_compatible: Annotated[
        bool | None,
        typer.Option(
            "--version-compatible", help="For later TensorRT versions too.", rich_help_panel=PANEL, show_default=False
        ),
    ] = None
    hardware: Annotated[
        str | None,
        typer.Option("--hardware-compatible", help="ampere_plus or same_compute_capability.", rich_help_panel=PANEL),
    ] = None
    compute_capabilities: Annotated[
        list[str] | None,
        typer.Option(
            "--compute-capability",
            help="GPUs of a tensorrt-rtx engine, as 8.6; repeatable (default: all).",
            rich_help_panel=PANEL,
        ),
    ] = None
    typed_model: Annotated[
        Path | None,
        typer.Option(help="Also write the ONNX file as TensorRT gets it, for trtexec.", rich_help_panel=PANEL),
    ] = None

    def given(self) -> dict[str, Any]:
        """What was typed: no None, and no list that is empty."""
        return {name: value for name, value in vars(self).items() if value is not None and value != []}


def require_no_engine_options(arguments: EngineArguments) -> None:
    """UsageError when options about the engine stand without --engine."""
    given = arguments.given()
    if given:
        names = option_names(EngineArguments)
        raise UsageError(
            f"{', '.join(names[name] for name in given)} without --engine", expected="--engine tensorrt or tensorrt-rtx"
        )


def claim_files(source: Path | None, folder: Path, arguments: EngineArguments, names: Sequence[str]) -> None:
    """Refuse to write what is read, and say which files will be replaced: `names` in the folder, and others."""
    inputs = files_of(source) if source is not None else []
    outputs = [Output(folder / name) for name in names]
    if arguments.plugin_library is not None:
        inputs.append(arguments.plugin_library)
    if arguments.typed_model is not None:
        outputs.append(Output(arguments.typed_model, "--typed-model"))
    if arguments.timing_cache is not None:
        outputs.append(Output(arguments.timing_cache, "--timing-cache", updated=True))
    claim_outputs(inputs, outputs)


def build_options(flavour: str, arguments: EngineArguments, spec: ModelSpec, tuned: Shape) -> BuildOptions:
    """What was typed, checked and completed by defaults.

    Args:
        spec: the model's. tuned: the batch and size that the engine is tuned for, unless --opt-shape says otherwise.
    """
    if arguments.carry_plugin is not None and arguments.plugin in ("python", "none"):
        option = "--carry-plugin" if arguments.carry_plugin else "--no-carry-plugin"
        raise UsageError(f"{option} with --plugin {arguments.plugin}", expected="it with --plugin library")
    typed = (arguments.min_shape, arguments.opt_shape, arguments.max_shape)
    least, best, most = (None if text is None else Shape.parse(text) for text in typed)
    chosen = {
        name: str(value) if isinstance(value, Path) else tuple(value) if isinstance(value, list) else value
        for name, value in arguments.given().items()
        if name not in APART
    }
    profile = ShapeRange.of(spec, best or tuned, least=least, most=most)
    return BuildOptions(flavour, profile=profile, **{"precision": "fp16", **chosen})  # type: ignore[arg-type]


def require_ready(options: BuildOptions, folder: Path) -> None:
    """Refuse what can be known before anything is exported.

    Raises:
        MissingDependencyError: the flavour, the plugin library, or a GPU that the builder needs is not there.
        DeployError: the plugin library cannot be read, the engine's name is taken by a folder, or the timing cache's
            folder cannot be made.
    """
    import importlib.util

    from hc_deploy.engine import flavours, plugin_library

    taken = [folder / name for name in ENGINE_FILES]
    cache = [] if options.timing_cache is None else [Path(options.timing_cache)]
    folders = [path for path in (*taken, *cache) if path.is_dir()]
    if folders:
        raise DeployError(f"{folders[0]} is a folder", expected="room for the file", mend="another name")
    for path in cache:
        make_folder(path.parent)
    if importlib.util.find_spec(flavours.MODULES[options.flavour]) is None:
        flavours.load(options.flavour)  # says what is missing
    flavours.require_builder_device(options.flavour)
    if options.plugin == "library":
        plugin_library.find(options.plugin_library)


def print_engine(built: Built) -> None:
    """What was built."""
    engine, sidecar = built.engine, built.sidecar
    options, layers = sidecar.options, sidecar.layers
    travels = "; the plugin travels in the engine" * sidecar.carries_plugin
    targets = ", ".join(options.compute_capabilities) or (
        sidecar.device.name if sidecar.device and options.flavour == "tensorrt" else "every GPU that it supports"
    )
    print_line(f"{engine}  {sidecar.engine.bytes / 1e6:.1f} MB, sidecar {engine.name}.json")
    print_line(f"  engine    {options.flavour} {sidecar.version} for {targets}; images {options.profile}")
    print_line(
        f"  precision {options.precision}: of convolutions and plugins {layers.shares()} (in the {layers.source})"
    )
    print_line(f"  layers    {layers.count}, of them plugins: {layers.plugin_counts()}{travels}")
    print_line(f"  parity    {options.precision} graph: {built.precision_parity}")
    print_line(f"            engine: {built.engine_parity}")
    print_line(f"  time      {sidecar.seconds:.1f} s build")


@contextmanager
def shown(flavour: str) -> Iterator[Callable[[Progress], None]]:
    """Gives `build_engine` what shows its progress on standard error: a bar in a terminal, a line a stage elsewhere."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    columns = [
        TextColumn(f"{flavour}: {{task.description}}", markup=False),
        BarColumn(bar_width=None),
        TimeElapsedColumn(),
    ]
    with live(*columns) as bar:
        task = bar.add_task("starting", total=None)

        def show(progress: Progress) -> None:
            text = STAGES.get(progress.stage, progress.stage)
            total = progress.total or None
            bar.update(
                task, description=visible(f"{text} {progress.phase}".rstrip()), total=total, completed=progress.done
            )

        yield show


def _lines() -> Callable[[Progress], None]:
    last = ""

    def show(progress: Progress) -> None:
        nonlocal last
        if progress.stage != last:
            last = progress.stage
            print_note(STAGES.get(last, last))

    return show
