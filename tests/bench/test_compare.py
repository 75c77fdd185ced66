from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hc_deploy.bench.compare import Comparison
from hc_deploy.bench.compare import compare as compare_runs
from hc_deploy.bench.report import Clock, Report, Samples, write_report
from hc_deploy.bench.statistics import Verdict
from hc_deploy.errors import DeployError
from tests.bench.fakes import Ended, make_report, with_model


@pytest.fixture
def judge(tmp_path: Path, invoke):
    """Writes two reports and runs `bench.py compare` on them."""

    def call(old: Report, new: Report, *options: str) -> Ended:
        write_report(tmp_path / "old.json", old)
        write_report(tmp_path / "new.json", new)
        return invoke("compare", tmp_path / "old.json", tmp_path / "new.json", *options)

    return call


def compare(old: Report, new: Report) -> Comparison:
    return compare_runs([old], [new])


def verdicts(comparison: Comparison, name: str) -> list[Verdict]:
    return [change.ratio.verdict for change in comparison.changes if change.name == name]


def test_ratios_are_new_over_old() -> None:
    old, new = make_report({"fcn": 10.0, "same": 5.0}), make_report({"fcn": 20.0, "same": 5.0}, seed=1)
    comparison = compare(old, new)
    assert verdicts(comparison, "fcn") == [Verdict.SLOWER] * 3
    assert verdicts(comparison, "same") == [Verdict.NOT_SIGNIFICANT] * 3
    engine, transfer, end_to_end = comparison.changes[:3]
    for change, expected in ((engine, 20 / 10), (transfer, 20.5 / 10.5), (end_to_end, 21.5 / 11.5)):
        assert change.ratio.value == pytest.approx(expected, rel=0.02)
        assert change.new_ms / change.old_ms == pytest.approx(change.ratio.value)
    assert (engine.clock, engine.old_ms) == (Clock.ENGINE, pytest.approx(10.0, rel=0.01))
    assert verdicts(compare(new, old), "fcn") == [Verdict.FASTER] * 3


def test_a_regression_ends_with_3_after_the_table(judge) -> None:
    ended = judge(make_report({"fcn": 10.0, "ok": 5.0}), make_report({"fcn": 12.0, "ok": 5.0}, seed=1))
    assert ended.code == 3
    assert "1.17x slower" in ended.out and ended.out.count("REGRESSION") == 1
    assert "fcn, end_to_end: 11.5" in ended.err and "ok" not in ended.err


@pytest.mark.parametrize(
    ("new", "options", "code"),
    [
        (10.0, (), 5),  # one run each: the same to the eye only
        (5.0, (), 0),
        (10.8, (), 5),
        (11.3, (), 5),  # +11.3% end to end, and runs differ by 13%
        (11.8, (), 3),
        (10.0, ("--max-regression", "14"), 0),
        (12.0, ("--max-regression", "30"), 5),
        (12.0, ("--max-regression", "40"), 0),
    ],
)
def test_margin(judge, new: float, options: tuple[str, ...], code: int) -> None:
    ended = judge(make_report({"fcn": 10.0}, noise=0.01), make_report({"fcn": new}, noise=0.01, seed=1), *options)
    assert ended.code == code, ended.out + ended.err
    assert ("REGRESSION" in ended.out) == (code == 3)


def test_improvement_is_reported(judge) -> None:
    ended = judge(make_report({"fcn": 10.0}), make_report({"fcn": 5.0}, seed=1))
    assert ended.code == 0 and "2.00x faster" in ended.out


def test_noise_is_no_regression(judge) -> None:
    """A median 6% higher out of samples that scatter by 40%: slower to the eye, and not significant."""
    old = make_report({"fcn": 10.0}, noise=0.4)
    slower = next(
        report
        for report in (make_report({"fcn": 10.0}, noise=0.4, seed=seed) for seed in range(1, 100))
        if compare(old, report).changes[2].ratio.value > 1.06
    )
    ended = judge(old, slower)
    assert ended.code in (0, 5) and "not significant" in ended.out and "REGRESSION" not in ended.out


