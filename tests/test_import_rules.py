"""Who may import whom (CONTRIBUTING.md), in clean subprocesses for what gets loaded, from the source for the rest."""

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import hc_deploy

ROOT = Path(hc_deploy.__file__).parent
MODULES = sorted(
    module.name for module in pkgutil.walk_packages([str(ROOT)], "hc_deploy.") if not module.name.endswith("__main__")
)
ALLOWED = {
    "models": (),
    "torch": ("hc_deploy.ops", "hc_deploy.export", "hc_deploy.runtime.torch"),
    "onnx": ("hc_deploy.export",),
    "onnxscript": ("hc_deploy.export",),
    "onnxruntime": (),  # imported when a session is opened
    "tensorrt": (),  # imported when an engine is built or opened
    "tensorrt_rtx": (),
    "pycuda": (),
    "cuda": (),
    "cv2": ("hc_deploy.video", "hc_deploy.runtime.image", "hc_deploy.bench.clocks", "hc_deploy.bench.run"),
    "rich": ("hc_deploy.bench.table",),
}
PRINTERS = ("console.py", "cli.py", "commands/", "__main__.py")
STAGES = ("export", "runtime", "video", "bench")
SHARED = ("hc_deploy.runtime.session", "hc_deploy.runtime.image")


def test_the_walk_found_the_package():
    assert {"hc_deploy.ops.assign", "hc_deploy.runtime.torch", "hc_deploy.bench.report"} <= set(MODULES)


@pytest.mark.parametrize("package", ALLOWED)
def test_only_named_modules_load(package):
    """Importing every other module of hc_deploy, in a process of its own, does not load `package`."""
    others = [name for name in MODULES if not any(name == a or name.startswith(f"{a}.") for a in ALLOWED[package])]
    code = f"import importlib, sys\nfor n in {others!r}: importlib.import_module(n)\nprint({package!r} in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("module", ["hc_deploy.bench.report", "hc_deploy.bench.compare"])
def test_reports_compare_on_any_laptop(module):
    """The standard library and numpy are enough."""
    code = (
        f"import sys, {module}\n"
        "allowed = set(sys.stdlib_module_names) | {'numpy', 'hc_deploy'}\n"
        "print([n for n in sys.modules if '.' not in n and n not in allowed and not n.startswith('_')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


@pytest.mark.parametrize("stage", STAGES)
def test_stages_meet_only_through_the_session_protocol(stage):
    others = tuple(f"hc_deploy.{name}" for name in STAGES if name != stage)
    for path in (ROOT / stage).rglob("*.py"):
        crossing = [name for name in imports(path) if name.startswith(others) and name not in SHARED]
        assert crossing == [], path


def imported(name):
    """The modules of hc_deploy that a module imports, in functions too."""
    path = ROOT.parent.joinpath(*name.split("."))
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_no_two_modules_import_each_other():
    """Nor three in a circle. What imports nothing that is left is taken away, again and again; a circle stays."""
    graph = {name: set(imported(name)) & set(MODULES) - {name} for name in MODULES}
    while free := {name for name, uses in graph.items() if not uses & set(graph)}:
        graph = {name: uses for name, uses in graph.items() if name not in free}
    assert graph == {}, "each of these is in a circle or imports one that is"


def test_only_commands_parse_print_or_exit():
    for path in ROOT.rglob("*.py"):
        where = path.relative_to(ROOT).as_posix()
        if where.startswith(PRINTERS):
            continue
        assert not {"typer", "argparse", "click"} & set(imports(path)), where
        calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not {"print", "sys.exit", "exit"} & set(calls), where


def test_modules_stay_short():
    """House style: modules under about 250 lines, functions under about 40 (parameters of a command not counted)."""
    for folder in (ROOT, ROOT.parent / "models"):
        for path in folder.rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 275, path
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef):
                    lines = node.end_lineno - node.body[0].lineno + 1
                    assert lines <= 50, f"{path}:{node.lineno} {node.name}"
