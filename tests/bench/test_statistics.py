from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hc_deploy.bench.statistics import (
    CONFIDENCE,
    MIN_SAMPLES,
    Interval,
    Ratio,
    Verdict,
    median_interval,
    paired_ratio,
    summarise,
    unpaired_ratio,
)

TRIALS = 300


def test_summary_by_hand() -> None:
    """Of 1..101 the value of rank 1 + q*100 is the q-th quantile."""
    shuffled = np.random.default_rng(0).permutation(np.arange(1, 102))
    summary = summarise(shuffled.tolist())
    assert (summary.count, summary.median, summary.minimum, summary.mean) == (101, 51, 1, 51)
    assert summary.p90 == pytest.approx(91)
    assert summary.p99 == pytest.approx(100)
    assert summarise([3.0, 1.0]).median == 2.0
    assert summarise([4.0]).interval == Interval(4.0, 4.0)


@pytest.mark.parametrize("count", [31, 101, 400])
def test_median_interval_is_the_order_statistic_interval(count: int) -> None:
    """Exact and distribution-free: the median lies between the order statistics that the binomial names."""
    samples = np.sort(np.random.default_rng(count).exponential(size=count))
    found = median_interval(samples.tolist())
    low_rank, high_rank = stats.binom.ppf([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], count, 0.5)
    ranks = np.searchsorted(samples, [found.low, found.high])
    assert abs(ranks[0] - low_rank) <= 2
    assert abs(ranks[1] - high_rank) <= 2


def test_paired_ratio_agrees_with_scipy() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.lognormal(0.5, 0.3, 83), rng.lognormal(0.0, 0.3, 83)

    def ratio_of_medians(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
        return np.median(x, axis=axis) / np.median(y, axis=axis)

    theirs = stats.bootstrap(
        (a, b), ratio_of_medians, paired=True, method="percentile", n_resamples=4000, vectorized=True, rng=rng
    ).confidence_interval
    ours = paired_ratio(a.tolist(), b.tolist())
    assert ours.value == pytest.approx(np.median(a) / np.median(b))
    assert ours.interval.low == pytest.approx(theirs.low, rel=0.02)
    assert ours.interval.high == pytest.approx(theirs.high, rel=0.02)


@pytest.mark.parametrize("ratio", [paired_ratio, unpaired_ratio])
def test_coverage_of_a_known_ratio(ratio) -> None:
    """The 95% interval holds the true ratio in about 95% of the cases (here 88 to 99.5%)."""
    rng = np.random.default_rng(11)
    held = 0
    for trial in range(TRIALS):
        a, b = 2.07 * rng.lognormal(0, 0.1, 50), rng.lognormal(0, 0.1, 50)
        interval = ratio(a.tolist(), b.tolist(), seed=trial, resamples=400).interval
        held += interval.low <= 2.07 <= interval.high
    assert 0.88 * TRIALS <= held <= 0.995 * TRIALS


@pytest.mark.parametrize("ratio", [paired_ratio, unpaired_ratio])
def test_identical_distributions_are_not_significant_at_the_promised_rate(ratio) -> None:
    """At most 5% false verdicts; 300 trials allow up to 9% (three standard deviations) and, being honest, need some."""
    rng = np.random.default_rng(12)
    samples = rng.lognormal(0, 0.1, (TRIALS, 2, 50))
    verdicts = [ratio(a.tolist(), b.tolist(), resamples=400).verdict for a, b in samples]
    assert 1 <= sum(verdict is not Verdict.NOT_SIGNIFICANT for verdict in verdicts) <= 0.09 * TRIALS


def test_pairing_removes_what_hits_both() -> None:
    """A machine that slows down threefold for half of the rounds blurs the medians, not their paired ratio."""
    rng = np.random.default_rng(3)
    drift = rng.choice([1.0, 3.0], 101)
    a, b = (drift * median * rng.lognormal(0, 0.005, 101) for median in (1.1, 1.0))
    paired, unpaired = paired_ratio(a.tolist(), b.tolist()), unpaired_ratio(a.tolist(), b.tolist())
    assert paired.half_width < unpaired.half_width / 5
    assert paired.interval.low < 1.1 < paired.interval.high
    assert (paired.verdict, unpaired.verdict) == (Verdict.SLOWER, Verdict.NOT_SIGNIFICANT)


@pytest.mark.parametrize(
    ("low", "high", "count", "verdict"),
    [
        (0.4, 0.6, 50, "faster"),
        (1.4, 1.6, 50, "slower"),
        (0.9, 1.1, 50, "not significant"),
        (1.0, 1.1, 50, "not significant"),
        (0.9, 1.0, 50, "not significant"),
        (0.4, 0.6, MIN_SAMPLES - 1, "not significant"),
        (1.4, 1.6, MIN_SAMPLES - 1, "not significant"),
        (1.4, 1.6, MIN_SAMPLES, "slower"),
    ],
)
def test_verdict(low: float, high: float, count: int, verdict: str) -> None:
    assert Ratio((low + high) / 2, Interval(low, high), count).verdict == verdict


def test_min_samples_is_the_least_that_can_hold_the_median() -> None:
    """From least to largest of n samples: 1 - 2/2^n."""
    assert 1 - 2 / 2 ** (MIN_SAMPLES - 1) < CONFIDENCE <= 1 - 2 / 2**MIN_SAMPLES


def test_seeded_and_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).exponential(size=37).tolist()
    assert median_interval(values, seed=1) == median_interval(values, seed=1)
    assert paired_ratio(values, values).interval == Interval(1.0, 1.0)
    whole = median_interval(values, seed=1)
    monkeypatch.setattr("hc_deploy.bench.statistics._CELLS", 37 * 7)
    assert median_interval(values, seed=1) == whole


def test_pairs_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError):
        paired_ratio([1.0, 2.0], [1.0])
