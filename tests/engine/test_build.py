"""Engines built for real, by TensorRT-RTX on this CPU, and what its builder refuses, dies of or leaves behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hc_deploy.commands.engine import require_ready
from hc_deploy.engine import build as building
from hc_deploy.engine import flavours
from hc_deploy.engine.build import Progress, run_builder
from hc_deploy.engine.options import BuildOptions, ShapeRange
from hc_deploy.engine.sidecar import Layers, sidecar_path, verify_engine
from hc_deploy.errors import DeployError, GateError, MissingDependencyError, UsageError
from hc_deploy.export.onnx import export_onnx, save_onnx
from models.load import new_network
from tests.engine.asked import SIDES, children_of, options, runs

ROOT = Path(__file__).parents[2]
EXPORT = [sys.executable, "export.py", "--random-init", "--arch", "hcfcn32_resnet18", "--option", "width=8"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """models(dynamic) -> (path, spec) of a small HCFCN-32."""
    folder, made = tmp_path_factory.mktemp("models"), {}
    net, spec = new_network("hcfcn32_resnet18", {"width": 4, "classes": 5})

    def model(dynamic=False):
        if dynamic not in made:
            sides = {} if dynamic else {"batch": SIDES.batch, "height": SIDES.height, "width": SIDES.width}
            path = folder / f"{'dynamic' if dynamic else 'static'}.onnx"
            save_onnx(export_onnx(net, replace(spec, **sides)), path)
            made[dynamic] = path, replace(spec, **sides)
        return made[dynamic]

    return model


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_standard_operators(models, tmp_path, precision, dynamic):
    path, spec = models(dynamic)
    engine = tmp_path / "model.engine"
    built = run_builder(path, engine, spec, options(spec, precision))
    assert built == verify_engine(engine) and set(built.layers.computing) == {precision}
    assert built.layers.plugins == {} and built.plugin is None and built.layers.source == "network"
    assert engine.stat().st_size == built.engine.bytes > 100_000
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.engine", "model.engine.json"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_plugins(models, tmp_path, plugins_library, precision):
    path, spec = models(dynamic=True)
    carried = run_builder(path, tmp_path / "a.engine", spec, options(spec, precision, plugin="library"))
    apart = run_builder(
        path, tmp_path / "b.engine", spec, options(spec, precision, plugin="library", carry_plugin=False)
    )
    assert carried.layers.plugins == {"HCArgmax": 1, "HCUpsample": 2} == apart.layers.plugins
    assert set(carried.layers.computing) == {precision}
    assert carried.plugin is not None and carried.engine.bytes - apart.engine.bytes >= carried.plugin.bytes


def test_options_reach_the_builder(models, tmp_path):
    path, spec = models()
    seen: list[Progress] = []
    built = run_builder(
        path, tmp_path / "model.engine", spec,
        options(spec, compute_capabilities=("8.6", "12.0"), optimization_level=1, workspace_mib=64),
        on_progress=lambda progress: seen.append(replace(progress)),
    )  # fmt: skip
    assert list(dict.fromkeys(p.stage for p in seen)) == ["load", "precision", "parse", "build", "write"]
    assert any(p.phase and p.total and p.done == p.total for p in seen)
    everything = run_builder(path, tmp_path / "all.engine", spec, options(spec))
    assert built.engine.sha256 != everything.engine.sha256
    with pytest.raises(UsageError, match="7.5, 8.0, 8.6"):
        run_builder(path, tmp_path / "no.engine", spec, options(spec, compute_capabilities=("9.0",)))
    assert not (tmp_path / "no.engine").exists()


def test_the_typed_model_is_what_tensorrt_gets(models, tmp_path):
    path, spec = models()
    typed = tmp_path / "typed.onnx"
    run_builder(path, tmp_path / "model.engine", spec, options(spec), typed_model=typed)
    again = run_builder(typed, tmp_path / "again.engine", spec, options(spec, "fp32", keep_fp32=("Conv",)))
    assert set(again.layers.computing) == {"fp16"}, "its precision is in the graph already"


def test_full_tensorrt_needs_what_is_not_here(models, tmp_path):
    path, spec = models()
    with pytest.raises(MissingDependencyError, match="tensorrt"):
        run_builder(path, tmp_path / "model.engine", spec, replace(options(spec), flavour="tensorrt"))


def test_a_builder_without_its_gpu_is_refused_before_the_export(models, tmp_path, monkeypatch):
    _, spec = models()
    monkeypatch.setattr(flavours, "read_gpu", lambda **_: None)
    monkeypatch.setitem(flavours.MODULES, "tensorrt", "json")  # a module that is there
    with pytest.raises(MissingDependencyError, match="tensorrt-rtx, which builds without one"):
        require_ready(replace(options(spec), flavour="tensorrt", plugin="none"), tmp_path)
    require_ready(replace(options(spec), plugin="none"), tmp_path)


def test_an_operator_that_the_flavour_lacks(tmp_path):
    graph = helper.make_graph(
        [
            helper.make_node("DeformConv", ["image", "w", "offset"], ["out"], name="dcn", kernel_shape=[1, 1]),
        ],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 2, 8, 8])],
        [
            numpy_helper.from_array(np.ones((2, 3, 1, 1), np.float32), "w"),
            numpy_helper.from_array(np.zeros((1, 2, 8, 8), np.float32), "offset"),
        ],
    )
    path = tmp_path / "dcn.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10), path)
    _, spec = new_network("fcn32_resnet18", {"width": 4})
    with pytest.raises(DeployError, match="--deform sampled"):
        run_builder(
            path, tmp_path / "model.engine", spec, options(replace(spec, batch=1, height=97, width=131), "fp32")
        )


def test_a_missing_plugin_is_refused_and_not_expanded(models, tmp_path):
    path, spec = models()
    library = tmp_path / "libother.so"
    with pytest.raises(DeployError, match=r"libother.so does not exist"):
        run_builder(path, tmp_path / "e", spec, options(spec, plugin="library", plugin_library=str(library)))
    library.write_bytes(b"\x7fELF not quite")
    with pytest.raises(DeployError, match="cannot be loaded"):
        run_builder(path, tmp_path / "e", spec, options(spec, plugin="library", plugin_library=str(library)))


def test_a_model_that_is_none(models, tmp_path):
    _, spec = models()
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"no model at all")
    with pytest.raises(DeployError, match="not a whole ONNX file"):
        run_builder(broken, tmp_path / "model.engine", spec, options(spec))


def test_an_old_engine_survives_a_failed_build_and_not_a_good_one(models, tmp_path):
    path, spec = models()
    engine = tmp_path / "model.engine"
    first = run_builder(path, engine, spec, options(spec))
    with pytest.raises(UsageError):
        run_builder(path, engine, spec, options(spec, keep_fp32=("Nothing",)))
    assert verify_engine(engine) == first
    assert run_builder(path, engine, spec, options(spec, "fp32")) == verify_engine(engine) != first


def test_precision_that_was_not_reached():
    def require(found, asked, **changed):
        layers = Layers("network", 10, {}, found, found)
        wanted = BuildOptions("tensorrt-rtx", "fp16", ShapeRange(SIDES, SIDES, SIDES), **changed)
        building._require_precision(layers, asked, wanted)

    half, mixed = {"fp16": 10}, {"fp32": 8, "fp16": 2}
    require(half, half)
    require(mixed, mixed, keep_fp32=("Conv",))
    with pytest.raises(GateError, match="fp32 80%, fp16 20%"):
        require(mixed, half)
    with pytest.raises(GateError, match="fp32 80%, fp16 20%"):
        require(mixed, half, keep_fp32=("Conv",))
    with pytest.raises(GateError, match="at least 85% in fp16"):
        require(mixed, mixed)


def _play_builder(monkeypatch, code):
    """The builder's process runs `code` in its place."""
    real = subprocess.Popen
    monkeypatch.setattr(
        building.subprocess, "Popen", lambda command, **rest: real([sys.executable, "-c", code], **rest)
    )


