"""The kernels' benchmark where no GPU is: its checks fail when a kernel is wrong, its dry run, its refusals.

What only a GPU can show: events, copies on the device, the real driver and the real compute-sanitizer.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.kernels import __main__ as command
from benchmarks.kernels import ahead, large, report, sanitizer, timing
from benchmarks.kernels.cases import OPS, Case, all_cases, few_cases
from benchmarks.kernels.check import check, poisoned, run_kernel
from benchmarks.kernels.workload import Level
from hc_deploy.cluster_options import ClusterOptions
from hc_deploy.engine.kernel_source import Kernel
from hc_deploy.errors import DeployError, GateError, MissingDependencyError
from hc_deploy.ops import assign
from hc_deploy.ops.kernels import KernelLibrary
from tests.plugins.emulated import kernels as emulated

CPU = torch.device("cpu")
HARD = ClusterOptions(assignment="hard")


@pytest.fixture(scope="module")
def library():
    return KernelLibrary(emulated().path, device_type="cpu")


def test_dry_run(tmp_path, capsys):
    command.main(tmp_path, dry_run=True, quick=True, library=emulated().path)
    fields = json.loads((tmp_path / "report.json").read_text())
    assert fields["schema"] == 1 and fields["dry_run"] and fields["device"] is None
    assert {(one["op"], one["variant"]) for one in fields["timings"]} == {
        ("HCAssign", "kernel"), ("HCDecode", "kernel"), ("HCUpsample", "kernel"),
        ("HCArgmax", "kernel, smooth logits"), ("HCArgmax", "kernel, random logits"),
        ("HCUpsample", "two kernels"), ("HCUpsample", "torch eager"), ("HCUpsample", "torch.compile"),
    }  # fmt: skip
    assert all(len(one["nanoseconds"]) == 6 and min(one["nanoseconds"]) > 0 for one in fields["timings"])
    assert {one["road"] for one in fields["checks"]} == {"launcher", "ahead of time", "launcher, over 131072 elements"}
    assert all(one["passed"] for one in fields["checks"])
    text = (tmp_path / "kernels.md").read_text()
    assert "times mean nothing" in text and "reached" not in text and "missed" not in text
    assert text.strip() == capsys.readouterr().out.strip()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kernels.md", "report.json"]


def test_without_a_gpu(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    line = [sys.executable, "-m", "benchmarks.kernels", "-o", tmp_path]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 4 and "Traceback" not in done.stderr
    assert "finds no GPU" in done.stderr and "--dry-run" in done.stderr


def test_without_the_built_library(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(MissingDependencyError, match=r"(?s)absent.so does not exist.*make plugin"):
        command.main(tmp_path, library=tmp_path / "absent.so")


def test_a_wrong_kernel_fails_the_run(tmp_path, monkeypatch):
    """Exit code 3, and the report is written all the same."""
    right = KernelLibrary.decode
    monkeypatch.setattr(KernelLibrary, "decode", lambda *arguments: right(*arguments) * 1.01)
    skip = [command.Stage.SANITIZER, command.Stage.TIMES]
    with pytest.raises(GateError, match=r"(?s)checks failed.*decode") as caught:
        command.main(tmp_path, dry_run=True, library=emulated().path, skip=skip)
    assert caught.value.exit_code == 3
    checks = json.loads((tmp_path / "report.json").read_text())["checks"]
    assert {one["op"] for one in checks if not one["passed"]} == {"decode"}
    assert any(one["passed"] for one in checks if one["op"] == "decode")  # other roads, and NaN alone


@pytest.mark.parametrize("case", few_cases()[::3], ids=lambda case: case.name)
def test_right_kernels_pass(library, case):
    inputs = case.inputs(CPU)
    assert check(case, run_kernel(library, case, inputs), inputs).passed


def spoil_one(out):
    out.view(-1)[out.numel() // 2] += 0.05


def leave_unwritten(out):
    out.view(-1)[-1] = torch.nan if out.is_floating_point() else torch.iinfo(out.dtype).max


def shift_rows(out):
    out.copy_(out.roll(1, dims=-2))


def choose_second(out):
    """Hard weights: the 1 of one pixel moves to another candidate."""
    out[0, :, 3, 3] = out[0, :, 3, 3].roll(1)


def two_ones(out):
    out[0, :, 3, 3] = 1


def next_label(out):
    out[0, 3, 3] = (out[0, 3, 3] + 1) % 5


def last_of_equals(out):
    out.fill_(4)


@pytest.mark.parametrize(
    ("case", "spoil"),
    [
        *((Case(op, dtype, (9, 13)), spoil) for op in ("assign", "decode", "upsample")
          for dtype in ("float32", "float16", "bfloat16") for spoil in (spoil_one, leave_unwritten, shift_rows)),
        *((Case("assign", "float32", (9, 13), options=HARD), spoil) for spoil in (choose_second, two_ones)),
        (Case("upsample", "float32", (9, 13), options=HARD), spoil_one),
        *((Case("argmax", "float16", (9, 13)), spoil) for spoil in (next_label, leave_unwritten, shift_rows)),
        (Case("argmax", "float32", (9, 13), data="equal"), last_of_equals),
        (Case("decode", "float32", (9, 13), data="nan"), lambda out: out.nan_to_num_(0)),
    ],
)  # fmt: skip
def test_a_wrong_output_fails(library, case, spoil):
    inputs = case.inputs(CPU)
    out = run_kernel(library, case, inputs)
    assert check(case, out, inputs).passed
    spoil(out)
    assert not check(case, out, inputs).passed


def test_half_precision_inside_fails():
    """The allowed error of float32 is far from what directions rounded to float16 give."""
    case = Case("assign", "float32", (9, 13))
    inputs = case.inputs(CPU)
    rounded = [torch.nn.functional.normalize(tensor, dim=1).half().float() for tensor in inputs]
    assert not check(case, assign.reference(*rounded, ClusterOptions()), inputs).passed


def test_unwritten_outputs_are_poison():
    with poisoned():
        floats, labels = torch.empty(3), torch.ones(1).new_empty(3, dtype=torch.int32)
    assert floats.isnan().all() and (labels == torch.iinfo(torch.int32).max).all()
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("cases", [all_cases(), few_cases()], ids=["all", "few"])
def test_cases_reach_every_kernel(cases):
    assert len({case.name for case in cases}) == len(cases)
    fixed = {(case.op, case.dtype, case.op in ("assign", "upsample") and case.embedding == 64) for case in cases}
    assert len(fixed) == 18  # the kernels of entries.cuh
    assert {case.data for case in cases} == {"normal", "large", "tiny", "equal", "nan"}
    for op in OPS:
        mine = [case for case in cases if case.op == op]
        assert {case.fine[0] % 2 for case in mine} == {case.fine[1] % 2 for case in mine} == {0, 1}
        assert any(case.offset % 2 for case in mine)


def test_offset_inputs_are_not_aligned():
    tensors = Case("upsample", "float16", (10, 70), offset=1).inputs(CPU)
    assert all(tensor.data_ptr() % 4 == 2 and tensor.is_contiguous() for tensor in tensors)


def test_large_maps_are_larger_than_their_threshold(library):
    outcomes = list(large.check_large(library, CPU, elements=2**17))
    assert len(outcomes) == 6 and all(outcome.passed for outcome in outcomes)
    for case in large.large_cases():
        shapes = [*case.shapes, (case.batch, *case.fine), (case.batch, case.classes, *case.fine)]
        assert max(torch.Size(shape).numel() for shape in shapes) > 2**31


def test_an_offset_that_wraps_is_seen(library, monkeypatch):
    """A kernel whose last rows land elsewhere, as they do when the upper bits of an offset are lost."""
    right = run_kernel

    def wrapped(*arguments):
        out = right(*arguments)
        return out.roll(3, dims=-2)

    monkeypatch.setattr(large, "run_kernel", wrapped)
    assert not any(outcome.passed for outcome in large.check_large(library, CPU, elements=2**17))


def test_large_maps_that_do_not_fit_are_said(library):
    results = list(large.check_large(library, CPU, free=10**9))
    assert len(results) == 6 and all("GB are free" in result for result in results)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """The fake libcuda."""
    built = tmp_path_factory.mktemp("driver") / "libcuda.so.1"
    source = Path(__file__).with_name("fake_driver.cpp")
    subprocess.run(["g++", "-std=c++17", "-shared", "-fPIC", "-w", source, "-o", built, "-ldl"], check=True)
    return built


@pytest.mark.parametrize(
    "case",
    [
        Case("assign", "float32", (7, 67)),
        Case("assign", "float16", (9, 12), embedding=3, options=ClusterOptions(1.5, "dot", "exclude", "hard")),
        Case("decode", "float16", (7, 67)),
        Case("upsample", "bfloat16", (10, 70)),
        Case("argmax", "float16", (33, 131), coarse=(9, 17)),
    ],
    ids=lambda case: case.name,
)
def test_launches_through_the_driver(library, driver, monkeypatch, case):
    """Real PTX by NVRTC; the parameters as the driver finds them at their addresses."""
    monkeypatch.setenv("FAKE_KERNELS", str(emulated().path))
    inputs = case.inputs(CPU)
    with poisoned():
        out = ahead.run_ahead(ahead.Driver(library=str(driver)), case, inputs)
    assert torch.equal(out, run_kernel(library, case, inputs))


def test_the_drivers_refusals_are_messages(driver, monkeypatch):
    monkeypatch.setenv("FAKE_KERNELS", str(emulated().path))
    found = ahead.Driver(library=str(driver))
    with pytest.raises(DeployError, match=r"cuCtxSetCurrent: invalid argument \(error 1\)"):
        ahead.Driver(1, library=str(driver))
    empty = ahead.Launch(Kernel("decode", "f32"), (0, 1, 1), (128, 1, 1), (0, 0), (1, 1, 2, 2), 0)
    with pytest.raises(DeployError, match=r"cuLaunchKernel: .* \(error 9\)"):
        found.run(empty)
    with pytest.raises(MissingDependencyError, match="libnone"):
        ahead.Driver(library="libnone.so.1")


CLEAN = "sanitized 102 cases\n========= ERROR SUMMARY: 0 errors\n"


@pytest.mark.parametrize(
    ("code", "output", "status"),
    [
        (0, CLEAN, "clean"),
        (0, "sanitized 9 cases\n========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)", "clean"),
        (9, "========= Invalid __global__ read of size 4 bytes\n========= ERROR SUMMARY: 10 errors", "errors"),
        (0, "sanitized 9 cases\n========= RACECHECK SUMMARY: 2 hazards displayed (1 error, 1 warning)", "errors"),
        (9, "something found", "errors"),
        (0, "========= ERROR SUMMARY: 0 errors", "not run"),  # the child did not come to its end
        (1, "========= Error: Device not supported\n", "not run"),
        (3, "error: assign: error 0.5\n========= ERROR SUMMARY: 0 errors", "not run"),
    ],
)
def test_what_the_sanitizer_says(code, output, status):
    found = sanitizer.judge("memcheck", code, output)
    assert found.status == status and found.detail
    assert ("Invalid" in output) == ("Invalid" in found.detail)


def test_the_sanitizers_child(tmp_path):
    """A stand-in for compute-sanitizer that runs the child it is given."""
    script = tmp_path / "compute-sanitizer"
    script.write_text(
        '#!/bin/sh\n[ "$1 $2 $3 $4" = "--tool racecheck --error-exitcode 9" ] || exit 1\nshift 4\n'
        '[ "$PYTORCH_NO_CUDA_MEMORY_CACHING" = 1 ] || exit 1\n"$@" && echo "========= RACECHECK SUMMARY: 0 hazards"\n'
    )
    script.chmod(0o755)
    assert sanitizer._run(str(script), "racecheck", emulated().path, "cpu").status == "clean"
    assert {one.status for one in sanitizer.sanitize(emulated().path, sanitizer=None)} == {"not run"}


def test_samples_are_taken_between_events_on_an_emptied_cache(monkeypatch):
    """The order of what is queued, and milliseconds to nanoseconds."""
    queued = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            queued.append("event")

        def synchronize(self):
            queued.append("wait")

        def elapsed_time(self, end):
            return 0.0125

    monkeypatch.setattr(torch.cuda, "Event", Event)
    clock = timing.EventClock(CPU, 4096)
    monkeypatch.setattr(torch.Tensor, "zero_", lambda self: queued.append("write"))
    monkeypatch.setattr(torch.Tensor, "sum", lambda self: queued.append("read"))
    assert clock.sample(lambda: queued.append("run")) == 12500
    assert queued == ["write", "read", "event", "run", "event", "wait"]


def test_every_run_is_timed_once_a_round():
    class Counter:
        def sample(self, run):
            return run()

    counts = {"a": iter(range(99)), "b": iter(range(100, 199))}
    runs = {name: lambda numbers=numbers: next(numbers) for name, numbers in counts.items()}
    samples = timing.interleaved(runs, Counter(), rounds=7, warmup=2)
    assert samples == {"a": list(range(2, 9)), "b": list(range(102, 109))}


@pytest.mark.parametrize(
    ("op", "expected"), [("HCAssign", 178), ("HCDecode", 65.5), ("HCUpsample", 207.5), ("HCArgmax", 4 * 13.5)]
)
def test_bytes_are_those_of_the_kernels_headers(op, expected):
    """A pixel of the fine map, float16, K = 64, C = 19; four labels a pixel at twice the size."""
    level = Level(4, "float16")
    assert level.fine == (512, 1024)
    assert level.bytes(op) / (512 * 1024) == expected


def test_share_of_the_copy_bandwidth():
    timings = [
        report.Timing("HCAssign", "kernel", "float16", number, (512, 1024), 93 * 10**6, (kernel,) * 20, (7000,) * 20)
        for number, kernel in ((4, 10000), (4, 10001), (3, 20000))
    ]
    rows = list(report.speed_rows(timings))[2:]
    assert "70% [70%, 70%]" in rows[0] and "| 9300 | reached" in rows[0]
    assert "missed" in rows[1] and "35%" in rows[2] and "reached" not in rows[2] and "missed" not in rows[2]
