"""`python -m benchmarks.kernels -o DIR` checks and times the CUDA kernels on the first GPU: report.json, kernels.md."""

from __future__ import annotations

from hc_deploy.system import interrupts

if __name__ == "__main__":
    interrupts.install()  # before the first slow import

import dataclasses
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hc_deploy.console import print_note, print_text, run_app
from hc_deploy.shown import quoted

if TYPE_CHECKING:
    import torch

    from benchmarks.kernels.ahead import Launcher
    from benchmarks.kernels.measure import Findings
    from benchmarks.kernels.plugin import PluginRoad
    from benchmarks.kernels.report import Device, Report
    from benchmarks.kernels.sanitizer import Sanitized
    from benchmarks.kernels.timing import Clock
    from hc_deploy.ops.kernels import KernelLibrary

ROUNDS, QUICK_ROUNDS, DRY_ROUNDS = 60, 20, 6
DRY_IMAGE = (32, 64)
DRY_ELEMENTS = 2**17
MEMORY_SHARE = 0.9
"""Of the free memory, for the maps of more than 2^31 elements."""


class Stage(StrEnum):
    """What a run can leave out."""

    CHECKS = "checks"
    SANITIZER = "sanitizer"
    TIMES = "times"
    COMPILE = "compile"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for report.json and kernels.md.")],
    quick: Annotated[bool, typer.Option("--quick", help="Level 4 alone, fewer checks and rounds.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="On the CPU, tiny; times mean nothing.")] = False,
    rounds: Annotated[int | None, typer.Option(min=6, help="Timed rounds: 60, 20 with --quick.")] = None,
    library: Annotated[Path | None, typer.Option(help="The kernels' library; what make plugin built.")] = None,
    tensorrt: Annotated[
        Path | None, typer.Option(help="libnvinfer.so.* or libnvinfer_lean.so.*: the plugin is run through it as well.")
    ] = None,
    skip: Annotated[list[Stage] | None, typer.Option(help="Leave a stage out; can be given many times.")] = None,
) -> None:
    """Check every kernel against float64 and time it against the copy bandwidth measured in the same run.

    Exit code 3 when a result is wrong or the sanitizer finds an error; 4 without a GPU or the built library.
    """
    from benchmarks.kernels.report import markdown
    from hc_deploy.errors import GateError
    from hc_deploy.system.files import make_folder, write_bytes

    with ExitStack() as stack:
        make_folder(output)
        setup = _dry_setup(stack, library) if dry_run else _gpu_setup(library, tensorrt)
        report = _run(setup, quick=quick, rounds=rounds, skip=frozenset(skip or ()))
    write_bytes(output / "report.json", report.to_json().encode())
    text = markdown(report)
    write_bytes(output / "kernels.md", text.encode())
    print_text(text)
    if report.failures:
        raise GateError(
            "\n".join([f"{len(report.failures)} checks failed", *report.failures[:10]]),
            expected="each kernel within the allowed error, nothing found by the sanitizer",
            mend=f"all of them are in {quoted(output / 'report.json')}",
        )


@dataclasses.dataclass(frozen=True)
class Setup:
    """Where a run takes place."""

    dry_run: bool
    device: torch.device
    library: KernelLibrary
    clock: Clock
    launcher: Launcher | str
    """Or why there is none."""
    plugin: PluginRoad | str
    sanitizer: str | None
    flush: int
    described: Device | None
    free: int | None


def _gpu_setup(library: Path | None, tensorrt: Path | None) -> Setup:
    import torch

    from benchmarks.kernels.ahead import Driver
    from benchmarks.kernels.report import describe_device
    from benchmarks.kernels.sanitizer import find_sanitizer
    from benchmarks.kernels.timing import EventClock, flush_bytes
    from hc_deploy.errors import DeployError, MissingDependencyError
    from hc_deploy.ops.kernels import BUILD, LIBRARY, KernelLibrary

    if not torch.cuda.is_available():
        raise MissingDependencyError(
            f"torch {torch.__version__} finds no GPU", expected="an NVIDIA GPU and a torch built for it",
            mend="--dry-run, which runs this script's code on the CPU (its times mean nothing)",
        )  # fmt: skip
    path = library or LIBRARY
    if not path.is_file():
        raise MissingDependencyError(f"{path} does not exist", expected="the built kernels", mend=BUILD)
    device = torch.device("cuda", 0)
    torch.zeros(1, device=device)
    launcher: Launcher | str
    try:
        launcher = Driver(0)
    except DeployError as error:
        launcher = f"ahead-of-time launches: {error.received}"
    flush = flush_bytes(device)
    kernels = KernelLibrary(path)
    free = int(MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]) - flush
    clock = EventClock(device, flush)
    plugin = _plugin(tensorrt, path.with_name("libhc_plugins.so"))
    return Setup(
        False, device, kernels, clock, launcher, plugin, find_sanitizer(), flush, describe_device(device), free
    )


