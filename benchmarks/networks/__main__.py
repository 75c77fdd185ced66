"""`python -m benchmarks.networks -o DIR` measures the networks in torch on the first GPU: report.json, networks.md."""

from __future__ import annotations

from hc_deploy.system import interrupts

if __name__ == "__main__":
    interrupts.install()  # before the first slow import

import gc
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hc_deploy.console import print_note, print_text, run_app

if TYPE_CHECKING:
    import torch

    from benchmarks.kernels.timing import Clock
    from benchmarks.networks.cases import Group
    from benchmarks.networks.report import GroupResult, Report

ROUNDS, DRY_ROUNDS = 40, 6
SECONDS = 240.0
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for report.json and networks.md.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="On the CPU, tiny; times mean nothing.")] = False,
    seconds: Annotated[float, typer.Option(min=1, help="No group is begun after this time.")] = SECONDS,
    rounds: Annotated[int | None, typer.Option(min=6, help="Timed rounds of a group: 40.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Groups whose name holds this; can be given again.")] = None,
) -> None:
    """Time HC networks beside their twins at 1024x2048, the most important first; each group is saved when measured.

    Exit code 4 without a GPU.
    """
    import torch

    from benchmarks.kernels.timing import EventClock, WallClock, flush_bytes
    from benchmarks.networks.cases import plan
    from hc_deploy.errors import MissingDependencyError, UsageError
    from hc_deploy.system.files import make_folder

    if not dry_run and not torch.cuda.is_available():
        raise MissingDependencyError(
            f"torch {torch.__version__} finds no GPU", expected="an NVIDIA GPU and a torch built for it",
            mend="--dry-run, which runs this script's code on the CPU (its times mean nothing)",
        )  # fmt: skip
    planned = plan(dry_run=dry_run)
    for text in only or ():
        if not any(text in group.name for group in planned):
            raise UsageError(f"--only {text}", expected=f"a part of a group's name, such as {planned[0].name}")
    groups = [group for group in planned if not only or any(text in group.name for text in only)]
    make_folder(output)
    device = torch.device("cpu" if dry_run else "cuda:0")
    clock: Clock = WallClock() if dry_run else EventClock(device, flush_bytes(device))
    run = Run(output, device, clock, rounds or (DRY_ROUNDS if dry_run else ROUNDS), time.monotonic() + seconds)
    for group in groups:
        run.measure(group)
        run.save()
    print_text((output / "networks.md").read_text(encoding="utf-8"))


class Run:
    """A run as it goes on; `end`: on the clock of time.monotonic()."""

    def __init__(self, output: Path, device: torch.device, clock: Clock, rounds: int, end: float) -> None:
        from benchmarks.networks.cases import DRY_IMAGE, IMAGE
        from benchmarks.networks.measure import References

        self._output, self._device, self._clock, self._rounds, self._end = output, device, clock, rounds, end
        self._dry_run = device.type == "cpu"
        self._image = DRY_IMAGE if self._dry_run else IMAGE
        self._references = References(self._image)
        self._results: list[GroupResult] = []
        self._left_out: list[str] = []

    def measure(self, group: Group) -> None:
        """Measure a group, or note why not: one that fails does not stop the others."""
        from benchmarks.networks.measure import measure
        from benchmarks.networks.report import GroupResult

        if time.monotonic() > self._end:
            self._left_out.append(f"{group.name}: the time was up")
            return
        print_note(group.name)
        try:
            samples = measure(group, self._references, self._device, self._clock, rounds=self._rounds)
        except Exception as error:  # a compiler or a memory that is too small is a finding
            self._left_out.append(f"{group.name}: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
            return
        finally:
            gc.collect()  # captured graphs hold their memory
        self._results.append(GroupResult(group, tuple(samples)))

    def save(self) -> None:
        """Write both files with what there is."""
        from benchmarks.networks.report import markdown
        from hc_deploy.system.files import write_bytes

        report = self._report()
        write_bytes(self._output / "report.json", report.to_json().encode())
        write_bytes(self._output / "networks.md", markdown(report).encode())

    def _report(self) -> Report:
        from benchmarks.kernels.report import describe_device
        from benchmarks.networks.report import SCHEMA, Report
        from hc_deploy.bench.environment import read_environment
        from hc_deploy.bench.report import describe_file, utc_now
        from hc_deploy.ops.kernels import built_library

        library = built_library(self._device.type)
        return Report(
            schema=SCHEMA, created=utc_now(), dry_run=self._dry_run, command=tuple(sys.argv),
            environment=read_environment(), device=None if self._dry_run else describe_device(self._device),
            library=describe_file(library.path) if library else None, image=self._image, rounds=self._rounds,
            results=tuple(self._results), left_out=tuple(self._left_out),
        )  # fmt: skip


if __name__ == "__main__":
    run_app(app)
