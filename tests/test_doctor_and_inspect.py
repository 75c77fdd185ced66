"""`hc-deploy doctor`, `hc-deploy inspect` and `hc-deploy --help` as a user runs them."""

import subprocess
import sys

import pytest

import models
from hc_deploy.export.checkpoint import CheckpointInfo, save_checkpoint
from hc_deploy.export.onnx import export_onnx, save_onnx
from models.load import new_network


def run(*arguments, before=""):
    code = f"import sys\n{before}\nfrom hc_deploy.__main__ import main\nmain()"
    result = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert "Traceback" not in result.stderr, result.stderr
    return result


def test_doctor_finds_this_machine_fit():
    result = run("doctor")
    assert result.returncode == 0
    assert "can run models on this machine" in result.stdout and "ran a model of our ops" in result.stdout


def test_doctor_without_onnxruntime_says_how_to_get_it():
    result = run("doctor", before="sys.modules['onnxruntime'] = None")
    assert result.returncode == 4
    assert "pip install onnxruntime" in result.stdout


def test_doctor_shows_what_looks_like_markup():
    before = """
from hc_deploy import doctor
real = doctor.examine
finding = doctor.Finding("[/tmp/lib]", doctor.Status.BROKEN, "[/red] and [bold]x", "[/]", True, "pip install 'a[b]'")
doctor.examine = lambda: [finding]
"""
    result = run("doctor", before=before)
    assert result.returncode == 4, result.stderr
    for text in ("[/tmp/lib]", "[/red] and [bold]x", "[/]", "for [/tmp/lib]:  pip install 'a[b]'"):
        assert text in result.stdout


def test_doctor_survives_packages_that_raise_anything(tmp_path):
    """An import may end in OSError (a library that does not load) or worse; each is that package's finding alone."""
    for name, line in {
        "tensorrt": "raise OSError('libnvinfer.so.10: cannot open shared object file')",
        "onnxscript": "raise RuntimeError('first line\\nsecond')",
        "onnxruntime": "raise ImportError('libpython is too old')",
        "cv2": "raise OSError('libGL.so.1')",
        "torch": "raise OSError('libcudart.so.12')",
    }.items():
        (tmp_path / f"{name}.py").write_text(line + "\n")
    result = run("doctor", before=f"sys.path.insert(0, {str(tmp_path)!r})")
    assert result.returncode == 4, result.stderr
    shown = " ".join(result.stdout.split())
    for text in ("libnvinfer.so.10", "first line", "libpython is too old", "libGL.so.1", "torch: libcudart.so.12"):
        assert text in shown
    assert "second" not in shown and "tensorrt-rtx" in shown


def test_inspect_names_engines(tmp_path):
    assert "model.engine" in run("inspect", "--help").stdout
    (tmp_path / "model.engine.json").write_text("{}")
    result = run("inspect", tmp_path / "model.engine.json")
    assert result.returncode == 2 and "is the sidecar of an engine" in result.stderr
    assert f"try: hc-deploy inspect {tmp_path / 'model.engine'}\n" in result.stderr


def test_running_a_model_without_onnxruntime_says_how_to_get_it(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"x")
    result = run("infer", tmp_path / "a.onnx", "x.png", "-o", tmp_path, before="sys.modules['onnxruntime'] = None")
    assert result.returncode == 4
    assert "pip install onnxruntime" in result.stderr


def test_inspect_model_and_checkpoint(tmp_path):
    net, spec = new_network("hcfcn32_resnet18", {"width": 4})
    save_onnx(export_onnx(net, spec), tmp_path / "model.onnx")
    shown = run("inspect", tmp_path).stdout
    assert "2 HCUpsample" in shown and "height any" in shown and "hcfcn32_resnet18" in shown
    save_checkpoint(tmp_path / "net.safetensors", net, CheckpointInfo(arch="hcfcn32_resnet18", training={"steps": 7}))
    shown = run("inspect", tmp_path / "net.safetensors").stdout
    assert "steps 7" in shown and f"{len(net.state_dict())}," in shown
    assert sum(value.numel() for value in models.build("fcn32_resnet18", width=4).state_dict().values()) > 0


@pytest.mark.parametrize(
    ("name", "content", "code", "message"),
    [
        ("a.onnx", b"text", 1, "not a whole ONNX file"),
        ("a.onnx", b"", 1, "empty"),
        ("a.safetensors", b"0123456789", 1, "not a whole safetensors file"),
        ("a.pth", b"text", 1, "not a whole checkpoint"),
        ("a.json", b"{}", 1, "schema"),
        ("a.xyz", b"text", 1, "not a whole checkpoint"),
    ],
)
def test_inspect_refuses(tmp_path, name, content, code, message):
    (tmp_path / name).write_bytes(content)
    result = run("inspect", tmp_path / name)
    assert result.returncode == code and message in result.stderr


@pytest.mark.parametrize("command", [["-m", "hc_deploy"], ["-m", "hc_deploy", "video"], ["export.py"], ["bench.py"]])
def test_help_answers_at_once(command):
    """Imports of these would take a second."""
    told = subprocess.run([sys.executable, "-X", "importtime", *command, "--help"], check=True, capture_output=True)
    imported = {line.rpartition("|")[2].strip() for line in told.stderr.decode().splitlines()}
    assert "typer" in imported and not imported & {"torch", "cv2", "onnx", "onnxruntime", "numpy"}