def _plugin(tensorrt: Path | None, plugins: Path) -> PluginRoad | str:
    """The plugin in TensorRT's registry, or why it is not run."""
    from benchmarks.kernels.plugin import HARNESS, PluginFiles, PluginRoad
    from hc_deploy.errors import DeployError

    if tensorrt is None:
        return "the plugin's enqueue: no --tensorrt was given"
    try:
        return PluginRoad(PluginFiles(HARNESS, tensorrt, plugins))
    except DeployError as error:
        return f"the plugin's enqueue: {error.received}"


def _dry_setup(stack: ExitStack, library: Path | None) -> Setup:
    """The kernels compiled for the CPU: the same code but for the driver, the events and the sanitizer."""
    import torch

    from benchmarks.kernels.ahead import Emulated
    from benchmarks.kernels.timing import WallClock
    from hc_deploy.errors import MissingDependencyError
    from hc_deploy.ops.kernels import KernelLibrary
    from hc_deploy.system.temporary import temporary_folder
    from plugins.emulator.build import BuildError, build

    if library is None:
        folder = stack.enter_context(temporary_folder())
        try:
            library = build(folder)
        except BuildError as error:
            raise MissingDependencyError(f"the kernels cannot be compiled for the CPU: {error}") from None
    kernels = KernelLibrary(library, device_type="cpu")
    return Setup(
        True, torch.device("cpu"), kernels, WallClock(), Emulated(library), "the plugin: dry run", None, 0, None, None
    )


def _run(setup: Setup, *, quick: bool, rounds: int | None, skip: frozenset[Stage]) -> Report:
    from benchmarks.kernels.measure import Findings, Plan, time_kernels
    from benchmarks.kernels.report import SCHEMA, Report, Settings
    from benchmarks.kernels.sanitizer import TOOLS, Sanitized, sanitize
    from benchmarks.kernels.workload import CLASSES, EMBEDDING, IMAGE, LEVELS
    from hc_deploy.bench.environment import read_environment
    from hc_deploy.bench.report import describe_file, utc_now

    created, environment, found = utc_now(), read_environment(), Findings()
    plan = Plan(
        levels=LEVELS[-1:] if quick else LEVELS,
        image=DRY_IMAGE if setup.dry_run else IMAGE,
        rounds=rounds or (DRY_ROUNDS if setup.dry_run else QUICK_ROUNDS if quick else ROUNDS),
        warmup=1 if setup.dry_run else 5,
        backend=None if Stage.COMPILE in skip else "eager" if setup.dry_run else "inductor",
    )
    found.left_out += [f"--skip {stage}" for stage in sorted(skip)]
    if Stage.CHECKS not in skip:
        _check(setup, quick, found)
    sanitized: tuple[Sanitized, ...] = tuple(Sanitized(tool, "not run", "left out") for tool in TOOLS)
    if Stage.SANITIZER not in skip and not setup.dry_run:
        print_note("compute-sanitizer")
        sanitized = sanitize(setup.library.path, sanitizer=setup.sanitizer)
    if Stage.TIMES not in skip:
        time_kernels(setup.library, setup.device, setup.clock, plan, found, print_note)
    return Report(
        schema=SCHEMA, created=created, dry_run=setup.dry_run, environment=environment, device=setup.described,
        library=describe_file(setup.library.path),
        settings=Settings(quick, plan.rounds, plan.warmup, setup.flush, plan.image, EMBEDDING, CLASSES),
        checks=tuple(found.checks), sanitizer=sanitized, timings=tuple(found.timings),
        left_out=tuple(found.left_out),
    )  # fmt: skip


def _check(setup: Setup, quick: bool, found: Findings) -> None:
    from benchmarks.kernels.cases import all_cases, few_cases
    from benchmarks.kernels.check import Outcome
    from benchmarks.kernels.large import ELEMENTS, check_large
    from benchmarks.kernels.measure import check_ahead, check_kernels, check_plugin, check_torch_ops

    cases = few_cases() if quick or setup.dry_run else all_cases()
    print_note(f"checking {len(cases)} cases against float64")
    check_kernels(setup.library, setup.device, cases, found)
    check_torch_ops(setup.device, found)
    if isinstance(setup.launcher, str):
        found.left_out.append(setup.launcher)
    else:
        print_note("checking launches through the driver")
        check_ahead(setup.launcher, setup.device, found)
    if isinstance(setup.plugin, str):
        found.left_out.append(setup.plugin)
    else:
        print_note("checking the TensorRT plugin's enqueue")
        check_plugin(setup.plugin, setup.device, found)
    print_note("checking maps of more than 2^31 elements")
    elements = DRY_ELEMENTS if setup.dry_run else ELEMENTS
    for result in check_large(setup.library, setup.device, elements=elements, free=setup.free):
        if isinstance(result, Outcome):
            found.checks.append(result)
        else:
            found.left_out.append(result)


if __name__ == "__main__":
    run_app(app)
