"""`python bench.py run A B ... -o report.json` measures models side by side; `compare OLD NEW` judges two reports."""

from __future__ import annotations

from hc_deploy import interrupts

if __name__ == "__main__":
    interrupts.take()  # before the first slow import

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hc_deploy import install
from hc_deploy.bench.report import MOST_SAMPLES, Clock, read_report
from hc_deploy.commands.options import number
from hc_deploy.console import claim_outputs, print_line, run_app, show
from hc_deploy.digest import checked_sha256, file_sha256, require_sha256
from hc_deploy.errors import DeployError, MissingDependencyError, UsageError
from hc_deploy.files import make_folder, require_file
from hc_deploy.limits import MOST_ROUNDS
from hc_deploy.outputs import Output, files_of
from hc_deploy.shown import quoted, visible
from hc_deploy.spec import DEPLOYED, parse_size

if TYPE_CHECKING:
    from hc_deploy.bench.report import Report
    from hc_deploy.runtime import Session

DEFAULT_SECONDS = 60.0
SEED = 0
SECONDS_BETWEEN_COUNTS = 0.5
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


class Provider(StrEnum):
    """What runs the ONNX models."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


@app.callback()
def main() -> None:
    """Latency of models, measured side by side, and the comparison of two such measurements."""


@app.command()
def run(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="model.onnx or its folder, model.engine, or a checkpoint (runs in torch); NAME=PATH to name it.",
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Report to write (.json).")],
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
    expect_sha256: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]HEX", help="Hash that the file of a model must have; repeatable."),
    ] = None,
) -> None:
    """Measure MODELs interleaved in one process and write every sample to a report.

    Exit code 5: the samples scatter too far for their medians to be known; the report is written all the same. Ctrl-C,
    SIGTERM and SIGHUP end it early: the report holds the rounds so far, if they are enough for its statistics.
    """
    sizes = [parse_size(text) if text else None for text in (size, frame)]
    named = name_models(models)
    baseline = None if baseline is None else visible(baseline)
    if baseline is not None and baseline not in named:
        raise UsageError(f"--baseline {baseline}", expected=f"one of {', '.join(named)}")
    expected = expected_hashes(expect_sha256 or [], named)
    _require_output(output, named.values())
    from hc_deploy.bench.clocks import MAX_ROUNDS, Plan
    from hc_deploy.bench.report import write_report
    from hc_deploy.bench.results import require_stable
    from hc_deploy.bench.run import Entry, run_benchmark
    from hc_deploy.bench.table import run_table

    limit = DEFAULT_SECONDS if max_seconds is None and rounds is None else max_seconds
    _require_few_samples(rounds or MAX_ROUNDS, len(named))
    plan, progress = Plan(rounds, warmup, limit, within / 100, SEED), _Progress(rounds, output)
    with ExitStack() as stack, progress.shown():
        entries = [
            Entry(name, path, stack.enter_context(_open(name, path, provider, threads, expected.get(name))), threads)
            for name, path in named.items()
        ]
        report = run_benchmark(
            entries, plan, baseline=baseline or entries[0].name, size=sizes[0], frame=sizes[1],
            on_round=progress, on_end=progress.keep,
        )  # fmt: skip
        with interrupts.postponed():
            write_report(output, report)
    show(run_table(report))
    print_line(f"report: {output}")
    require_stable(report)


@app.command()
def compare(
    old: Annotated[Path, typer.Argument(help="Report measured before.")],
    new: Annotated[Path, typer.Argument(help="Report measured after.")],
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
    """Compare two reports model by model.

    Exit code 3: a model became slower, significantly and by more than --max-regression. Exit code 5: too noisy to tell.
    """
    from hc_deploy.bench import compare as comparing
    from hc_deploy.bench.table import compare_table

    clocks = tuple(dict.fromkeys(clock or [Clock.END_TO_END]))
    before, after = read_report(old), read_report(new)
    comparison = comparing.compare(before, after)
    if not allow_different:
        comparing.require_comparable(comparison)
    show(compare_table(comparison, clocks=clocks, max_percent=max_regression))
    comparing.require_no_regression(comparison, clocks, max_regression)
    comparing.require_judgeable(before, after, clocks)


def name_models(arguments: list[str]) -> dict[str, Path]:
    """['runs/fcn/model.onnx', 'new=b.onnx'] -> {'fcn': ..., 'new': ...}; checkpoints get '-torch', engines '-engine'.

    Raises:
        UsageError: two models of one name.
    """
    from hc_deploy.runtime.session import session_name

    named: dict[str, Path] = {}
    for argument in arguments:
        given, equals, rest = argument.partition("=")
        try:
            explicit = bool(equals and given and rest and not Path(argument).exists())
            path = Path(rest if explicit else argument)
            if path.is_dir() and (path / "model.onnx").exists():
                path = path / "model.onnx"
        except (OSError, ValueError) as error:  # longer than a name can be, or with a NUL
            raise UsageError(f"model {argument[:80]}: {error}"[:300], expected="the path of a model") from None
        name = visible(given if explicit else session_name(path) + _ending(path))
        if name in named:
            raise UsageError(
                f"two models are called '{name}': {named[name]} and {path}",
                expected="a name for each",
                mend=f"old={quoted(named[name])} new={quoted(path)}",
            )
        named[name] = path
    return named


def _ending(path: Path) -> str:
    return "-torch" if _is_checkpoint(path) else "-engine" if path.suffix == ".engine" else ""


def _is_checkpoint(path: Path) -> bool:
    """Any file that is not deployed: what it is, its content decides."""
    return path.is_file() and path.suffix not in DEPLOYED


def expected_hashes(arguments: list[str], named: dict[str, Path]) -> dict[str, str]:
    """['fcn=12ab...'] -> {'fcn': '12ab...'}; a lone model needs no name.

    Raises:
        UsageError: no hash, a model that is not measured or is named twice, no name where there are several models.
    """
    expected: dict[str, str] = {}
    for argument in arguments:
        name, equals, digest = argument.rpartition("=")
        if not equals and len(named) == 1:
            name = next(iter(named))
        if name not in named or name in expected:
            raise UsageError(
                f"--expect-sha256 {argument[:160]}", expected=f"NAME=HEX, once for each NAME of {', '.join(named)}"
            )
        expected[name] = checked_sha256(digest)
    return expected


def _require_few_samples(rounds: int, models: int) -> None:
    """What is written can be read again."""
    if rounds * models * len(Clock) > MOST_SAMPLES:
        raise UsageError(
            f"{rounds} rounds of {models} models",
            expected=f"at most {MOST_SAMPLES} samples, {len(Clock)} a round and model",
            mend=f"--rounds {MOST_SAMPLES // len(Clock) // models}",
        )


def _open(name: str, path: Path, provider: Provider, threads: int | None, expected: str | None) -> Session:
    """A session on a model.onnx, an engine, or in torch a checkpoint. Torch's threads are global to the process."""
    if not _is_checkpoint(path):
        from hc_deploy.runtime import open_session

        if path.suffix == ".engine":  # --provider and --threads are about the others
            return open_session(path, expect_sha256=expected)
        return open_session(path, provider=provider.value, threads=threads, expect_sha256=expected)
    require_file(path, what="a checkpoint")
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
        from models.load import load_network
    except ImportError as error:
        raise MissingDependencyError(
            f"{path} is a checkpoint and needs torch ({error})",
            expected="torch",
            mend=install.EXPORT,
        ) from None
    if provider is Provider.CUDA and not torch.cuda.is_available():
        raise MissingDependencyError(f"this torch {torch.__version__} finds no GPU", expected="torch with CUDA")
    net, spec = load_network(path)
    return TorchSession(DeployedNet(net, spec), spec, name=name, device=provider.value, threads=threads)