@pytest.mark.parametrize(("death", "told"), [("SIGABRT", "signal 6"), ("SIGKILL", "memory is the likely limit")])
def test_a_builder_that_dies(models, tmp_path, monkeypatch, death, told):
    """The child is made to die while it builds: one error, with its stage and last words, and no file."""
    path, spec = models()
    code = (
        'import os, signal, sys; print(\'{"event": "stage", "name": "build"}\', flush=True); '
        f"print('terminate called', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.{death})"
    )
    _play_builder(monkeypatch, code)
    with pytest.raises(DeployError, match=told) as caught:
        run_builder(path, tmp_path / "model.engine", spec, options(spec))
    assert "terminate called" in str(caught.value) and "at: build" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_builder_that_dies_in_the_middle_of_a_word(models, tmp_path, monkeypatch):
    path, spec = models()
    _play_builder(monkeypatch, 'import os, sys; sys.stdout.write(\'{"event": "sta\'); sys.stdout.flush(); os._exit(7)')
    with pytest.raises(DeployError, match="exit code 7 at: loading"):
        run_builder(path, tmp_path / "model.engine", spec, options(spec))


def test_an_engine_that_fails_its_check_is_not_kept(models, tmp_path):
    path, spec = models()
    seen = []

    def refuse(engine):
        seen.append(verify_engine(engine).layers.count)
        raise GateError("it answers otherwise")

    with pytest.raises(GateError, match="otherwise"):
        run_builder(path, tmp_path / "model.engine", spec, options(spec), verify=refuse)
    assert seen and list(tmp_path.iterdir()) == []


