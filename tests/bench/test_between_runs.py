"""Comparisons of several runs a side: the numbers against scipy, the promise against noise, the command."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import hc_deploy
from hc_deploy.bench.between_runs import (
    FEWEST_RUNS,
    ONE_RUN_PERCENT,
    geometric_mean,
    ratio_of_runs,
    ratio_of_single_runs,
    run_spread,
    t_quantile,
)
from hc_deploy.bench.compare import compare
from hc_deploy.bench.report import Clock, Report, write_report
from hc_deploy.bench.statistics import Interval, Ratio, Verdict
from hc_deploy.errors import DeployError, UsageError
from tests.bench.fakes import make_report, with_model
from tests.bench.noise import NOISES, runs

PAIRS = 400


@pytest.mark.parametrize("freedom", [1, 1.3, 2, 2.71, 4, 7.9, 18, 198, 4321])
@pytest.mark.parametrize("probability", [0.9, 0.975, 0.995])
def test_t_quantiles(probability: float, freedom: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=2e-4)


@pytest.mark.parametrize(("old_runs", "new_runs", "scatter"), [(3, 3, 1.0), (4, 7, 3.0), (10, 3, 0.2), (5, 11, 1.0)])
def test_interval_is_scipys_welch(old_runs: int, new_runs: int, scatter: float) -> None:
    rng = np.random.default_rng(old_runs)
    old, new = rng.lognormal(1.0, 0.03, old_runs), rng.lognormal(1.1, 0.03 * scatter, new_runs)
    theirs = stats.ttest_ind(np.log(new), np.log(old), equal_var=False).confidence_interval(0.95)
    ours = ratio_of_runs(new.tolist(), old.tolist(), samples=50)
    assert ours.value == pytest.approx(stats.gmean(new) / stats.gmean(old))
    assert np.log([ours.interval.low, ours.interval.high]) == pytest.approx([theirs.low, theirs.high], rel=1e-4)
    other_way = ratio_of_runs(old.tolist(), new.tolist(), samples=50)
    assert other_way.interval.low == pytest.approx(1 / ours.interval.high)


def test_runs_without_any_scatter() -> None:
    assert ratio_of_runs([3.0] * 3, [2.0] * 4, samples=9) == Ratio(
        pytest.approx(1.5), Interval(pytest.approx(1.5), pytest.approx(1.5)), 9
    )


@pytest.mark.parametrize("count", range(FEWEST_RUNS))
def test_fewer_runs_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match="it takes 3 a side"):
        ratio_of_runs([1.0] * count, [1.0] * 5, samples=50)


def verdicts(medians: np.ndarray, *, slower: float = 1.0) -> list[Verdict]:
    """Of pairs of sides [pairs, 2, runs]."""
    return [ratio_of_runs(slower * new, old, samples=20).verdict for old, new in medians]


@pytest.mark.parametrize("noise", NOISES)
def test_false_verdicts_stay_at_the_promised_rate(noise: str) -> None:
    """5% at most: of 400 pairs of sides without a difference 33 would be more than three standard deviations more."""
    rng = np.random.default_rng(len(noise))
    for count in (3, 5, 10):
        medians = np.median(runs(noise, (PAIRS, 2, count), 20, rng), axis=-1)
        false = sum(verdict is not Verdict.NOT_SIGNIFICANT for verdict in verdicts(medians))
        assert 1 <= false <= 33, f"{false} of {PAIRS} with {count} runs a side"


def test_two_runs_a_side_would_not_keep_it() -> None:
    """Why `FEWEST_RUNS` is 3: of a machine with two speeds, two runs a side agree by chance far too often."""
    medians = np.median(runs("two speeds a run", (PAIRS, 2, 2), 60, np.random.default_rng(2)), axis=-1)
    found = stats.ttest_ind(np.log(medians[:, 0]), np.log(medians[:, 1]), axis=-1, equal_var=False)
    assert np.mean(found.pvalue < 0.05) > 0.08


@pytest.mark.parametrize(("slower", "apart", "least"), [(1.05, 0.01, 0.9), (1.10, 0.03, 0.9)])
def test_five_runs_find_a_real_difference(slower: float, apart: float, least: float) -> None:
    samples = runs("offset", (PAIRS, 2, 5), 60, np.random.default_rng(7), offset=apart)
    found = verdicts(np.median(samples, axis=-1), slower=slower)
    assert found.count(Verdict.SLOWER) >= least * PAIRS and Verdict.FASTER not in found


def test_single_runs_are_at_least_as_far_apart_as_runs_are_known_to_be() -> None:
    apart = 1 + ONE_RUN_PERCENT / 100
    quiet = ratio_of_single_runs(Ratio(1.1, Interval(1.09, 1.11), 50))
    assert (quiet.interval.low, quiet.interval.high) == (1.1 / apart, 1.1 * apart)
    assert quiet.verdict is Verdict.NOT_SIGNIFICANT and quiet.value == 1.1
    noisy = Ratio(1.1, Interval(0.6, 1.9), 50)
    assert ratio_of_single_runs(noisy) == noisy
    assert ratio_of_single_runs(Ratio(1.2, Interval(1.19, 1.21), 50)).verdict is Verdict.SLOWER
    six_runs = [25.3, 26.0, 28.4]
    assert 100 * run_spread(six_runs) == pytest.approx(12.25, abs=0.01) and 100 * run_spread(six_runs) < ONE_RUN_PERCENT


def side(median: float, count: int, *, apart: float = 0.01, seed: int = 0, **names: float) -> list[Report]:
    """Reports of runs whose medians lie `apart` (standard deviation), of `fcn` and of other models by `names`."""
    rng = np.random.default_rng(seed)
    offsets = np.exp(rng.normal(0, apart, count))
    models = {"fcn": median, **names}
    return [
        make_report({name: float(ms * offset) for name, ms in models.items()}, noise=0.005, seed=100 * seed + number)
        for number, offset in enumerate(offsets)
    ]


def test_several_reports_are_compared_by_their_medians() -> None:
    old, new = side(10.0, 4), side(11.0, 5, seed=1)
    comparison = compare(old, new)
    assert comparison.runs == (4, 5)
    change = comparison.changes[0]
    medians = [[float(np.median(one.model("fcn").samples.engine)) / 1e6 for one in runs] for runs in (old, new)]
    assert [list(change.old_runs_ms), list(change.new_runs_ms)] == medians
    assert change.ratio == ratio_of_runs(medians[1], medians[0], samples=60)
    assert change.old_ms == pytest.approx(stats.gmean(medians[0])) == geometric_mean(medians[0])
    assert change.ratio.verdict is Verdict.SLOWER


def test_the_public_function_takes_files_reports_and_lists(tmp_path: Path) -> None:
    old, new = side(10.0, 3), side(10.0, 3, seed=1)
    for number, report in enumerate(old):
        write_report(tmp_path / f"{number}.json", report)
    assert hc_deploy.compare([tmp_path / "0.json", str(tmp_path / "1.json"), old[2]], new) == compare(old, new)
    assert hc_deploy.compare(tmp_path / "0.json", new[0]) == compare(old[:1], new[:1])


@pytest.mark.parametrize(("old", "new"), [(1, 2), (2, 2), (3, 1), (2, 5), (0, 3)])
def test_designs_that_cannot_answer_are_refused(old: int, new: int) -> None:
    with pytest.raises(UsageError, match="3 or more a side"):
        compare(side(10.0, old), side(10.0, new, seed=1))


def test_one_run_given_twice_is_no_evidence() -> None:
    old = side(10.0, 3)
    with pytest.raises(UsageError, match="the same run twice among the new reports"):
        compare(old, [old[0], old[1], old[0]])


@pytest.fixture
def judge(tmp_path: Path, invoke):
    """Writes the reports of both sides and compares them by the command."""

    def call(old: list[Report], new: list[Report], *options: str):
        named = []
        for which, reports in (("old", old), ("new", new)):
            for number, report in enumerate(reports):
                write_report(tmp_path / f"{which}.{number}.json", report)
                named += [f"--{which}", tmp_path / f"{which}.{number}.json"]
        return invoke("compare", *named, *options)

    return call


@pytest.mark.parametrize(
    ("new", "apart", "code", "says"),
    [
        (10.0, 0.01, 0, "not significant"),
        (11.0, 0.01, 3, "REGRESSION"),
        (10.2, 0.001, 0, "slower"),  # shown, and shown to be within 5%
        (10.3, 0.03, 5, "cannot tell"),
        (8.0, 0.01, 0, "faster"),
    ],
)
def test_three_answers_of_the_gate(judge, new: float, apart: float, code: int, says: str) -> None:
    ended = judge(side(10.0, 5, apart=apart), side(new, 5, apart=apart, seed=1))
    assert ended.code == code and says in ended.out, ended.out + ended.err
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "5 old and 5 new runs" in ended.out and "Welch" in ended.out
    assert (code == 5) == ("the runs differ too much to tell whether this is within 5%" in ended.err)


def test_run_to_run_spread_is_printed_a_side(judge) -> None:
    old, new = (
        [make_report({"fcn": ms - 1.5}, noise=1e-5) for ms in runs] for runs in ((20.0, 20.2, 20.4), (28.4, 25.3, 26.0))
    )
    ended = judge(old, new)
    assert re.search(r"\n  old .* 20\.0 to 20\.4 +\(2\.0%\)", ended.out), ended.out
    assert re.search(r"\n  new .* 25\.3 to 28\.4 +\(12\.3%\)", ended.out), ended.out


def test_one_run_each_says_what_it_cannot_tell(judge, invoke, tmp_path: Path) -> None:
    judge(side(10.0, 1), side(10.8, 1, seed=1))
    ended = invoke("compare", tmp_path / "old.0.json", tmp_path / "new.0.json")
    line = f"one run each: differences under {ONE_RUN_PERCENT}% cannot be told"
    assert ended.code == 5 and line in ended.out and line in ended.err and "--repeat" in ended.err


def test_an_option_takes_all_that_a_shell_puts_for_a_pattern(judge, invoke, tmp_path: Path) -> None:
    judge(side(10.0, 4), side(11.0, 3, seed=1))
    old, new = (sorted(tmp_path.glob(pattern)) for pattern in ("old.*.json", "new.*.json"))
    ended = invoke("compare", "--old", *old, "--clock", "engine", "--new", *new, "--max-regression", "30")
    assert ended.code == 0 and "4 old and 3 new runs" in ended.out
    assert invoke("compare", "--new", *new, "--old", *old[:2], "--old", *old[2:]).code == 3


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("a.json",),
        ("--old", "a.json"),
        ("a.json", "b.json", "--new", "c.json"),
        ("--old=a.json", "b.json"),
        ("a.json", "--old", "b.json", "--new", "c.json"),
    ],
)
def test_sides_that_are_not_clear(invoke, arguments: tuple[str, ...]) -> None:
    ended = invoke("compare", *arguments)
    assert ended.code == 2 and "two reports, or --old and --new" in ended.err


def test_models_that_are_not_in_every_report(judge) -> None:
    old, new = side(10.0, 3, other=2.0), side(10.0, 3, seed=1, other=2.0)
    old[1] = replace(old[1], models=old[1].models[:1])
    ended = judge(old, new)
    assert ended.code == 0 and "Not in every report, not compared: other" in ended.out
    with pytest.raises(DeployError, match="no model is in both"):
        compare(old, [make_report({"third": 1.0}, seed=seed) for seed in range(3)])


def test_runs_of_one_side_are_of_one_file_and_machine(judge) -> None:
    old, new = side(10.0, 3), side(10.0, 3, seed=1)
    model = new[2].model("fcn")
    other_file = [*new[:2], with_model(new[2], "fcn", file=replace(model.file, sha256="1" * 64))]
    ended = judge(old, other_file)
    assert ended.code == 1 and "fcn: file, new reports 1 and 3" in ended.err
    assert judge(old, other_file, "--allow-different").code == 0
    both_sides = [with_model(one, "fcn", file=replace(model.file, sha256="1" * 64)) for one in new]
    assert judge(old, both_sides).code == 0
    other_cpu = [old[0], replace(old[1], environment=replace(old[1].environment, cpu="Other")), old[2]]
    ended = judge(other_cpu, new)
    assert ended.code == 1 and "CPU, old reports 1 and 2: Test CPU against Other" in ended.err


def test_too_few_rounds_in_one_run(judge) -> None:
    old, new = side(10.0, 3), side(20.0, 3, seed=1)
    new[1] = make_report({"fcn": 20.0}, rounds=5)
    ended = judge(old, new)
    assert ended.code == 5 and "one new report holds 5 rounds" in ended.err


def test_clocks_are_judged_as_for_single_reports(judge) -> None:
    old, new = side(10.0, 3), side(11.0, 3, seed=1)
    assert [change.clock for change in compare(old, new).regressions([Clock.ENGINE], 5.0)] == [Clock.ENGINE]
    assert judge(old, new, "--clock", "engine", "--max-regression", "5").code == 3
    assert judge(old, new, "--clock", "engine", "--max-regression", "30").code == 0
