"""Samples -> medians, percentiles, ratios with intervals, and verdicts.

Intervals are percentile-bootstrap intervals of the median (or of a ratio of medians): resample with replacement, take
the medians, keep the middle 95%. Medians because the noise of a busy machine only ever adds time. Everything is
seeded: the same samples give the same interval.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 2000
MIN_SAMPLES = 6
"""Below this no interval holds the median with 95%: even from the least to the largest of 5 samples it is 1 - 2/2^5."""
UNSTABLE_SHARE = 0.25
"""A median whose interval is wider than this share of it is no measurement."""
_CELLS = 2_000_000  # numbers resampled at once: 16 MB


class Verdict(StrEnum):
    """What the interval of a ratio allows to say."""

    FASTER = "faster"
    SLOWER = "slower"
    NOT_SIGNIFICANT = "not significant"


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, in the unit of what it bounds."""

    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """One clock of one model, in the unit of the samples. `interval` is that of the median."""

    count: int
    median: float
    p90: float
    p99: float
    minimum: float
    mean: float
    interval: Interval

    @property
    def spread(self) -> float:
        """Width of the median's interval as a share of the median."""
        return (self.interval.high - self.interval.low) / self.median


@dataclass(frozen=True)
class Ratio:
    """Time of a candidate over time of a baseline: below 1 the candidate is faster. `count`: samples of the scarcer."""

    value: float
    interval: Interval
    count: int

    @property
    def verdict(self) -> Verdict:
        """Faster or slower only when the whole interval lies on one side of 1 and there were enough samples."""
        if self.count >= MIN_SAMPLES and self.interval.high < 1:
            return Verdict.FASTER
        if self.count >= MIN_SAMPLES and self.interval.low > 1:
            return Verdict.SLOWER
        return Verdict.NOT_SIGNIFICANT

    @property
    def half_width(self) -> float:
        """Half the interval's width as a share of the ratio."""
        return (self.interval.high - self.interval.low) / (2 * self.value)


def summarise(samples: Sequence[float], *, seed: int = 0) -> Summary:
    """Summary of one or more samples."""
    values = _values(samples)
    p90, p99 = np.percentile(values, (90, 99))
    return Summary(
        count=len(values),
        median=float(np.median(values)),
        p90=float(p90),
        p99=float(p99),
        minimum=float(values.min()),
        mean=float(values.mean()),
        interval=median_interval(samples, seed=seed),
    )


def median_interval(samples: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Bootstrap interval of the median."""
    return _middle(_resampled_medians(_values(samples)[None], np.random.default_rng(seed), resamples)[0])


def paired_ratio(
    candidate: Sequence[float], baseline: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Ratio:
    """Ratio of medians of two models measured in one run: sample i of both comes from round i.

    Rounds are resampled, not samples, so a slow second that hit both models of a round widens nothing.

    Raises:
        ValueError: the two differ in length.
    """
    rows = np.stack([_values(candidate), _values(baseline)])
    resampled = _resampled_medians(rows, np.random.default_rng(seed), resamples)
    above, below = np.median(rows, axis=1)
    return Ratio(float(above / below), _middle(resampled[0] / resampled[1]), rows.shape[1])


def unpaired_ratio(
    candidate: Sequence[float], baseline: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Ratio:
    """Ratio of medians of samples from two runs: each side is resampled on its own.

    The interval knows the noise within the runs, not what changed between them (another neighbour on the machine,
    another clock rate): `between_runs` is for that.
    """
    above, below = _values(candidate), _values(baseline)
    rng = np.random.default_rng(seed)
    resampled = [_resampled_medians(values[None], rng, resamples)[0] for values in (above, below)]
    value = float(np.median(above) / np.median(below))
    return Ratio(value, _middle(resampled[0] / resampled[1]), min(len(above), len(below)))


def _values(samples: Sequence[float]) -> Floats:
    return np.asarray(samples, dtype=np.float64)


def _resampled_medians(rows: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    """Medians of rows [k, n] over `resamples` resamplings of the n columns: [k, resamples]."""
    count = rows.shape[1]
    parts = [
        np.median(rows[:, rng.integers(count, size=(part, count))], axis=2)
        for part in _parts(resamples, max(1, _CELLS // (count * len(rows))))
    ]
    return np.concatenate(parts, axis=1)


def _parts(total: int, most: int) -> Iterator[int]:
    for start in range(0, total, most):
        yield min(most, total - start)


def _middle(values: Floats) -> Interval:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(values, (tail, 100 - tail))
    return Interval(float(low), float(high))