def test_a_killed_parent_takes_the_builder_along(models, tmp_path):
    path, _ = models()
    code = (
        "import os, signal\n"
        "from pathlib import Path\n"
        "from hc_deploy.engine.build import run_builder\n"
        "from hc_deploy.runtime import open_session\n"
        "from tests.engine.asked import children_of, options\n"
        "def stop(progress):\n"
        "    if progress.stage == 'precision':\n"
        "        print(*children_of(os.getpid()), flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
        f"path = Path({str(path)!r}); spec = open_session(path).spec\n"
        f"run_builder(path, Path({str(tmp_path)!r}) / 'model.engine', spec, options(spec), on_progress=stop)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    children = [int(text) for text in ended.stdout.split()]
    deadline = time.monotonic() + 10
    while any(runs(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children and not any(runs(child) for child in children)


def test_full_disk(models, tmp_path):
    """A file-size limit stands for a full disk: it fails while the engine is written."""
    path, _ = models()
    code = (
        "import resource, sys, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "from pathlib import Path\n"
        "from hc_deploy.engine.build import run_builder\n"
        "from tests.engine.asked import options\n"
        "from hc_deploy.runtime import open_session\n"
        "from hc_deploy.errors import DeployError\n"
        f"path, out = Path({str(path)!r}), Path({str(tmp_path)!r}) / 'model.engine'\n"
        "spec = open_session(path).spec\n"
        "try: run_builder(path, out, spec, options(spec))\n"
        "except DeployError as error: print(error)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "room for the file" in ended.stdout, ended.stdout + ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", ["parse", "build", "write"])
def test_interrupting(models, tmp_path, stage):
    """Ctrl-C while it builds: the child ends, no file is left."""
    path, spec = models()
    others = set(children_of(os.getpid()))  # another test's fork server, say
    children: list[int] = []

    def interrupt(progress):
        if progress.stage == stage and not children:
            children.extend(set(children_of(os.getpid())) - others)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt):
        run_builder(
            path, tmp_path / "model.engine", spec, options(spec), typed_model=tmp_path / "t.onnx", on_progress=interrupt
        )
    assert children and not any(Path(f"/proc/{child}").exists() for child in children)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("builds", "name", "code", "says"),
    [
        ("loading", "SIGINT", 130, "interrupted"),
        ("building", "SIGINT", 130, "interrupted"),
        ("building", "SIGTERM", 143, "ended by SIGTERM"),
        ("building", "SIGHUP", 129, "ended by SIGHUP"),
    ],
)
def test_interrupting_the_command(models, tmp_path, builds, name, code, says):
    """A signal to `hc-deploy build`, when the builder has said that it `builds`."""
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    asked = ["--engine", "tensorrt-rtx", "--plugin", "none", "--precision", "fp32", "-o", str(out)]
    running = subprocess.Popen(
        [sys.executable, "-m", "hc_deploy", "build", str(models()[0]), *asked], stderr=subprocess.PIPE, text=True,
        cwd=ROOT, env={**os.environ, "TMPDIR": str(scratch)},
    )  # fmt: skip
    while builds not in (line := running.stderr.readline()):
        assert line, "it ended"
    builder, *_ = children_of(running.pid)
    running.send_signal(getattr(signal, name))
    said = running.communicate(timeout=60)[1]
    assert running.returncode == code and said.endswith(f"{says}\n")
    assert not runs(builder), "the builder runs on"
    assert list(out.iterdir()) == [] and not list(scratch.glob("hc_deploy*"))


def test_the_command(tmp_path):
    """`python export.py --engine` as a user runs it."""
    good = subprocess.run(
        [*EXPORT, "--size", "97x131", "-o", str(tmp_path), "--engine", "tensorrt-rtx", "--plugin", "none"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert good.returncode == 0, good.stderr
    assert "precision fp16: of convolutions and plugins fp16 100%" in good.stdout
    assert "% of pixels as fp32" in good.stdout and "building the engine" in good.stderr
    assert verify_engine(tmp_path / "model.engine").onnx.name == "model.onnx"
    assert sidecar_path(tmp_path / "model.engine").exists()
    for arguments, message in (
        (["--precision", "fp16"], "--precision without --engine"),
        (["--engine", "tensorrt-rtx", "--max-shape", "1x9999x9999"], "export with --dynamic"),
        (["--engine", "openvino"], "tensorrt, tensorrt-rtx"),
        (["--engine", "tensorrt-rtx", "--plugin", "none", "--typed-model", f"{tmp_path}/model.onnx"], "another name"),
    ):
        bad = subprocess.run([*EXPORT, "-o", str(tmp_path), *arguments], capture_output=True, text=True, cwd=ROOT)
        assert bad.returncode == 2 and message in bad.stderr and "Traceback" not in bad.stderr, bad.stderr