def test_only_the_chosen_clocks_are_judged(judge) -> None:
    old = make_report({"fcn": 10.0})
    samples = old.model("fcn").samples
    slow_engine = tuple(int(1.14 * t) for t in samples.engine)
    later = tuple(max(a, b) for a, b in zip(slow_engine, samples.transfer, strict=True))
    new = with_model(old, "fcn", samples=Samples(slow_engine, later, samples.end_to_end))
    assert judge(old, new, "--max-regression", "14").code == 0
    assert judge(old, new, "--clock", "end_to_end", "--clock", "engine").code == 3
    assert judge(old, new, "--clock", "engine").code == 3


def test_models_of_one_report_are_listed(judge) -> None:
    ended = judge(make_report({"a": 1.0, "gone": 2.0}), make_report({"a": 1.0, "fresh": 2.0}))
    assert ended.code == 5
    assert "Only in the old report, not compared: gone" in ended.out
    assert "Only in the new report, not compared: fresh" in ended.out


def test_nothing_in_common(judge) -> None:
    ended = judge(make_report({"a": 1.0}), make_report({"b": 1.0}))
    assert ended.code == 1 and "no model is in both reports" in ended.err


def changed_machine(report: Report, **fields: object) -> Report:
    return replace(report, environment=replace(report.environment, **fields))


OLD = make_report({"fcn": 10.0})
DECISIVE = {
    "CPU": changed_machine(OLD, cpu="Other CPU"),
    "frame": replace(OLD, workload=replace(OLD.workload, frame=(128, 192))),
    "fcn: input size": with_model(OLD, "fcn", size=(32, 48)),
    "fcn: batch": with_model(OLD, "fcn", batch=2),
}
WORTH_SAYING = {
    "fcn: threads": with_model(OLD, "fcn", threads=1),
    "fcn: provider": with_model(OLD, "fcn", provider="cuda"),
    "fcn: arch": with_model(OLD, "fcn", arch="other_resnet18"),
    "cores": changed_machine(OLD, usable_cores=1),
    "onnxruntime": changed_machine(OLD, packages={"onnxruntime": "1.21.0"}),
    "torch": changed_machine(OLD, packages={"onnxruntime": "1.20.0", "torch": "2.9"}),
}


@pytest.mark.parametrize("what", DECISIVE)
def test_decisive_differences_end_the_comparison(judge, what: str) -> None:
    refused = judge(OLD, DECISIVE[what])
    assert refused.code == 1 and f"{what}:" in refused.err and "--allow-different" in refused.err
    allowed = judge(OLD, DECISIVE[what], "--allow-different")
    assert allowed.code == 5 and f"{what} (decisive)" in allowed.out


@pytest.mark.parametrize("what", WORTH_SAYING)
def test_other_differences_are_shown_first(judge, what: str) -> None:
    ended = judge(OLD, WORTH_SAYING[what])
    assert ended.code == 5 and what in ended.out
    assert ended.out.startswith("NOT THE SAME IN BOTH REPORTS")


def test_same_conditions_are_not_mentioned(judge) -> None:
    ended = judge(OLD, with_model(OLD, "fcn", file=replace(OLD.model("fcn").file, sha256="1" * 64)))
    assert ended.code == 5 and "NOT THE SAME" not in ended.out


def test_gpu_is_decisive_where_it_ran_the_model(judge) -> None:
    from hc_deploy.system.gpu import Gpu

    old, new = (changed_machine(OLD, gpu=Gpu(name, "570", None, None)) for name in ("T4", "H200"))
    assert judge(old, new).code == 5
    on_gpu = [with_model(report, "fcn", provider="cuda") for report in (old, new)]
    assert judge(*on_gpu).code == 1


def test_too_few_rounds_are_no_verdict(judge) -> None:
    ended = judge(make_report({"fcn": 10.0}, rounds=5), make_report({"fcn": 30.0}, rounds=60))
    assert ended.code == 5 and "5 rounds" in ended.err and "not significant" in ended.out


def test_unstable_reports_are_no_verdict(judge) -> None:
    rng = np.random.default_rng(0)
    wild = tuple(int(t) for t in 1e7 * rng.lognormal(0, 2, 60))
    noisy = with_model(OLD, "fcn", samples=Samples(wild, wild, wild))
    ended = judge(noisy, noisy)
    assert ended.code == 5 and "fcn, end_to_end: median" in ended.err


def test_compare_is_pure() -> None:
    with pytest.raises(DeployError):
        compare(make_report({"a": 1.0}), make_report({"b": 1.0}))
    assert compare(OLD, OLD) == compare(OLD, OLD)
