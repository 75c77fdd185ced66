"""Finding, loading and registering the plugin library; TensorRT-RTX's registry in processes of their own."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from hc_deploy import install
from hc_deploy.engine import flavours, plugin_library
from hc_deploy.errors import DeployError, MissingDependencyError
from tests.plugins.built import ROOT

START = """
import ctypes, json, sys
from pathlib import Path
from hc_deploy.engine import flavours, plugin_library
from hc_deploy.errors import DeployError

def refusal(path):
    try:
        plugin_library.register(trt, Path(path))
    except DeployError as error:
        return str(error)
"""


def answer(code, *arguments):
    """What a new process prints (JSON) that runs `code` after START; its arguments are sys.argv[1:]."""
    result = subprocess.run(
        [sys.executable, "-c", START + code, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, f"{result.returncode}\n{result.stdout}{result.stderr}"
    return json.loads(result.stdout.splitlines()[-1])


def test_registers_once(plugins_library):
    before, after, again, creators = answer(
        """
trt = flavours.load("tensorrt-rtx")
before = plugin_library.registered_ops(trt)
plugin_library.register(trt, Path(sys.argv[1]))
after = plugin_library.registered_ops(trt)
plugin_library.register(flavours.load("tensorrt-rtx"), Path(sys.argv[1]))
names = [c.name for c in trt.get_plugin_registry().all_creators if c.plugin_namespace == "hc_deploy"]
print(json.dumps([before, after, plugin_library.registered_ops(trt), names]))
""",
        plugins_library,
    )
    assert before == []
    assert after == again == ["HCArgmax", "HCAssign", "HCDecode", "HCUpsample"]
    assert len(creators) == 4


def test_one_road_in_a_process(plugins_library, tmp_path):
    """Neither a second library nor a library beside Python's plugins."""
    copy = shutil.copy(plugins_library, tmp_path / "copy.so")
    second = answer(
        """
trt = flavours.load("tensorrt-rtx")
plugin_library.register(trt, Path(sys.argv[1]))
print(json.dumps(refusal(sys.argv[2])))
""",
        plugins_library,
        copy,
    )
    assert "HCAssign, HCDecode, HCUpsample are already registered" in second and str(plugins_library) in second
    beside = answer(
        """
trt = flavours.load("tensorrt-rtx")

class Creator(trt.IPluginCreatorV3One):
    def __init__(self):
        super().__init__()
        self.name, self.plugin_version, self.plugin_namespace = "HCAssign", "1", "hc_deploy"
        self.field_names = trt.PluginFieldCollection([])

creator = Creator()
trt.get_plugin_registry().register_creator(creator, "hc_deploy")
print(json.dumps(refusal(sys.argv[1])))
""",
        plugins_library,
    )
    assert beside.startswith("HCAssign are already registered with tensorrt_rtx, by other means than this library")


def test_other_files_are_refused(plugins_library, kernels_library, tmp_path):
    text, empty = tmp_path / "text.so", tmp_path / "empty.so"
    text.write_text("not a library" * 100)
    empty.touch()
    refusals = answer(
        """
trt = flavours.load("tensorrt-rtx")
refusals = [refusal(path) for path in sys.argv[2:]]
plugin_library.register(trt, Path(sys.argv[1]))  # none of them was in its way
print(json.dumps(refusals))
""",
        plugins_library,
        text,
        empty,
        kernels_library,
        tmp_path / "none.so",
        tmp_path,
    )
    assert "invalid ELF header" in refusals[0] and "make plugin" in refusals[0]
    assert "is empty" in refusals[1]
    assert "has no function getCreators" in refusals[2]
    assert "does not exist" in refusals[3]
    assert "is a folder" in refusals[4]


def test_rtx_imported_by_other_means_is_refused():
    """Its parser would end the process at the first plugin."""
    message = answer(
        """
import tensorrt_rtx
try:
    flavours.load("tensorrt-rtx")
except DeployError as error:
    print(json.dumps(str(error)))
"""
    )
    assert "tensorrt_rtx is already imported" in message and "ln -s libtensorrt_rtx.so.1" in message


def test_folder_of_links_ends_with_the_process(tmp_path):
    script = 'flavours.load("tensorrt-rtx"); print(json.dumps([p.name for p in Path(sys.argv[1]).glob("*/*")]))'
    names = answer(f"import tempfile; tempfile.tempdir = sys.argv[1]\n{script}", tmp_path)
    assert sorted(names) == ["libtensorrt_onnxparser_rtx.so.1", "libtensorrt_rtx.so", "libtensorrt_rtx.so.1"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt-rtx"])
def test_missing_tensorrt_names_its_install_line(flavour, monkeypatch):
    monkeypatch.setattr(flavours, "_complete_rtx", lambda: None)
    monkeypatch.setitem(sys.modules, flavours.MODULES[flavour], None)
    with pytest.raises(MissingDependencyError, match=re.escape(install.TENSORRT[flavour])):
        flavours.load(flavour)


def test_library_that_is_not_built(monkeypatch, tmp_path):
    monkeypatch.setattr(plugin_library, "LIBRARY", tmp_path / "libhc_plugins.so")
    with pytest.raises(MissingDependencyError, match="make plugin"):
        plugin_library.find()
    with pytest.raises(DeployError, match="does not exist"):
        plugin_library.find(tmp_path / "mine.so")
    (tmp_path / "mine.so").write_bytes(b"x")
    assert plugin_library.find(tmp_path / "mine.so") == tmp_path / "mine.so"
