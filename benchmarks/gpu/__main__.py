"""`python -m benchmarks.gpu -o DIR` runs every flavour that is here, side by side: report.json, gpu.md."""

from __future__ import annotations

from hc_deploy.system import interrupts

if __name__ == "__main__":
    interrupts.install()  # before the first slow import

import sys
import time
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmarks.gpu.cases import BACKENDS, DRY, ENGINES, FULL, QUICK, Backend, Group, Scope, chosen, plan, probe
from hc_deploy.console import print_note, print_text, run_app
from hc_deploy.shown import quoted

if TYPE_CHECKING:
    from benchmarks.gpu.measure import GroupResult
    from benchmarks.gpu.report import BackendState, RunReport
    from benchmarks.gpu.store import Store
    from hc_deploy.bench.clocks import Plan
    from hc_deploy.system.gpu import Gpu

SECONDS, QUICK_SECONDS = 20.0, 5.0
QUICK_ROUNDS, DRY_ROUNDS = 40, 6
WITHIN = 0.004
"""Half-width of a ratio's interval that ends sampling early: a fifth of the narrowest target, 2%."""
SAVED_EVERY, SECONDS_TO_SAVE = 120.0, 60.0
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for report.json, gpu.md and models/.")],
    quick: Annotated[bool, typer.Option("--quick", help="ResNet-18 alone, 512x1024, few rounds.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="On the CPU, tiny; times mean nothing.")] = False,
    max_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Longest sampling of one group: 20, 5 with --quick.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Groups whose name holds this, e.g. 'tensorrt/fp16*hcpspnet'; repeatable.")
    ] = None,
) -> None:
    """Measure HC networks, their twins and every level on each flavour, and hold them against the targets.

    A flavour that is absent or refuses this GPU is a line of the table. Models are kept in DIR/models for the next run.
    Ctrl-C keeps what was measured. Exit code 3 when a deployed network's answer is not torch's; 4 without a GPU.
    """
    from hc_deploy.errors import GateError, MissingDependencyError
    from hc_deploy.system.files import make_folder
    from hc_deploy.system.gpu import read_gpu

    scope = DRY if dry_run else QUICK if quick else FULL
    groups = chosen(plan(scope), only or ())
    gpu = read_gpu()
    if gpu is None and not dry_run:
        raise MissingDependencyError(
            "no NVIDIA GPU answers here", expected="a GPU and its driver",
            mend="--dry-run, which runs this script's code on the CPU (its times mean nothing)",
        )  # fmt: skip
    make_folder(output)
    seconds = max_seconds or (QUICK_SECONDS if quick else SECONDS)
    run = Run(output, scope, groups, sampling(quick=quick, dry_run=dry_run, seconds=seconds), gpu, dry_run)
    with suppress(KeyboardInterrupt), interrupts.on_signal(run.interrupt):
        run.all()
    with interrupts.postponed(seconds=SECONDS_TO_SAVE):
        report = run.save()
    with suppress(OSError) if run.interrupted else nullcontext():  # the terminal may be closed
        print_text((output / "gpu.md").read_text(encoding="utf-8"))
    if run.interrupted:
        interrupts.leave(f"{interrupts.reason()}; what was measured is in {output}")
    if report.parity_failures:
        raise GateError(
            "\n".join([f"{len(report.parity_failures)} cases do not answer as torch", *report.parity_failures[:10]]),
            expected="labels within the bounds of the precision",
            mend=f"all of them are in {quoted(output / 'report.json')}",
        )  # fmt: skip


def sampling(*, quick: bool, dry_run: bool, seconds: float) -> Plan:
    """How long a group is sampled."""
    from hc_deploy.bench.clocks import Plan

    if dry_run:
        return Plan(rounds=DRY_ROUNDS, warmup=1, max_seconds=seconds)
    return Plan(rounds=QUICK_ROUNDS if quick else None, warmup=5, max_seconds=seconds, within=WITHIN)


