"""The engine part of `export.py`: its options -> BuildOptions, the bar while it builds, what was built in words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hc_deploy.commands.progress import live
from hc_deploy.console import claim_outputs, print_line, print_note
from hc_deploy.engine.options import BuildOptions, Shape, ShapeRange
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.files import make_folder
from hc_deploy.outputs import Output, files_of
from hc_deploy.shown import visible

if TYPE_CHECKING:
    from hc_deploy.engine.build import Progress
    from hc_deploy.engine.sidecar import Sidecar
    from hc_deploy.spec import ModelSpec

FILES = ("model.onnx", "model.engine", "model.engine.json")
STAGES = {
    "load": "loading TensorRT",
    "precision": "setting the precision",
    "parse": "parsing the model",
    "build": "building the engine",
    "write": "writing the engine",
}


@dataclass(frozen=True)
class EngineArguments:
    """The options of `export.py` about the engine, as typed; None: not given."""

    precision: str | None = None
    keep_fp32: list[str] | None = None
    min_shape: str | None = None
    opt_shape: str | None = None
    max_shape: str | None = None
    plugin: str | None = None
    plugin_library: Path | None = None
    carry_plugin: bool | None = None
    workspace: int | None = None
    optimization_level: int | None = None
    timing_cache: Path | None = None
    version_compatible: bool | None = None
    hardware_compatible: str | None = None
    compute_capability: list[str] | None = None
    typed_model: Path | None = None

    def given(self) -> list[str]:
        """The options that were typed, as they are called."""
        return ["--" + name.replace("_", "-") for name, value in vars(self).items() if value is not None]


def require_no_engine_options(arguments: EngineArguments) -> None:
    """UsageError when options about the engine stand without --engine."""
    if arguments.given():
        raise UsageError(
            f"{', '.join(arguments.given())} without --engine", expected="--engine tensorrt or tensorrt-rtx"
        )


def claim_files(checkpoint: Path | None, folder: Path, arguments: EngineArguments, *, engine: bool) -> None:
    """Refuse an export that would destroy what it reads, and say which existing files it will replace."""
    inputs = files_of(checkpoint) if checkpoint is not None else []
    outputs = [Output(folder / name) for name in (FILES if engine else FILES[:1])]
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
        spec: the exported model's. tuned: batch and size that the export was asked for.
    """
    if arguments.carry_plugin is not None and arguments.plugin in ("python", "none"):
        option = "--carry-plugin" if arguments.carry_plugin else "--no-carry-plugin"
        raise UsageError(f"{option} with --plugin {arguments.plugin}", expected="it with --plugin library")
    typed = (arguments.min_shape, arguments.opt_shape, arguments.max_shape)
    least, best, most = (None if text is None else Shape.parse(text) for text in typed)
    profile = ShapeRange.of(spec, best or tuned, least=least, most=most)
    chosen: dict[str, Any] = {
        "plugin": arguments.plugin,
        "plugin_library": None if arguments.plugin_library is None else str(arguments.plugin_library),
        "carry_plugin": arguments.carry_plugin,
        "workspace_mib": arguments.workspace,
        "optimization_level": arguments.optimization_level,
        "timing_cache": None if arguments.timing_cache is None else str(arguments.timing_cache),
        "version_compatible": arguments.version_compatible,
        "hardware": arguments.hardware_compatible,
    }
    return BuildOptions(
        flavour=flavour,  # type: ignore[arg-type]
        precision=arguments.precision or "fp16",  # type: ignore[arg-type]
        profile=profile,
        keep_fp32=tuple(arguments.keep_fp32 or ()),
        compute_capabilities=tuple(arguments.compute_capability or ()),
        **{name: value for name, value in chosen.items() if value is not None},
    )


def require_ready(options: BuildOptions, folder: Path) -> None:
    """Refuse what can be known before anything is exported.

    Raises:
        MissingDependencyError: the flavour, the plugin library, or a GPU that the builder needs is not there.
        DeployError: the plugin library cannot be read, the engine's name is taken by a folder, or the timing cache's
            folder cannot be made.
    """
    import importlib.util

    from hc_deploy.engine import flavours, plugin_library

    taken = [folder / name for name in FILES]
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


def print_engine(engine: Path, sidecar: Sidecar, *, precision_parity: str, engine_parity: str) -> None:
    """What was built."""
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
    print_line(f"  parity    {options.precision} graph: {precision_parity}")
    print_line(f"            engine: {engine_parity}")
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
