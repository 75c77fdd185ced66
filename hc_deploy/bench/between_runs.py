"""Medians of runs, one number a run -> the ratio of two sides, with an interval that knows how runs differ.

A process gets its own memory layout, clock rate and neighbours, and keeps them: all samples of one run are off by the
same few percent, and more of them only make a wrong answer look certain. So the unit of a comparison is a run.
Standard library and numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import exp, log, pi, sqrt

import numpy as np

from hc_deploy.bench.statistics import CONFIDENCE, Interval, Ratio

ONE_RUN_PERCENT = 13
"""Two single runs of the same file differ by up to this. Six runs of the same two files on an idle machine of this
project gave medians from 25.3 to 28.4 ms: the farthest two 12.3% apart. Six values span 2.53 standard deviations
on average, so one is 4.6%, and 95% of all pairs lie within 1.96 * sqrt(2) * 4.6% = 13%."""
FEWEST_RUNS = 3
"""Of a side, where there is more than one run. Of 2 and 2 runs on a machine that has two speeds 10% apart, one
process of two on each, 13% were called faster or slower: an exact test on ranks cannot get below p = 1/3 there."""
_NODES = 4001

# Why Welch's t on logarithms, and not ranks or a bootstrap: an exact rank test needs 4 runs a side to reach 5% at all
# and gives no interval; a bootstrap of 3 to 5 runs is far too narrow. False verdicts of `ratio_of_runs`, promised 5%,
# on runs of 20 samples that scatter by 5% (noises of tests/bench/noise.py; 2000 pairs of sides each, of 3, 4, 5, 8
# and 10 runs a side); samples taken as independent gave 5% for the first kind and 38 to 77% for the next three:
#
#     independent samples              3.2  4.0  4.3  4.3  5.2%
#     runs 3% apart                    4.0  4.0  4.4  4.0  5.1%
#     autocorrelation 0.9              3.4  3.5  4.2  4.5  4.5%
#     both                             3.8  3.6  4.3  5.0  4.5%
#     each run at one of two speeds    4.0  3.5  3.7  5.7  4.5%
#     each sample at one of two        2.9  2.4  2.4  4.2  4.7%
#
# With 5 runs a side a slow-down of 5% is found 100% of the time where runs are 1% apart, one of 10% where they are
# 3% apart 99% of the time; with 3 runs 86% and 70%.


def ratio_of_runs(new: Sequence[float], old: Sequence[float], *, samples: int) -> Ratio:
    """Ratio of the geometric means of two sides' run medians, with Welch's interval.

    Args:
        new, old: the median of each run, at least `FEWEST_RUNS` a side.
        samples: in the shortest of the runs.

    Raises:
        ValueError: too few runs.
    """
    if min(len(new), len(old)) < FEWEST_RUNS:
        raise ValueError(f"{len(old)} and {len(new)} runs; it takes {FEWEST_RUNS} a side")
    above, below = np.log(np.asarray(new, np.float64)), np.log(np.asarray(old, np.float64))
    shares = [float(logs.var(ddof=1)) / len(logs) for logs in (above, below)]
    variance, difference = sum(shares), float(above.mean() - below.mean())
    if variance == 0:  # what no clock in nanoseconds gives
        return Ratio(exp(difference), Interval(exp(difference), exp(difference)), samples)
    freedom = variance**2 / sum(
        share**2 / (len(logs) - 1) for share, logs in zip(shares, (above, below), strict=True)
    )  # fmt: skip
    half = t_quantile(0.5 + CONFIDENCE / 2, freedom) * sqrt(variance)
    return Ratio(exp(difference), Interval(exp(difference - half), exp(difference + half)), samples)


def ratio_of_single_runs(within: Ratio) -> Ratio:
    """`within`, the ratio of two runs with the interval of their samples, with one that is honest about runs.

    It reaches at least `ONE_RUN_PERCENT` to each side; where the samples scatter farther, as far as they do.
    """
    apart = 1 + ONE_RUN_PERCENT / 100
    low, high = min(within.interval.low, within.value / apart), max(within.interval.high, within.value * apart)
    return replace(within, interval=Interval(low, high))


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive numbers."""
    return exp(sum(log(value) for value in values) / len(values))


def run_spread(medians: Sequence[float]) -> float:
    """How much the slowest run took longer than the fastest, as a share of the fastest."""
    return max(medians) / min(medians) - 1


def t_quantile(probability: float, freedom: float) -> float:
    """Quantile of Student's t for a probability above one half, to four digits or more.

    With t = sqrt(freedom) * tan(angle) its density is cos(angle)^(freedom - 1): smooth and on a finite range, so
    Simpson's rule does.
    """
    angles = np.linspace(0, pi / 2, 2 * _NODES - 1)
    density = np.cos(angles) ** (freedom - 1)
    pieces = (density[:-2:2] + 4 * density[1::2] + density[2::2]) * (angles[1] / 3)
    area = np.concatenate([[0.0], np.cumsum(pieces)])
    angle = float(np.interp((2 * probability - 1) * area[-1], area, angles[::2]))
    return sqrt(freedom) * float(np.tan(angle))