class _Progress:
    """A counter on standard error where that is a terminal.

    Written between rounds by the measuring thread itself: a spinner's thread would run beside the models.
    """

    def __init__(self, total: int | None, output: Path) -> None:
        self._rounds, self._total, self._last = 0, total, time.monotonic()
        self._output, self._kept = output, f"{output} was not written"

    def __call__(self, rounds: int) -> None:
        self._rounds = rounds
        if sys.stderr.isatty() and time.monotonic() - self._last > SECONDS_BETWEEN_COUNTS:
            self._last = time.monotonic()
            self._show(f"\rround {rounds}" + (f"/{self._total}" if self._total else ""))

    def keep(self, report: Report) -> None:
        """Write what was measured before a signal, where it is enough for a median to have an interval."""
        from hc_deploy.bench.report import write_report
        from hc_deploy.bench.statistics import MIN_SAMPLES

        self._rounds = report.workload.rounds
        if self._rounds < MIN_SAMPLES:
            self._kept += f": {MIN_SAMPLES} are the least"
            return
        try:
            write_report(self._output, report)
            self._kept = f"{self._output} holds them"
        except DeployError as error:
            self._kept = error.received

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Clears the counter at the end; a signal that ends the process says what is kept."""

        def note() -> str:
            rounds = f"{self._rounds} round{'s' * (self._rounds != 1)}"
            return visible(f"{interrupts.reason()} after {rounds}; {self._kept}")

        with interrupts.assured(self._clear), interrupts.saying(note):
            yield

    def _clear(self) -> None:
        if sys.stderr.isatty():
            self._show("\r\x1b[K")

    def _show(self, text: str) -> None:
        with suppress(OSError):  # the terminal is closed
            print(text, end="", file=sys.stderr, flush=True)


def _require_output(path: Path, models: Iterable[Path]) -> None:
    """Fail before the measurement where the report could not be written after it, or would replace a model."""
    if path.is_dir():
        raise DeployError(f"{path} is a folder", expected="a file name", mend=f"-o {quoted(path / 'report.json')}")
    if path.suffix.lower() != ".json" or path.name.lower().endswith(".engine.json"):
        raise UsageError(
            f"-o {path} is no name for a report", expected="a name ending in .json, which no engine has beside it",
            mend="-o report.json",
        )  # fmt: skip
    claim_outputs([file for model in models for file in files_of(model)], [Output(path)])
    make_folder(path.parent)


if __name__ == "__main__":
    run_app(app)
