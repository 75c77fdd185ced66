"""`hc-deploy bench run A B -o report.json` measures models side by side; `compare OLD NEW` judges reports.

`python bench.py` is the same with the networks of `models/`, and so takes checkpoints too.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hc_deploy import install
from hc_deploy.bench.report import MOST_SAMPLES, Clock, read_report
from hc_deploy.commands.bench_models import (
    RUNNERS,
    Networks,
    expected_hashes,
    is_checkpoint,
    name_models,
    with_runners,
)
from hc_deploy.commands.bench_progress import Progress
from hc_deploy.commands.bench_repeat import MOST_RUNS, run_again, show_runs
from hc_deploy.commands.bench_reports import SeveralValues, numbered, require_outputs, sides_of
from hc_deploy.commands.options import KernelsChoice, KernelsOption, number
from hc_deploy.console import print_line, show
from hc_deploy.errors import MissingDependencyError, UsageError
from hc_deploy.shown import quoted, visible
from hc_deploy.spec import parse_size
from hc_deploy.system import interrupts
from hc_deploy.system.digest import file_sha256, require_sha256
from hc_deploy.system.files import require_file
from hc_deploy.system.limits import MOST_ROUNDS

if TYPE_CHECKING:
    from hc_deploy.runtime import Session

DEFAULT_SECONDS = 60.0
SEED = 0
app = typer.Typer(
    name="bench", add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True
)


class Provider(StrEnum):
    """What runs the ONNX models."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    OPENVINO = "openvino"


@app.callback()
def main() -> None:
    """Latency of models, measured side by side, and the comparison of two such measurements."""


@app.command()
def run(
    context: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="model.onnx or its folder, model.engine, or a checkpoint (runs in torch); NAME=PATH to name it.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Report to write (.json).")],
    repeat: Annotated[
        int,
        typer.Option(min=1, max=MOST_RUNS, help="Runs, each in a fresh process; reports get .1.json, .2.json, ..."),
    ] = 1,
    baseline: Annotated[str | None, typer.Option(help="Model that ratios are taken against; default: first.")] = None,
    size: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH that models of any size run at.")] = None,
    frame: Annotated[str | None, typer.Option(help="HEIGHTxWIDTH of the incoming frame; default: models'.")] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, max=MOST_ROUNDS, help="Samples of each model; default: until ratios are known.")
    ] = None,
    within: Annotated[
        float,
        typer.Option(min=0.01, callback=number, help="Without --rounds: stop when each ratio is known to +- this %."),
    ] = 2.0,
    warmup: Annotated[int, typer.Option(min=0, max=MOST_ROUNDS, help="Untimed rounds before.")] = 5,
    max_seconds: Annotated[
        float | None,
        typer.Option(min=0.0, callback=number, help=f"Most seconds to sample; without --rounds: {DEFAULT_SECONDS:g}."),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of one run; default: the runtime's.")] = None,
    provider: Annotated[Provider, typer.Option(help="What runs the ONNX models.")] = Provider.CPU,
    against: Annotated[
        str | None,
        typer.Option(help=f"Each model.onnx also in these, comma-separated: {', '.join(RUNNERS)} (as NAME-RUNNER)."),
    ] = None,
    kernels: KernelsOption = KernelsChoice.AUTO,
    expect_sha256: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]HEX", help="Hash that the file of a model must have; repeatable."),
    ] = None,
) -> None:
    """Measure MODELs interleaved in one process and write every sample to a report.

    Exit code 5: the samples scatter too far for their medians to be known; the report is written all the same. Ctrl-C,
    SIGTERM and SIGHUP end it early: the report holds the rounds so far, if they are enough for its statistics. With
    --repeat the finished runs are kept as well.
    """
    sizes = [parse_size(text) if text else None for text in (size, frame)]
    named = name_models(models)
    baseline = None if baseline is None else visible(baseline)
    if baseline is not None and baseline not in named:
        raise UsageError(f"--baseline {baseline}", expected=f"one of {', '.join(named)}")
    expected = expected_hashes(expect_sha256 or [], named)
    also = with_runners(named, against)
    outputs = numbered(output, repeat)
    require_outputs(outputs, named.values())
    if repeat > 1:
        show_runs(outputs, run_again(context, outputs))
        return
    from hc_deploy.arrows.benchmark import benchmark
    from hc_deploy.bench.clocks import MAX_ROUNDS, Plan
    from hc_deploy.bench.report import write_report
    from hc_deploy.bench.results import require_stable
    from hc_deploy.bench.table import run_table
    from hc_deploy.runtime import open_session

    limit = DEFAULT_SECONDS if max_seconds is None and rounds is None else max_seconds
    _require_few_samples(rounds or MAX_ROUNDS, len(named) + len(also))
    plan, progress = Plan(rounds, warmup, limit, within / 100, SEED), Progress(rounds, output)

    def opened(name: str, path: Path) -> Session:
        if name in also:
            return open_session(path, threads=threads, **also[name].how)
        digest = expected.get(name)
        if is_checkpoint(path):
            return _in_torch(context.obj, name, path, provider, threads, digest)
        return _deployed(path, provider, threads, kernels, digest)

    with progress.shown():
        report = benchmark(
            {**named, **{name: one.path for name, one in also.items()}}, baseline=baseline, plan=plan,
            size=sizes[0], frame=sizes[1], threads=threads, open_model=opened,
            on_round=progress, on_end=progress.keep,
        )  # fmt: skip
        with interrupts.postponed():
            write_report(output, report)
    show(run_table(report))
    print_line(f"report: {output}")
    require_stable(report)


