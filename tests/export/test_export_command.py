"""`python export.py` as a user runs it: files, messages and exit codes."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import export
import models
from hc_deploy.console import run_app
from hc_deploy.export.checkpoint import CheckpointInfo, save_checkpoint
from hc_deploy.runtime import open_session
from tests.bench.fakes import Ended

ROOT = Path(__file__).parents[2]
SMALL = ["--size", "33x65"]


@pytest.fixture
def run(capsys, monkeypatch):
    """run(*arguments, cwd) -> the ended command, in this process: torch is imported once."""

    def call(*arguments, cwd=ROOT):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(ROOT))] + [str(ROOT)])
        known = set(sys.modules)
        with pytest.raises(SystemExit) as ended:
            run_app(export.app, [str(argument) for argument in arguments])
        for name in set(sys.modules) - known:
            if name in ("mynet", "mine", "liar"):
                del sys.modules[name]
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "net.safetensors"
    options = {"width": 4, "level": 1}
    info = CheckpointInfo(arch="hcfcn32_resnet18", options=options)
    save_checkpoint(path, models.build(info.arch, **options), info)
    return path


def test_checkpoint_becomes_a_verified_model(checkpoint, tmp_path):
    command = [sys.executable, ROOT / "export.py", checkpoint, "-o", tmp_path / "out", *SMALL]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "100.0000% of pixels as torch" in done.stdout and "1 HCUpsample" in done.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.onnx"]
    with open_session(tmp_path / "out") as session:
        assert session.spec.arch == "hcfcn32_resnet18" and session.spec.size == (33, 65) and session.spec.level == 1


def test_users_own_network(run, tmp_path):
    (tmp_path / "mynet.py").write_text(
        "import torch\n"
        "def build(classes=3):\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, classes, 3, stride=4, padding=1))\n"
    )
    result = run("--random-init", "--arch", "mynet:build", "-o", "out", "--option", "classes=5", cwd=tmp_path)
    assert result.code == 0, result.err
    with open_session(tmp_path / "out") as session:
        assert len(session.spec.classes) == 5


def test_a_network_that_answers_otherwise_once_exported_fails_the_gate(run, tmp_path):
    (tmp_path / "liar.py").write_text(
        "import torch\n"
        "class Liar(torch.nn.Conv2d):\n"
        "    def forward(self, x):\n"
        "        y = super().forward(x)\n"
        "        return -y if torch.compiler.is_exporting() else y\n"
        "def build():\n"
        "    return Liar(3, 4, 1)\n"
    )
    result = run("--random-init", "--arch", "liar:build", "-o", "out", *SMALL, cwd=tmp_path)
    assert result.code == 3
    assert "of pixels agree, expected 99.99%" in result.err
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "neither a checkpoint nor --random-init"),
        (["--random-init"], 2, "--random-init --arch NAME"),
        (["none.safetensors"], 1, "does not exist"),
        (["--random-init", "--arch", "hcpsp_resnet18"], 2, "hcpspnet_resnet18"),
        (["--random-init", "--arch", "fcn32_resnet18", "--level", "2"], 2, "classes, width"),
        (["--random-init", "--arch", "no.such:thing"], 2, "No module named"),
        (["--random-init", "--arch", "fcn32_resnet18", "--size", "0x64"], 2, "HEIGHTxWIDTH"),
        (["--random-init", "--arch", "fcn32_resnet18", "--batch", "0"], 2, "batch"),
        (["--random-init", "--arch", "fcn32_resnet18", "--outputs", "depth"], 2, "labels, logits, superpixels"),
        (["--random-init", "--arch", "fcn32_resnet18", "--outputs", "labels,superpixels"], 2, "level 1 to 4"),
        (["--random-init", "--arch", "fcn32_resnet18", "--input", "jpeg"], 2, "uint8, float"),
    ],
)
def test_bad_input_is_one_message(run, arguments, code, message, tmp_path):
    result = run(*arguments, "-o", tmp_path / "out")
    assert result.code == code, result.err
    assert message in result.err.replace("\n", " ")
    assert not (tmp_path / "out" / "model.onnx").exists()


def test_checkpoint_of_another_architecture(run, checkpoint, tmp_path):
    result = run(checkpoint, "--arch", "pspnet_resnet18", "--width", "4", "-o", tmp_path)
    assert result.code == 1
    assert "missing" in result.err and "unexpected" in result.err
    assert "it says that it is of hcfcn32_resnet18" in result.err


def test_pth_needs_its_architecture(run, tmp_path):
    torch.save(models.build("fcn32_resnet18", width=4).state_dict(), tmp_path / "net.pth")
    assert run(tmp_path / "net.pth", "-o", tmp_path / "out").code == 2
    given = ["--arch", "fcn32_resnet18", "--width", "4", *SMALL]
    assert run(tmp_path / "net.pth", "-o", tmp_path / "out", *given).code == 0


def test_unwritable_output(run, checkpoint, tmp_path):
    (tmp_path / "file").write_text("")
    result = run(checkpoint, "-o", tmp_path / "file" / "out", *SMALL)
    assert result.code == 1 and "cannot write" in result.err


SAYING = """import torch
from hc_deploy.export.networks import Deployment
class N(torch.nn.Conv2d):
    __hc_deploy__ = {said}
def build(): return N(3, 4, 1)"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def build(:", "SyntaxError"),
        ("raise RuntimeError('no licence')", "no licence"),
        ("def build(): raise KeyError('missing.yaml')", "missing.yaml"),
        ("import sys\ndef build(): sys.exit(7)", "SystemExit: 7"),
        ("def build(): return 3", "a torch.nn.Module"),
        (SAYING.format(said="Deployment('banana')"), "banana"),
        (SAYING.format(said="Deployment('depth')"), "method depth"),
        (SAYING.format(said="Deployment(level=2)"), "forward_with_clusters"),
        (SAYING.format(said="'depth'"), "a Deployment"),
    ],
)
def test_a_users_module_that_fails_is_one_message(run, body, message, tmp_path):
    (tmp_path / "mine.py").write_text(body + "\n")
    result = run("--random-init", "--arch", "mine:build", "-o", "out", *SMALL, cwd=tmp_path)
    assert result.code == 2 and message in result.err


def test_a_device_is_not_overwritten(run, checkpoint, tmp_path):
    pipe = tmp_path / "model.onnx"
    os.mkfifo(pipe)
    result = run(checkpoint, "-o", tmp_path, *SMALL)
    assert result.code == 1 and "device, pipe or socket" in result.err
    assert stat.S_ISFIFO(pipe.stat().st_mode)
