"""The stages of a run: a library and a device in; outcomes, timings and what was left out, out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from benchmarks.kernels.ahead import Launcher, run_ahead
from benchmarks.kernels.cases import DTYPES, Case, few_cases
from benchmarks.kernels.check import Outcome, check, poisoned, run_kernel
from benchmarks.kernels.plugin import PluginRoad
from benchmarks.kernels.report import Timing
from benchmarks.kernels.timing import Clock, interleaved
from benchmarks.kernels.workload import Level, compiled_reference, contenders
from hc_deploy.ops import hc_argmax, hc_assign, hc_decode, hc_upsample
from hc_deploy.ops.kernels import KernelLibrary, library_for


@dataclass
class Findings:
    """What the stages leave."""

    checks: list[Outcome] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def check_kernels(library: KernelLibrary, device: torch.device, cases: Iterable[Case], found: Findings) -> None:
    """Each case through the launchers."""
    for case in cases:
        inputs = case.inputs(device)
        with poisoned():
            out = run_kernel(library, case, inputs)
        found.checks.append(check(case, out, inputs))


def check_ahead(launcher: Launcher, device: torch.device, found: Findings) -> None:
    """Few cases through launches as an engine of TensorRT makes them."""
    for case in few_cases():
        inputs = case.inputs(device)
        with poisoned():
            out = run_ahead(launcher, case, inputs)
        found.checks.append(check(case, out, inputs, road="ahead of time"))


def check_plugin(plugin: PluginRoad, device: torch.device, found: Findings) -> None:
    """Few cases through the TensorRT plugin's `enqueue`."""
    for case in few_cases():
        inputs = case.inputs(device)
        with poisoned():
            out = plugin.run(case, inputs)
        found.checks.append(check(case, out, inputs, road="TensorRT plugin"))


def check_torch_ops(device: torch.device, found: Findings) -> None:
    """Few cases through `hc_deploy.ops`, where these call the kernels."""
    for case in few_cases():
        inputs = case.inputs(device)
        if library_for(*inputs) is None:
            found.left_out.append(
                f"hc_deploy.ops on {device.type}: no kernels are built for it, the torch reference runs"
            )
            return
        found.checks.append(check(case, _torch_op(case, inputs), inputs, road="hc_deploy.ops"))


def _torch_op(case: Case, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    o = case.options
    with poisoned():
        if case.op == "decode":
            return hc_decode(*inputs)
        if case.op == "argmax":
            return hc_argmax(inputs[0], case.fine)
        op: Callable[..., torch.Tensor] = hc_assign if case.op == "assign" else hc_upsample
        return op(*inputs, tau=o.tau, similarity=o.similarity, border=o.border, assignment=o.assignment)


@dataclass(frozen=True)
class Plan:
    """What is timed and how. `backend`: of torch.compile; None leaves it out."""

    levels: tuple[int, ...]
    image: tuple[int, int]
    rounds: int
    warmup: int
    backend: str | None


def time_kernels(
    library: KernelLibrary, device: torch.device, clock: Clock, plan: Plan, found: Findings, note: Callable[[str], None]
) -> None:
    """Every level and type; the memory of one is given back before the next."""
    compiled: Callable[..., object] | None = compiled_reference(plan.backend) if plan.backend else None
    for number in plan.levels:
        for dtype in DTYPES:
            level = Level(number, dtype, plan.image)
            note(f"timing level {number}, {dtype}")
            compiled = _usable(compiled, level, device, found)
            _time_level(level, library, device, clock, plan, compiled, found)


def _usable(
    compiled: Callable[..., object] | None, level: Level, device: torch.device, found: Findings
) -> Callable[..., object] | None:
    """`compiled`, compiled for this level; None, with the reason in the findings, where torch cannot."""
    if compiled is None:
        return None
    try:
        compiled(*level.upsample_inputs(device))
    except Exception as error:  # a compiler that is absent or fails is a finding
        found.left_out.append(f"torch.compile, {level.dtype}: {str(error).strip().splitlines()[0]}")
        return None
    return compiled


def _time_level(
    level: Level, library: KernelLibrary, device: torch.device, clock: Clock, plan: Plan,
    compiled: Callable[..., object] | None, found: Findings,
) -> None:  # fmt: skip
    rows = contenders(level, library, device, compiled=compiled)
    runs = {f"{row.op} {row.variant}": row.run for row in rows}
    runs |= {f"{row.op} {row.variant} copy": row.copy for row in rows if row.copy is not None}
    samples = interleaved(runs, clock, rounds=plan.rounds, warmup=plan.warmup)
    for row in rows:
        name = f"{row.op} {row.variant}"
        copies = tuple(samples[f"{name} copy"]) if row.copy is not None else None
        found.timings.append(
            Timing(row.op, row.variant, level.dtype, level.level, level.fine, row.bytes, tuple(samples[name]), copies)
        )