@app.command(cls=SeveralValues)
def compare(
    old: Annotated[Path | None, typer.Argument(help="Report measured before.")] = None,
    new: Annotated[Path | None, typer.Argument(help="Report measured after.")] = None,
    old_runs: Annotated[
        list[Path] | None,
        typer.Option("--old", metavar="REPORT...", help="Several reports, of runs before."),
    ] = None,
    new_runs: Annotated[
        list[Path] | None, typer.Option("--new", metavar="REPORT...", help="Several reports, of runs after.")
    ] = None,
    max_regression: Annotated[
        float, typer.Option(min=0.0, callback=number, help="Percent of slowdown that is allowed.")
    ] = 5.0,
    clock: Annotated[
        list[Clock] | None, typer.Option("--clock", help="Clock that is judged, repeatable; default: end_to_end.")
    ] = None,
    allow_different: Annotated[
        bool, typer.Option("--allow-different", help="Compare across another CPU or another workload.")
    ] = False,
) -> None:
    """Compare reports model by model: OLD and NEW, or several runs a side with --old and --new (3 or more each).

    Exit code 3: a model became slower, significantly and by more than --max-regression. Exit code 5: it cannot be told
    whether it did; one report a side tells only large differences.
    """
    from hc_deploy.bench import compare as comparing
    from hc_deploy.bench.compare_table import compare_table
    from hc_deploy.bench.conditions import require_comparable

    clocks = tuple(dict.fromkeys(clock or [Clock.END_TO_END]))
    sides = sides_of([path for path in (old, new) if path is not None], old_runs or [], new_runs or [])
    before, after = ([read_report(path) for path in side] for side in sides)
    comparison = comparing.compare(before, after)
    if not allow_different:
        require_comparable(comparison.differences)
    show(compare_table(comparison, clocks=clocks, max_percent=max_regression))
    comparing.require_no_regression(comparison, clocks, max_regression)
    comparing.require_judgeable(before, after, clocks)
    comparing.require_decided(comparison, clocks, max_regression)


def _require_few_samples(rounds: int, models: int) -> None:
    """What is written can be read again."""
    if rounds * models * len(Clock) > MOST_SAMPLES:
        raise UsageError(
            f"{rounds} rounds of {models} models",
            expected=f"at most {MOST_SAMPLES} samples, {len(Clock)} a round and model",
            mend=f"--rounds {MOST_SAMPLES // len(Clock) // models}",
        )


def _deployed(
    path: Path, provider: Provider, threads: int | None, kernels: KernelsChoice, expected: str | None
) -> Session:
    from hc_deploy.runtime import open_session

    if path.suffix == ".engine":  # --provider, --threads and --kernels are about the others
        return open_session(path, expect_sha256=expected)
    return open_session(path, provider=provider.value, threads=threads, kernels=kernels.value, expect_sha256=expected)


def _in_torch(
    networks: Networks | None, name: str, path: Path, provider: Provider, threads: int | None, expected: str | None
) -> Session:
    """A checkpoint runs in torch, where there are networks to load it into. Torch's threads are the whole process's."""
    require_file(path, what="a checkpoint")
    if networks is None:
        raise UsageError(
            f"{path} is a checkpoint, whose network hc-deploy does not have", expected="a model.onnx or model.engine",
            mend=f"python bench.py run {quoted(path)}, in a checkout",
        )  # fmt: skip
    if expected is not None:
        require_sha256(path, file_sha256(path), expected)
    if provider is Provider.TENSORRT:
        raise UsageError(
            f"{path} is a checkpoint and runs in torch", expected="--provider cpu or cuda", mend="export it first"
        )
    try:
        import torch

        from hc_deploy.export.deployed import DeployedNet
        from hc_deploy.runtime.torch import TorchSession

        net, spec = networks.load(path)
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} is a checkpoint and needs torch ({error})", expected="torch", mend=install.EXPORT
        ) from None
    if provider is Provider.CUDA and not torch.cuda.is_available():
        raise MissingDependencyError(f"this torch {torch.__version__} finds no GPU", expected="torch with CUDA")
    return TorchSession(DeployedNet(net, spec), spec, name=name, device=provider.value, threads=threads)
