from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hc_deploy.bench import environment
from hc_deploy.bench.environment import read_environment
from hc_deploy.bench.report import Report, describe_file, read_report, write_report
from hc_deploy.describe import describe
from hc_deploy.errors import DeployError
from hc_deploy.ran import Runtime
from hc_deploy.system.gpu import Gpu
from tests.bench.fakes import make_report, with_model

ROOT = Path(__file__).resolve().parents[2]
REPORT = make_report({"fcn": 10.0, "hcfcn": 20.0})
ENGINE = {"name": "tensorrt_rtx", "version": "1.7.1", "precision": "fp16", "found": {"fp16": 9}, "found_in": "network"}
TEXT = REPORT.to_json()


def edited(edit: Callable[[dict], object]) -> str:
    fields = json.loads(TEXT)
    edit(fields)
    return json.dumps(fields)


def sample_set_to(value: object, clock: str = "engine") -> str:
    return edited(lambda fields: fields["models"][1]["samples"][clock].__setitem__(3, value))


def rename_twin(fields: dict) -> None:
    fields["models"][1]["name"] = "fcn"


BAD: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "is empty"),
    "blank": ("  \n", "ends in the middle"),
    "truncated": (TEXT[: len(TEXT) // 2], "ends in the middle"),
    "truncated in a text": (TEXT[:30], "ends in the middle"),
    "not JSON": ("<html>\n</html>", "is not JSON"),
    "an ONNX file": (b"\x08\x0a\xff\xfe\x00model", "is not text"),
    "trailing text": (TEXT + "}", "is not JSON"),
    "a list": ("[1, 2]", "no benchmark report"),
    "another object": ('{"a": 1}', "no benchmark report"),
    "deeply nested": ("[" * 100_000, "nested too deeply"),
    "newer schema": (edited(lambda f: f.update(schema=4)), "report of schema 4"),
    "schema zero": (edited(lambda f: f.update(schema=0)), "report of schema 0"),
    "no runtime": (edited(lambda f: f["models"][0].pop("runtime")), r"models\[0\] lacks runtime"),
    "version of a number": (
        edited(lambda f: f["models"][0].update(runtime={**ENGINE, "version": 9, "kernels": None})),
        "version is 9",
    ),
    "schema of text": (edited(lambda f: f.update(schema="1")), "report of schema '1'"),
    "schema true": (edited(lambda f: f.update(schema=True)), "report of schema True"),
    "missing field": (edited(lambda f: f.pop("workload")), "report lacks workload"),
    "missing in a model": (edited(lambda f: f["models"][1].pop("file")), r"models\[1\] lacks file"),
    "missing clock": (edited(lambda f: f["models"][0]["samples"].pop("transfer")), "lacks transfer"),
    "unknown field": (edited(lambda f: f.update(extra=1)), "unknown field extra"),
    "repeated field": ('{"schema": 3, ' + TEXT.lstrip()[1:], "names schema twice"),
    "NaN": (TEXT.replace('"load": 0.1', '"load": NaN'), "holds NaN"),
    "NaN sample": (sample_set_to(float("nan")), "holds NaN"),
    "infinity": (TEXT.replace('"load": 0.1', '"load": 1e999'), "holds 1e999"),
    "beyond a float": (TEXT.replace('"load": 0.1', '"load": 1' + "0" * 400), "holds a number of 401 digits"),
    "negative sample": (sample_set_to(-5), "a sample of -5 ns in engine"),
    "zero sample": (sample_set_to(0), "a sample of 0 ns in engine"),
    "fraction of a ns": (sample_set_to(1.5), r"samples\.engine\[3\] is 1.5"),
    "sample of text": (sample_set_to("12"), r'samples\.engine\[3\] is "12"'),
    "sample null": (sample_set_to(None), r"samples\.engine\[3\] is null"),
    "sample true": (sample_set_to(True), r"samples\.engine\[3\] is true"),
    "huge sample": (sample_set_to(10**30), "a sample of 1000"),
    "number of 5000 digits": (TEXT.replace('"rounds": 60', '"rounds": ' + "9" * 5000), "holds a number of 5000 digits"),
    "engine above transfer": (sample_set_to(10**12), "hcfcn: round 3 took 1000000000000"),
    "transfer above end to end": (sample_set_to(10**12, "transfer"), "hcfcn: round 3 took"),
    "transfer below engine": (sample_set_to(1, "transfer"), "hcfcn: round 3 took"),
    "too few samples": (edited(lambda f: f["models"][1]["samples"]["engine"].pop()), "59 samples of engine"),
    "no rounds": (edited(lambda f: f["workload"].update(rounds=0)), "0 rounds"),
    "no models": (edited(lambda f: f.update(models=[])), r"models named \(none\)"),
    "one name twice": (edited(rename_twin), "models named fcn, fcn"),
    "baseline of no model": (edited(lambda f: f.update(baseline="x")), "baseline 'x'"),
    "unknown stop": (edited(lambda f: f["workload"].update(stop="bored")), 'stop is "bored"'),
    "stop of a list": (edited(lambda f: f["workload"].update(stop=[])), r"stop is \[\]"),
    "size of three": (edited(lambda f: f["workload"].update(frame=[1, 2, 3])), "frame has 3 entries"),
    "models not a list": (edited(lambda f: f.update(models={})), r"models is \{\}"),
    "packages not an object": (edited(lambda f: f["environment"].update(packages=[])), r"packages is \[\]"),
}


def test_round_trip(tmp_path: Path) -> None:
    machine = replace(REPORT.environment, gpu=Gpu("H", "1.2", 3.0, None), clock_mhz=2596.126, governor="performance")
    report = replace(REPORT, environment=machine)
    write_report(tmp_path / "deep" / "r.json", report)
    assert read_report(tmp_path / "deep" / "r.json") == report
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["r.json"]


def test_the_runtime_of_each_model_travels(tmp_path: Path) -> None:
    report = with_model(REPORT, "hcfcn", runtime=Runtime(**ENGINE), provider="tensorrt-rtx")
    write_report(tmp_path / "r.json", report)
    assert read_report(tmp_path / "r.json").model("hcfcn").runtime == Runtime(**ENGINE)
    lines = dict(describe(tmp_path / "r.json"))
    assert lines["hcfcn"].endswith(": tensorrt_rtx 1.7.1; precision fp16; network: fp16 100%; input 1x64x96")
    assert lines["fcn"].endswith(": cpu (version not recorded); precision not recorded; input 1x64x96")


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/benchmarks/*_*.json")), ids=lambda path: path.name)
def test_the_reports_of_the_repository_are_read(path: Path) -> None:
    """Those of schema 1 were written before a runtime was recorded."""
    fields = json.loads(path.read_text())
    if "workload" not in fields:
        pytest.skip("no report of bench.py")
    report = read_report(path)
    assert report.schema == 3 and fields["schema"] in (1, 3)
    assert {model.runtime is None for model in report.models} == {fields["schema"] == 1}
    assert [list(model.samples.engine) for model in report.models] == [m["samples"]["engine"] for m in fields["models"]]


def test_reports_of_schema_2_are_read(tmp_path: Path) -> None:
    """Their runtimes had no kernels."""
    fields = json.loads(with_model(REPORT, "hcfcn", runtime=Runtime(**ENGINE)).to_json())
    fields["schema"] = 2
    del fields["models"][1]["runtime"]["kernels"]
    (tmp_path / "r.json").write_text(json.dumps(fields))
    assert read_report(tmp_path / "r.json").model("hcfcn").runtime == Runtime(**ENGINE)


def test_the_file_is_plain_json_with_one_line_a_clock() -> None:
    fields = json.loads(TEXT)
    assert (fields["schema"], fields["baseline"]) == (3, "fcn")
    assert fields["models"][1]["samples"]["transfer"] == list(REPORT.model("hcfcn").samples.transfer)
    assert len(re.findall(r'^ *"(?:engine|transfer|end_to_end)": \[ \d.*\d \],?$', TEXT, re.MULTILINE)) == 6


@pytest.mark.parametrize("case", BAD)
def test_bad_reports_are_refused(case: str, tmp_path: Path, invoke) -> None:
    content, says = BAD[case]
    path = tmp_path / "bad.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    good = tmp_path / "good.json"
    good.write_text(TEXT)
    with pytest.raises(DeployError, match=says) as refused:
        read_report(path)
    assert str(path) in refused.value.received and refused.value.expected and refused.value.mend
    ended = invoke("compare", good, path)
    assert ended.code == 1 and ended.out == ""
    assert ended.err.startswith(f"error: {path}") and "expected: " in ended.err and "Traceback" not in ended.err


def test_every_prefix_of_a_report_is_refused() -> None:
    for end in [*range(0, len(TEXT) - 3, 997), len(TEXT) - 3]:
        with pytest.raises(DeployError):
            Report.from_json(TEXT[:end], source="r.json")


def test_missing_file_and_folder(tmp_path: Path, shell) -> None:
    for path in (tmp_path / "absent.json", tmp_path):
        ended = shell("compare", path, path)
        assert ended.code == 1 and str(path) in ended.err and "Traceback" not in ended.err


def test_digest(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"abc")
    found = describe_file(tmp_path / "m")
    assert found.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert found.bytes == 3


def test_report_and_compare_need_numpy_alone() -> None:
    code = (
        "import sys, hc_deploy.bench.report, hc_deploy.bench.compare\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'cv2', 'rich', 'typer'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_this_machine() -> None:
    machine = read_environment()
    assert machine.cpu and 1 <= machine.usable_cores <= machine.cores
    import numpy

    assert machine.packages["numpy"] == numpy.__version__


def test_machine_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "CPUINFO", Path("/nonexistent"))
    monkeypatch.setattr(environment, "CPUFREQ", Path("/nonexistent"))
    machine = read_environment()
    assert machine.cpu and machine.clock_mhz is None and machine.governor is None
