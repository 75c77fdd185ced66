"""The wheel alone: in an environment that holds it and what it asks for, and outside the clone, all of it works.

The environment is a real one, with links to the packages that the chosen extras name, and theirs in turn; torch is not
among them, nor is this checkout.
"""

import json
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import replace
from email import message_from_bytes
from importlib.metadata import distribution
from pathlib import Path

import cv2
import numpy as np
import pytest
from packaging.requirements import Requirement

from hc_deploy.export.onnx import export_onnx, save_onnx
from models.load import new_network
from tests.video.toys import write_movie

ROOT = Path(__file__).parents[1]
SIZE = (64, 96)
ON_A_GPU = ("cuda-bindings",)
"""What an engine needs to run, and nobody without a GPU has."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of what the repository holds."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("hc_deploy", "plugins"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "lib"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    code = "import sys, setuptools.build_meta as b; b.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, built], cwd=source, check=True, capture_output=True)
    return next(built.glob("*.whl"))


def required(wheel, extras):
    """Names of the packages that the wheel with these extras needs, theirs in turn included."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        own = message_from_bytes(archive.read(metadata)).get_all("Requires-Dist")
    names, waiting = set(), [(own, extras)]
    while waiting:
        texts, chosen = waiting.pop()
        for found in map(Requirement, texts):
            fits = found.marker is None or any(found.marker.evaluate({"extra": extra}) for extra in ("", *chosen))
            if fits and found.name not in {*names, *ON_A_GPU}:
                names.add(found.name)
                waiting.append((distribution(found.name).requires or [], found.extras))
    return names


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """environment(extras) -> its folder of programs."""

    def make(*extras):
        folder = tmp_path_factory.mktemp("environment")
        venv.create(folder, symlinks=True)
        packages = next(folder.glob("lib/python*/site-packages"))
        names = required(wheel, extras)
        assert "numpy" in names and "torch" not in names
        for name in names:
            for top in {file.parts[0] for file in distribution(name).files or [] if file.parts[0] not in ("..", ".")}:
                place, link = Path(distribution(name).locate_file(top)), packages / top
                if place.exists() and not link.exists():
                    link.symlink_to(place)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(packages)
        program = folder / "bin" / "hc-deploy"
        program.write_text(f"#!{folder}/bin/python\nfrom hc_deploy.__main__ import main\nmain()\n")
        program.chmod(0o755)
        return folder / "bin"

    return make


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network with all four ops, as its user copies it to a machine without torch."""
    net, spec = new_network("hcfcn32_resnet18", {"width": 4, "classes": 5})
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    save_onnx(export_onnx(net, replace(spec, batch=1, height=SIZE[0], width=SIZE[1])), path)
    return path


@pytest.fixture
def shell(tmp_path):
    """shell(programs, "hc-deploy", ...) -> what it prints; run outside the clone."""

    def run(programs, name, *arguments, code=(0,)):
        done = subprocess.run(
            [programs / name, *map(str, arguments)], capture_output=True, text=True, cwd=tmp_path, timeout=300,
            env={"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"},
        )  # fmt: skip
        assert done.returncode in code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def test_a_deployed_machine(environment, model, shell, tmp_path):
    """Infer, video, bench, inspect and doctor with the extra `cpu`."""
    programs = environment("cpu")
    absent = "import importlib.util as u; print([n for n in ('torch', 'onnx', 'models') if u.find_spec(n)])"
    assert shell(programs, "python", "-c", absent).strip() == "[]"
    cv2.imwrite(str(tmp_path / "photo.png"), np.full((97, 131, 3), 90, np.uint8))
    write_movie(tmp_path / "in.mp4", count=4)
    assert "photo_overlay.png" in shell(programs, "hc-deploy", "infer", model, "photo.png", "-o", "answers")
    assert "4 frames" in shell(programs, "hc-deploy", "video", model, "in.mp4", "-o", "out.mp4")
    shell(
        programs, "hc-deploy", "bench", "run", f"a={model}", f"b={model}", "-o", "r.json", "--rounds", "12", code=(0, 5)
    )
    assert len(json.loads((tmp_path / "r.json").read_text())["models"]) == 2
    shell(programs, "hc-deploy", "bench", "compare", "r.json", "r.json", code=(0, 5))
    said = shell(programs, "hc-deploy", "inspect", model)
    assert "hcfcn32_resnet18" in said and "pip install onnx shows them" in said
    assert "hc-deploy can run models on this machine" in shell(programs, "hc-deploy", "doctor")
    refused = shell(programs, "hc-deploy", "build", model, "--engine", "tensorrt-rtx", code=(4,))
    assert "pip install onnx onnx-ir onnxscript onnxruntime" in refused
    (tmp_path / "net.pth").write_bytes(b"PK")
    assert "python bench.py run net.pth" in shell(
        programs, "hc-deploy", "bench", "run", "net.pth", "-o", "r.json", code=(2,)
    )


def test_a_machine_that_builds_engines(environment, model, shell, tmp_path):
    """An RTX engine from model.onnx, its gate run, with the extra `engine` and no torch."""
    programs = environment("engine", "tensorrt-rtx")
    said = shell(
        programs, "hc-deploy", "build", model, "--engine", "tensorrt-rtx", "--plugin", "none", "-o", "engine",
        "--typed-model", "typed.onnx",
    )  # fmt: skip
    assert "of pixels as fp32" in said and "next: hc-deploy video engine/model.engine" in said
    assert sorted(path.name for path in (tmp_path / "engine").iterdir()) == ["model.engine", "model.engine.json"]
    assert "HCUpsample" not in shell(programs, "hc-deploy", "inspect", "typed.onnx").split("with bodies")[0]
    assert "custom nodes" in shell(programs, "hc-deploy", "inspect", model)
    assert "fp16 asked for" in shell(programs, "hc-deploy", "inspect", "engine/model.engine")


def test_kernels_compile_from_the_wheel(environment, shell):
    """The source that quick plugins compile is in it, and nothing but headers."""
    programs = environment("cpu", "quick-plugins")
    folder = next(programs.parent.glob("lib/python*/site-packages/hc_deploy/kernels"))
    assert {path.name for path in folder.iterdir()} == {path.name for path in (ROOT / "plugins/kernels").glob("*.cuh")}
    code = (
        "from hc_deploy.engine import nvrtc, kernel_source as k\n"
        "kernel, folder = k.Kernel('argmax', 'f32'), k.kernel_folder()\n"
        "print(folder, nvrtc.Nvrtc().compile(kernel.source, include=[folder]).count(b'.entry'))"
    )
    assert shell(programs, "python", "-c", code).split() == [str(folder), "1"]
