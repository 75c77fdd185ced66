from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from hc_deploy.bench.compare import compare
from hc_deploy.bench.compare_table import compare_table
from hc_deploy.bench.report import Clock, Samples
from hc_deploy.bench.results import require_stable, results, what_ran
from hc_deploy.bench.statistics import Interval, Ratio
from hc_deploy.bench.table import factor_lines, run_table, three_digits, wrapped
from hc_deploy.errors import UnstableMeasurementError
from hc_deploy.ran import Runtime
from tests.bench.fakes import make_report, with_model

LONG = "hcpspnet_resnet101_a_very_long_name_of_a_model"


def printed(what: object, width: int = 80, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding=encoding, write_through=True) as file:
        Console(file=file, width=width).print(what)
        return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_80_columns_show_everything(encoding: str) -> None:
    report = make_report({"pspnet_resnet101": 1234.5, LONG: 0.123, "[bold]x": 99_999.0}, noise=0.3)
    text = printed(run_table(report), encoding=encoding)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text and "[bold]x" in text
    names = "".join(line[:13].strip() for line in text.splitlines())
    assert LONG in names and "pspnet_resnet101(baseline)" in names
    for row in results(report):
        for summary in row.summaries.values():
            numbers = (three_digits(value) for value in (summary.median, summary.p90, summary.p99))
            assert re.search(r"\s+".join(map(re.escape, numbers)), text)
        assert three_digits(row.fps) in text


def test_what_ran_each_model_is_shown_in_80_columns() -> None:
    found = {"fp16": 92, "fp32": 8}
    report = make_report({"onnx": 3.0, "plain": 2.0, "full": 1.0, "lean": 1.5})
    for name, provider, runtime in (
        ("onnx", "cuda", Runtime("onnxruntime", "1.32.0")),
        ("full", "tensorrt", Runtime("tensorrt", "10.9.0.34", "fp16", found, "engine")),
        ("lean", "tensorrt", Runtime("tensorrt_lean", "10.9.0.34", "fp16", {}, "network")),
    ):
        report = with_model(report, name, provider=provider, runtime=runtime)
    assert [what_ran(model)[:2] for model in report.models] == [
        ("onnxruntime 1.32.0, cuda", "as in the file"),
        ("cpu (version not recorded)", "not recorded"),
        ("tensorrt 10.9.0.34", "fp16; engine: fp16 92%, fp32 8%"),
        ("tensorrt_lean 10.9.0.34, tensorrt", "fp16"),
    ]
    text = printed(run_table(report))
    assert max(map(len, text.splitlines())) <= 80 and text.count("1x64x96") == 4
    assert text.count("10.9.0.34") == 2 and "92%" in text and "1.32.0" in text


def test_who_is_faster() -> None:
    assert factor_lines(Ratio(0.5, Interval(0.4, 0.8), 50)) == ("2.00x faster", "[1.25, 2.50]")
    assert factor_lines(Ratio(2.0, Interval(1.25, 2.5), 50)) == ("2.00x slower", "[1.25, 2.50]")
    assert factor_lines(Ratio(1.0, Interval(0.8, 1.25), 50)) == ("not significant", "[0.800, 1.250]")
    assert factor_lines(Ratio(1.004, Interval(1.002, 1.006), 50)) == ("1.004x slower", "[1.002, 1.006]")
    assert factor_lines(Ratio(2.0, Interval(1.25, 2.5), 5))[0] == "not significant"


def test_the_faster_model_is_called_faster() -> None:
    text = printed(run_table(make_report({"big": 20.0, "small": 10.0}, noise=0.001)))
    assert re.search(r"2\.00x faster +1\.95x faster +1\.87x faster", text)
    assert "slower\n" not in text and "than big" in text


def test_results_of_hand_made_samples() -> None:
    """Medians, frames a second and the parts of a pass, in ms; parts are medians of differences round by round."""
    report = make_report({"a": 1.0}, rounds=3)
    ms = 10**6
    samples = Samples((1 * ms, 2 * ms, 9 * ms), (2 * ms, 5 * ms, 10 * ms), (4 * ms, 8 * ms, 40 * ms))
    (row,) = results(with_model(report, "a", samples=samples, batch=4))
    assert [row.summaries[clock].median for clock in Clock] == [2.0, 5.0, 8.0]
    assert (row.gap.network, row.gap.copies, row.gap.processing) == (2.0, 1.0, 3.0)
    assert row.fps == pytest.approx(4 / 0.008)
    assert row.ratios is None


def test_ratios_are_against_the_baseline() -> None:
    report = make_report({"a": 10.0, "b": 20.0}, noise=0.001)
    first, second = results(report)
    assert first.ratios is None and second.ratios is not None
    assert second.ratios[Clock.ENGINE].value == pytest.approx(2.0, rel=0.01)


def test_unstable_medians_are_named() -> None:
    require_stable(make_report({"a": 10.0, "b": 20.0}))
    report = make_report({"calm": 10.0, "wild": 20.0})
    wild = make_report({"wild": 20.0}, noise=2.0).model("wild").samples
    shaky = with_model(report, "wild", samples=wild)
    with pytest.raises(UnstableMeasurementError, match="wild, engine: median") as raised:
        require_stable(shaky)
    assert raised.value.exit_code == 5 and "calm" not in str(raised.value)
    require_stable(shaky, names=["calm"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.000"),
        (0.0123, "0.012"),
        (0.1234, "0.123"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (9876.4, "9876"),
        (99_999.4, "99999"),
        (123_456.0, "123k"),
    ],
)
def test_three_digits(value: float, text: str) -> None:
    assert three_digits(value) == text


def test_names_break_after_separators() -> None:
    assert wrapped("hcfcn32_resnet18") == "hcfcn32_\nresnet18"
    assert wrapped("fcn32") == "fcn32"
    assert wrapped("x" * 30) == "\n".join(["x" * 13, "x" * 13, "x" * 4])
    assert wrapped("a_b-c.d/e_f_g_h").replace("\n", "") == "a_b-c.d/e_f_g_h"


def test_too_few_rounds_are_said() -> None:
    text = printed(run_table(make_report({"a": 1.0, "b": 9.0}, rounds=3)))
    assert "3 rounds are too few for a verdict" in text and "9.00x slower" not in text


def test_comparison_in_80_columns() -> None:
    old, new = (make_report({LONG: median, "b": 1.0}, noise=1e-4) for median in (1000.0, 4000.0))
    text = printed(compare_table(compare([old], [new]), clocks=(Clock.ENGINE,), max_percent=5.0), encoding="ascii")
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("REGRESSION") == 1 and "4.00x slower" in text and "1000 -> 4000" in text
