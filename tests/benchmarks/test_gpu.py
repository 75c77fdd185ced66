"""The benchmark of all flavours where no GPU is: its dry run, the targets on made-up samples, failures and Ctrl-C.

What only a GPU can show: engines that run, their layers and memory, torch and ONNX Runtime on a device.
"""

import dataclasses
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import backends, cases, measure, store, targets, worker
from benchmarks.gpu.cases import Case, Group, Network
from benchmarks.gpu.measure import CaseResult, GroupResult, Job, Layers, Parity
from benchmarks.gpu.targets import Status, Target
from hc_deploy.bench.clocks import Plan
from hc_deploy.bench.environment import read_environment
from hc_deploy.bench.report import ModelFile, ModelReport, Report, Samples, Stop, Workload
from hc_deploy.engine import flavours
from hc_deploy.engine.options import BuildOptions, Shape, ShapeRange
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.runtime.layer_times import LayerTime
from hc_deploy.runtime.tensorrt import Memory
from hc_deploy.system import interrupts
from hc_deploy.system.gpu import Gpu, read_gpu

PAIR = "onnxruntime-cuda/fp16/resnet18/hcfcn32/pair"
ONLY = [PAIR, "tensorrt*/fp16/resnet18/hcfcn32/pair", PAIR.replace("pair", "torch")]
PLAN = Plan(rounds=6, warmup=1)


@pytest.fixture(scope="module")
def dry(tmp_path_factory, plugins_library):
    folder = tmp_path_factory.mktemp("gpu")
    command.main(folder, dry_run=True, only=ONLY)
    return folder


def read(folder):
    return json.loads((folder / "report.json").read_text())


def test_dry_run(dry):
    report = read(dry)
    assert report["schema"] == 1 and report["dry_run"] and not report["interrupted"]
    assert report["plan"] == [group["group"]["name"] for group in report["groups"]] and len(report["plan"]) == 5
    status = {
        (one["case"]["backend"], one["case"]["name"]): one["status"]
        for group in report["groups"]
        for one in group["cases"]
    }
    assert status["onnxruntime-cuda", "hcfcn32"] == status["onnxruntime-cuda", "fcn32"] == "measured"
    assert status["onnxruntime-cuda", "onnxruntime-cuda"] == status["torch-eager", "torch-eager"] == "measured"
    assert {status["tensorrt-rtx", name] for name in ("hcfcn32", "hcfcn32 standard", "fcn32")} == {"built"}
    assert {status[backend, "hcfcn32"] for backend in ("tensorrt", "onnxruntime-tensorrt")} == {"not run"}
    ran = {one["name"]: one["runs"] for one in report["backends"]}
    assert ran == {"tensorrt": False, "tensorrt-rtx": False, "onnxruntime-tensorrt": False, "onnxruntime-cuda": True,
                   "torch-eager": True}  # fmt: skip


def test_dry_run_keeps_raw_samples_and_judges_no_time(dry):
    report = read(dry)
    measured = [group for group in report["groups"] if group["report"]]
    assert len(measured) == 2
    for group in measured:
        for model in group["report"]["models"]:
            assert {len(model["samples"][clock]) for clock in ("engine", "transfer", "end_to_end")} == {6}
    assert {one["status"] for one in report["verdicts"] if "fidelity" not in one["target"]} == {"not measured"}
    text = (dry / "gpu.md").read_text()
    assert "times mean nothing" in text and "built, not run: engines are not run in a dry run" in text
    assert "| onnxruntime-cuda/fp16/resnet18/hcfcn32 | fcn32 |" in text


def test_dry_run_builds_engines_with_the_plugin_and_without(dry):
    found = next(group for group in read(dry)["groups"] if group["group"]["name"].startswith("tensorrt-rtx"))
    plugin, standard, plain = ({**one["engine"]["layers"]["plugins"]} for one in found["cases"])
    assert plugin == {"HCUpsample": 2, "HCArgmax": 1} and plain == {"HCArgmax": 1} and standard == {}


