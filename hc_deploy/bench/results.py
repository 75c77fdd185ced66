"""A report -> what it says: summaries, ratios to the baseline, where the time goes, what is unstable. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from hc_deploy.bench.report import Clock, ModelReport, Report
from hc_deploy.bench.statistics import UNSTABLE_SHARE, Ratio, Summary, paired_ratio, summarise
from hc_deploy.errors import UnstableMeasurementError

NS_PER_MS = 1e6


@dataclass(frozen=True)
class Gap:
    """Medians of the three parts of a pass, in ms: the network, the copies, and pre- and post-processing."""

    network: float
    copies: float
    processing: float


@dataclass(frozen=True)
class ModelResult:
    """One model: `summaries` in ms; `ratios` to the baseline's time, None for the baseline; frames a second."""

    name: str
    summaries: dict[Clock, Summary]
    ratios: dict[Clock, Ratio] | None
    gap: Gap
    fps: float


def what_ran(model: ModelReport) -> tuple[str, str, str]:
    """Runtime, precision and input of one model: ('tensorrt 10.9.0', 'fp16; engine: fp16 92%, fp32 8%', '1x512x1024').

    The runtime's provider stands behind it where its name does not say it, and what computed our ops.
    """
    runtime, size = model.runtime, f"{model.batch}x{model.size[0]}x{model.size[1]}"
    if runtime is None:
        return f"{model.provider} (version not recorded)", "not recorded", size
    own = model.provider in (runtime.name, runtime.name.replace("_", "-"))
    library = f"{runtime.name} {runtime.version}"
    parts = [library, *([] if own else [model.provider]), *([runtime.kernels] if runtime.kernels else [])]
    return ", ".join(parts), runtime.precision_in_words(), size


def results(report: Report) -> tuple[ModelResult, ...]:
    """Every model of `report`, in its order."""
    baseline = report.model(report.baseline)
    return tuple(_result(model, baseline) for model in report.models)


def require_stable(report: Report, *, clocks: Iterable[Clock] = Clock, names: Iterable[str] | None = None) -> None:
    """Raise when a median is not known to `UNSTABLE_SHARE` of itself.

    Args:
        clocks: those that must be stable. names: models that must be; None: all.

    Raises:
        UnstableMeasurementError: names each median and its interval.
    """
    shaky = []
    chosen = {model.name for model in report.models} if names is None else set(names)
    for model in (model for model in report.models if model.name in chosen):
        for clock in clocks:
            summary = _summary(model, clock)
            if summary.spread > UNSTABLE_SHARE:
                low, high = summary.interval.low, summary.interval.high
                shaky.append(f"  {model.name}, {clock}: median {summary.median:.4g} ms in [{low:.4g}, {high:.4g}]")
    if shaky:
        raise UnstableMeasurementError(
            "the measurement was unstable; medians that are hardly known:\n" + "\n".join(shaky),
            expected=f"intervals narrower than {UNSTABLE_SHARE:.0%} of the median",
            mend="stop what else runs on the machine, or sample longer with --rounds or --max-seconds",
        )


def _result(model: ModelReport, baseline: ModelReport) -> ModelResult:
    summaries = {clock: _summary(model, clock) for clock in Clock}
    ratios = {clock: paired_ratio(model.samples.of(clock), baseline.samples.of(clock)) for clock in Clock}
    return ModelResult(
        name=model.name,
        summaries=summaries,
        ratios=None if model is baseline else ratios,
        gap=_gap(model),
        fps=1000 * model.batch / summaries[Clock.END_TO_END].median,
    )


def _summary(model: ModelReport, clock: Clock) -> Summary:
    return summarise([sample / NS_PER_MS for sample in model.samples.of(clock)])


def _gap(model: ModelReport) -> Gap:
    """Differences are taken round by round, then their medians: the parts of one pass belong together."""
    engine, transfer, end_to_end = (np.asarray(model.samples.of(clock)) / NS_PER_MS for clock in Clock)
    copies, processing = float(np.median(transfer - engine)), float(np.median(end_to_end - transfer))
    return Gap(float(np.median(engine)), copies, processing)