@dataclass
class Run:
    """A run as it goes on. `states`: of the backends; `results`: of the groups that are done."""

    output: Path
    scope: Scope
    groups: list[Group]
    plan: Plan
    gpu: Gpu | None
    dry_run: bool
    interrupted: bool = False
    states: dict[Backend, BackendState] = field(default_factory=dict)
    results: list[GroupResult] = field(default_factory=list)
    probes: list[GroupResult] = field(default_factory=list)
    saved: float = field(default_factory=time.monotonic)

    def interrupt(self) -> None:
        """On a signal: stop here, or before the next group where somebody swallows it."""
        self.interrupted = True
        raise KeyboardInterrupt

    def all(self) -> None:
        """Probe the backends that the groups need, then measure the groups."""
        from benchmarks.gpu.store import Store

        store = Store(self.output / "models", device=self.gpu)
        needed = {case.backend for group in self.groups for case in group.cases}
        for backend in BACKENDS:
            if backend in needed and not self.interrupted:
                self._probe(store, backend)
        for number, group in enumerate(self.groups, start=1):
            if self.interrupted:
                return
            print_note(f"{number} of {len(self.groups)}: {group.name}")
            self.results.append(self._measure(store, group, self.plan))
            if time.monotonic() - self.saved > SAVED_EVERY:
                self.save()

    def _probe(self, store: Store, backend: Backend) -> None:
        from benchmarks.gpu.backends import rtx_refusal
        from benchmarks.gpu.report import BackendState

        print_note(f"probing {backend}")
        result = self._measure(store, probe(backend), replace(self.plan, rounds=1, warmup=0))
        self.probes.append(result)
        (case,) = result.cases
        reason = case.reason
        if backend == "tensorrt-rtx" and case.status == "not run" and not self.dry_run:
            reason += rtx_refusal(self.gpu)
        self.states[backend] = BackendState(backend, case.status == "measured", reason, case.engine is not None)

    def _measure(self, store: Store, group: Group, plan: Plan) -> GroupResult:
        """Prepare what can be prepared here, and let a worker run it."""
        from benchmarks.gpu import worker
        from benchmarks.gpu.measure import CaseResult, GroupResult, Job, reason_of

        refused, files = {}, {}
        for case in group.cases:
            state = self.states.get(case.backend)
            if state is not None and not state.runs and not (self.dry_run and case.backend in ENGINES and state.built):
                refused[case.name] = f"{case.backend} does not run here"
                continue
            try:
                files[case.name] = store.prepare(case)
            except Exception as error:  # one network that cannot be had does not stop the others
                refused[case.name] = reason_of(error)
        if not files or (group.kind == "torch" and set(files) == {group.baseline}):
            refused |= dict.fromkeys(files, "nothing runs beside it")
            return GroupResult(group, tuple(CaseResult(case, "not run", refused[case.name]) for case in group.cases))
        return worker.run(Job(group, files, refused, plan, self.dry_run))

    def save(self) -> RunReport:
        """Write both files with what there is."""
        from benchmarks.gpu.markdown import markdown
        from hc_deploy.system.files import write_bytes

        report = self._report()
        write_bytes(self.output / "report.json", report.to_json().encode())
        write_bytes(self.output / "gpu.md", markdown(report).encode())
        self.saved = time.monotonic()
        return report

    def _report(self) -> RunReport:
        from benchmarks.gpu.report import SCHEMA, RunReport
        from benchmarks.gpu.targets import judge
        from hc_deploy.bench.environment import read_environment
        from hc_deploy.bench.report import utc_now

        versions: dict[str, str] = {}
        for result in (*self.probes, *self.results):
            versions |= result.versions
        return RunReport(
            schema=SCHEMA, created=utc_now(), dry_run=self.dry_run, interrupted=self.interrupted,
            command=tuple(sys.argv), settings={**asdict(self.scope), "sampling": asdict(self.plan)},
            environment=read_environment(), versions=versions, backends=tuple(self.states.values()),
            plan=tuple(group.name for group in self.groups), groups=tuple(self.results),
            verdicts=tuple(judge(self.results, dry_run=self.dry_run)),
        )  # fmt: skip


if __name__ == "__main__":
    run_app(app)