def test_a_second_run_makes_nothing_anew(dry):
    files = [path for path in (dry / "models").rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    command.main(dry, dry_run=True, only=["tensorrt-rtx/fp16*hcfcn32/pair"])
    assert {path: path.stat().st_mtime_ns for path in files} == before


def network(level=2):
    return Network("hcfcn32", "resnet18", cases.PROBE_SIZE, level, cases.TINY_WIDTH)


def test_an_engine_of_other_options_or_another_model_does_not_fit(dry, tmp_path):
    folder = dry / "models" / network().key
    engine = folder / "tensorrt-rtx-fp16-standard.engine"
    options = BuildOptions("tensorrt-rtx", "fp16", ShapeRange.of(store.read_spec(folder), Shape(1, 64, 128)),
                           plugin="none")  # fmt: skip

    def fits(options=options, onnx=folder / store.ONNX):
        return store.fits(engine, options, onnx, library=None, device=None)

    assert fits()
    assert not fits(dataclasses.replace(options, precision="fp32"))
    assert not fits(onnx=folder / "fp16.onnx")
    copy = tmp_path / engine.name
    shutil.copy(engine, copy)
    assert not store.fits(copy, options, folder / store.ONNX, library=None, device=None)  # no sidecar


@pytest.mark.parametrize("name", [store.WEIGHTS, store.ONNX, store.REFERENCE, store.MADE])
def test_a_changed_file_is_made_anew(dry, tmp_path, monkeypatch, name):
    shutil.copytree(dry / "models", tmp_path / "models")
    folder = tmp_path / "models" / network().key
    (folder / name).write_bytes(b"{}")
    made = []
    monkeypatch.setattr(store, "make_network", lambda *arguments: made.append(arguments) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.Store(tmp_path / "models", device=None).prepare(case())
    assert len(made) == 1 and not list(folder.iterdir())  # engines of the old code are gone as well


def case(name="hcfcn32", backend="onnxruntime-cuda", precision="fp32", plugin=False, of=None):
    return Case(name, of or network(), backend, precision, plugin)


def job(dry, *members, refused=None):
    folder = dry / "models" / network().key
    group = Group("pair", "made/up", members, members[-1].name)
    return Job(
        group, {one.name: store.Files(folder, folder / store.ONNX) for one in members}, refused or {}, PLAN, True
    )


def test_torch_eager_and_compiled(dry):
    """The network as torch runs it, in this process: torch.compile is slow to import anew."""
    members = [case(f"{backend} {precision}", backend=backend, precision=precision)
               for backend in ("torch-compile", "torch-eager") for precision in ("fp16", "fp32")]  # fmt: skip
    made = job(dry, *members)
    files = {name: dataclasses.replace(each, model=each.folder / store.WEIGHTS) for name, each in made.files.items()}
    result = measure.run_group(dataclasses.replace(made, files=files))
    assert [one.status for one in result.cases] == ["measured"] * 4
    for one in result.cases:
        assert one.parity.pixels == 1 if one.case.precision == "fp32" else 0.99 < one.parity.pixels < 1


def test_a_failing_case_does_not_stop_the_others(dry, monkeypatch):
    right = measure.open_case

    def opened(one, files, **options):
        if one.name == "broken":
            raise RuntimeError("no kernel image\nis available")
        return right(one, files, **options)

    monkeypatch.setattr(measure, "open_case", opened)
    result = measure.run_group(job(dry, case("broken"), case("refused"), case("good"), refused={"refused": "no room"}))
    assert [(one.status, one.reason) for one in result.cases] == [
        ("not run", "RuntimeError: no kernel image"), ("not run", "no room"), ("measured", ""),
    ]  # fmt: skip
    assert [model.name for model in result.report.models] == ["good"]


def test_ratios_without_the_baseline_are_to_the_first(dry, monkeypatch):
    right = measure.open_case
    monkeypatch.setattr(
        measure, "open_case", lambda one, *a, **o: 1 / 0 if one.name == "plain" else right(one, *a, **o)
    )
    result = measure.run_group(job(dry, case("one"), case("two"), case("plain")))
    assert result.report.baseline == "one" and len(result.report.models) == 2
    assert list(targets._of_group(result)) == []


def test_wrong_answers_are_failures_and_end_with_exit_code_3(dry, tmp_path, monkeypatch):
    right = measure.open_case

    def wrong(*arguments, **options):
        session = right(*arguments, **options)
        fetch = session.fetch
        session.fetch = lambda: {"labels": (fetch()["labels"] + 1) % 19}
        return session

    monkeypatch.setattr(measure, "open_case", wrong)
    result = measure.run_group(job(dry, case()))
    assert result.cases[0].status == "measured" and "expected 99.99%" in result.cases[0].parity.failures[0]
    monkeypatch.setattr(worker, "run", measure.run_group)
    shutil.copytree(dry / "models", tmp_path / "models")
    with pytest.raises(DeployError, match="do not answer as torch") as caught:
        command.main(tmp_path, dry_run=True, only=[PAIR])
    assert caught.value.exit_code == 3
    assert {one["status"] for one in read(tmp_path)["verdicts"] if "fidelity" in one["target"]} == {"missed"}


class OnDevice:
    """A session that tells layers and memory, as one of TensorRT does."""

    def __init__(self, session, names):
        self._session, self._names, self.asked = session, names, []

    def __getattr__(self, name):
        return getattr(self._session, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session.close()

    def memory(self):
        return Memory(engine=3, buffers=4, free=5)

    def profile_layers(self, images, *, runs):
        self.asked.append((images.shape, runs))
        return [LayerTime(name, 0.25 * (index + 1)) for index, name in enumerate(self._names)]


def test_layers_and_memory(dry, monkeypatch):
    right, opened = measure.open_case, {}
    names = {"plugin": ["conv + relu", "node_HCUpsample_1", "node_HCArgmax_0"], "standard": ["HCUpsample_1/MatMul"],
             "nameless": ["conv"]}  # fmt: skip

    def open_case(one, files, **options):
        opened[one.name] = OnDevice(right(one, files, **options), names[one.name])
        return opened[one.name]

    monkeypatch.setattr(measure, "open_case", open_case)
    members = case("plugin", plugin=True), case("nameless", plugin=True), case("standard")
    plugin, nameless, standard = measure.run_group(job(dry, *members)).cases
    assert plugin.memory == {"engine": 3, "buffers": 4, "free": 5}
    assert plugin.layers.custom == {"node_HCUpsample_1": 0.5, "node_HCArgmax_0": 0.75}
    assert set(plugin.layers.samples) == {1.25} and plugin.layers.total == 1.5
    assert opened["plugin"].asked == [((1, 64, 128, 3), measure.PROFILED_RUNS)] * measure.PROFILES
    assert standard.layers.custom == {} and standard.layers.samples == ()
    assert nameless.status == "measured" and "no layer has the name of an op" in nameless.reason


def die(job, sender):
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(job, sender):
    os._exit(7)


def hang(job, sender):
    time.sleep(60)


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (die, r"died of signal 11 \(Segmentation fault\)"),
        (leave, "died of exit code 7"),
        (hang, "gave no answer in 1 s"),
    ],
)
def test_a_dead_worker_is_a_line(dry, monkeypatch, work, reason):
    monkeypatch.setattr(worker, "_work", work)
    monkeypatch.setattr(worker, "LONGEST", 1.0 if work is hang else 60.0)
    monkeypatch.setattr(worker, "PRELOAD", [])
    made = dataclasses.replace(job(dry, case()), plan=Plan(rounds=6, max_seconds=None))
    result = worker.run(made)
    assert result.cases[0].status == "not run"
    assert result.cases[0].reason == result.reason and re.search(reason, result.reason)


def test_ctrl_c_ends_the_worker(dry, monkeypatch):
    monkeypatch.setattr(worker, "_work", hang)
    monkeypatch.setattr(worker, "PRELOAD", [])
    children = set(multiprocessing.active_children())

    def interrupt():
        while set(multiprocessing.active_children()) == children:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        worker.run(dataclasses.replace(job(dry, case()), plan=Plan(rounds=6, max_seconds=None)))
    assert set(multiprocessing.active_children()) == children


def test_ctrl_c_keeps_what_was_measured(dry, tmp_path, monkeypatch):
    """It comes while the second of two groups runs."""
    shutil.copytree(dry / "models", tmp_path / "models")

    def run(made):
        if made.group.kind == "torch":
            signal.raise_signal(signal.SIGINT)
        return measure.run_group(made)

    said = []
    monkeypatch.setattr(interrupts, "_say", said.append)
    monkeypatch.setattr(worker, "run", run)
    with pytest.raises(SystemExit) as caught:
        command.main(tmp_path, dry_run=True, only=[PAIR, PAIR.replace("pair", "torch")])
    assert caught.value.code == 130 and said == [f"interrupted; what was measured is in {tmp_path}"]
    report = read(tmp_path)
    assert report["interrupted"] and [group["group"]["name"] for group in report["groups"]] == [PAIR]
    assert report["groups"][0]["report"]["models"] and len(report["plan"]) == 2
    assert "Interrupted: 1 of 2 groups" in (tmp_path / "gpu.md").read_text()


def test_without_a_gpu(tmp_path):
    if read_gpu():
        pytest.skip("there is a GPU")
    done = subprocess.run([sys.executable, "-m", "benchmarks.gpu", "-o", tmp_path], capture_output=True, text=True)
    assert done.returncode == 4 and "no NVIDIA GPU" in done.stderr and "--dry-run" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_only_names_no_group(tmp_path):
    with pytest.raises(UsageError, match="--only nothing"):
        command.main(tmp_path, dry_run=True, only=["nothing"])


def test_labels_of_random_weights_vary(dry):
    """One label everywhere would agree in any precision."""
    for folder in (dry / "models").iterdir():
        with np.load(folder / store.REFERENCE) as arrays:
            counts = np.unique(arrays["labels0"], return_counts=True)[1]
        assert len(counts) > 3 and counts.max() < 0.75 * counts.sum()


def test_the_whole_plan():
    groups = cases.plan(cases.FULL)
    assert len({group.name for group in groups}) == len(groups)
    assert Counter(group.kind for group in groups) == {"pair": 6 * 2 * 3 * 4, "levels": 6 * 2, "torch": 5 * 2 * 3}
    for group in groups:
        names = [one.name for one in group.cases]
        assert group.baseline in names and len(set(names)) == len(names)
        flavours_in = {one.backend for one in group.cases} & set(cases.ENGINES)
        assert len(flavours_in) < 2 and len({one.precision for one in group.cases}) == 1
    assert {one.network.level for group in groups if group.kind == "levels" for one in group.cases} == {0, 1, 2, 3, 4}
    assert {one.network.size for group in groups for one in group.cases} == {(1024, 2048)}
    quick = cases.plan(cases.QUICK)
    assert {(one.network.backbone, *one.network.size) for group in quick for one in group.cases} == {
        ("resnet18", 512, 1024)
    }


def test_gpus_that_rtx_does_not_list():
    trt = flavours.load("tensorrt-rtx")
    said = backends.rtx_refusal(Gpu("a GPU", "1", None, None, "9.0"))
    assert trt.__version__ in said and "7.5, 8.0, 8.6, 8.9, 12.0, 12.1, this GPU has 9.0" in said
    assert backends.rtx_refusal(Gpu("a GPU", "1", None, None, "8.9")) == ""


def made_up(kind, system, times, *, backend="tensorrt", backbone="resnet101", custom=None, rounds=40):
    """A group whose cases took `times` (ms), with 1% of noise."""
    rng = np.random.default_rng(0)
    models, members = [], []
    for name, milliseconds in times.items():
        samples = tuple(int(milliseconds * 1e6 * factor) for factor in rng.uniform(0.99, 1.01, rounds))
        file = ModelFile("model.engine", "0" * 64, 1)
        models.append(
            ModelReport(name, file, system, 2, {}, "uint8", ("labels",), 1, (64, 128), backend, None,
                        Samples(samples, samples, samples))
        )  # fmt: skip
        one = Case(name, Network(system, backbone, (64, 128), 2), backend, "fp16", True)
        layers = Layers({"HCUpsample": custom}, tuple([custom] * 8), 1.0) if custom and name == system else None
        members.append(CaseResult(one, "measured", layers=layers, parity=Parity(2, 0.999, 0.9, "fp16", ())))
    baseline = members[-1].case.name
    workload = Workload((64, 128), rounds, 1, 1, 0, Stop.ROUNDS)
    report = Report(1, "now", baseline, read_environment(), workload, tuple(models))
    group = Group(kind, f"{backend}/{system}", tuple(one.case for one in members), baseline)
    return GroupResult(group, tuple(members), report)


def verdict(target, *results, dry_run=False):
    return next(one for one in targets.judge(results, dry_run=dry_run) if one.target is target)


@pytest.mark.parametrize(
    ("target", "kind", "system", "times", "status"),
    [
        (Target.SPEEDUP, "pair", "hcpspnet", {"hcpspnet": 10, "pspnet": 52}, Status.MET),
        (Target.SPEEDUP, "pair", "hcdeeplabv3", {"hcdeeplabv3": 10, "deeplabv3": 48}, Status.MISSED),
        (Target.SPEEDUP, "pair", "hcpspnet", {"hcpspnet": 10, "pspnet": 50}, Status.UNDECIDED),
        (Target.FCN, "pair", "hcfcn32", {"hcfcn32": 10.1, "fcn32": 10}, Status.MET),
        (Target.FCN, "pair", "hcfcn32", {"hcfcn32": 10.4, "fcn32": 10}, Status.MISSED),
        (Target.LEVEL, "levels", "hcfcn32", {"level 4": 10.5, "level 0": 10}, Status.MET),
        (Target.LEVEL, "levels", "hcfcn32", {"level 4": 12, "level 0": 10}, Status.MISSED),
    ],
)
def test_targets(target, kind, system, times, status):
    result = made_up(kind, system, times)
    found = verdict(target, result)
    first, second = times.values()
    expected = second / first if target is Target.SPEEDUP else first / second
    assert found.status is status and found.ratio.value == pytest.approx(expected, rel=0.01)
    assert found.ratio.interval.low < found.ratio.value < found.ratio.interval.high
    assert verdict(target, result, dry_run=True).status is Status.NOT_MEASURED


@pytest.mark.parametrize(
    ("standard", "status"), [(12.0, Status.MET), (10.9, Status.MISSED), (11.0, Status.NOT_MEASURED)]
)
def test_operators_against_the_plugin(standard, status):
    """0.25 ms in the plugin's layers, of a network of 10: 2.25 and 1.15 ms as standard operators."""
    custom = None if status is Status.NOT_MEASURED else 0.25
    times = {"hcfcn32": 10.0, "hcfcn32 standard": standard, "fcn32": 9.9}
    found = verdict(Target.OPERATORS, made_up("pair", "hcfcn32", times, custom=custom))
    assert found.status is status
    if custom:
        assert found.ratio.value == pytest.approx((standard - 10 + custom) / custom, rel=0.1)


def test_what_is_no_measurement():
    times = {"hcpspnet": 10, "pspnet": 52}
    on_torch = made_up("pair", "hcpspnet", times, backend="torch-eager")
    small = made_up("pair", "hcpspnet", times, backbone="resnet18")
    for result in (on_torch, small):
        assert verdict(Target.SPEEDUP, result).status is Status.NOT_MEASURED
    few = verdict(Target.SPEEDUP, made_up("pair", "hcpspnet", times, rounds=5))
    assert few.status is Status.UNDECIDED and "too few" in few.detail
    nothing = targets.judge([], dry_run=False)
    assert {one.target for one in nothing} == set(Target) and {one.status for one in nothing} == {Status.NOT_MEASURED}
    assert "benchmarks.kernels" in verdict(Target.KERNEL).detail


def test_fidelity_is_judged_by_its_worst_case():
    good = made_up("pair", "hcpspnet", {"hcpspnet": 1, "pspnet": 2})
    bad = dataclasses.replace(good.cases[0], parity=Parity(2, 0.5, 0.5, "fp16", ("50% of pixels agree",)))
    assert verdict(Target.FIDELITY, good).status is Status.MET
    found = verdict(Target.FIDELITY, good, dataclasses.replace(good, cases=(bad, good.cases[1])))
    assert found.status is Status.MISSED and found.detail == "3 of 4 cases; least 50.0000%"
