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
    "scenes": (),
    "torch": ("hc_deploy.ops", "hc_deploy.export", "hc_deploy.runtime.torch"),
    "onnx": ("hc_deploy.export", "hc_deploy.graph", "hc_deploy.parity", "hc_deploy.doctor.ops_model"),
    "onnxscript": ("hc_deploy.export",),
    "onnxruntime": (),  # imported when a session is opened
    "tensorrt": (),  # imported when an engine is built or opened
    "tensorrt_rtx": (),
    "pycuda": (),
    "cuda": (),
    "cv2": ("hc_deploy.video", "hc_deploy.runtime.image", "hc_deploy.bench.clocks", "hc_deploy.bench.run"),
    "rich": (
        "hc_deploy.bench.table",
        "hc_deploy.bench.compare_table",
    ),
}
PRINTERS = ("console.py", "cli.py", "commands/", "__main__.py")
SHARED = ("system", "runtime.session", "runtime.image")
"""What every room may import: the machine, the Session contract, and pre- and postprocessing."""
GRAPH_FILES = ("graph.provider", "graph.external_data", "graph.functions", "graph.model_file")
ENGINE_FILES = ("flavours", "plugin_library", "sidecar", "options")
ROOMS = {
    "system": (),
    "ops": (),
    "graph": (),
    "runtime": (
        *GRAPH_FILES,
        "engine.flavours",
        "engine.plugin_library",
        "engine.sidecar",
        "engine.options",
    ),
    "engine": ("graph",),
    "evaluate": (),
    "parity": ("graph", "evaluate", "engine.options"),
    "export": ("graph", "ops", "parity"),
    "video": ("evaluate",),
    "bench": ("graph.external_data",),
    "doctor": ("graph", "engine", "runtime", "video", "bench", "ops"),
    "arrows": ("export", "graph", "engine", "runtime", "parity", "video", "bench"),
    "commands": ("arrows", "export", "engine", "runtime", "video", "bench", "doctor"),
}
"""Room -> the rooms and modules that it may import, besides SHARED and the modules at the top."""


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
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_room_is_named():
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_what_they_may(room):
    """Heavy imports inside functions and those for type checkers count too."""
    allowed = tuple(f"hc_deploy.{name}" for name in (*ROOMS[room], *SHARED, room))
    others = tuple(f"hc_deploy.{name}" for name in ROOMS)
    for path in (ROOT / room).rglob("*.py"):
        for name in imports(path):
            if any(name == other or name.startswith(f"{other}.") for other in others):
                assert any(name == one or name.startswith(f"{one}.") for one in allowed), f"{path} imports {name}"


def test_no_room_leads_back_to_itself():
    """The rooms' permissions are no circle."""
    left = {room: {name.partition(".")[0] for name in names} - {room} for room, names in ROOMS.items()}
    while free := [room for room, needs in left.items() if not needs]:
        left = {room: needs - set(free) for room, needs in left.items() if room not in free}
    assert left == {}


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
        assert not {"typer", "argparse", "click"} & {name.partition(".")[0] for name in imports(path)}, where
        calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not {"print", "sys.exit", "exit"} & set(calls), where


def test_modules_stay_short():
    """House style: modules under about 250 lines, functions under about 40 (parameters of a command not counted)."""
    for folder in (ROOT, ROOT.parent / "models", ROOT.parent / "scenes"):
        for path in folder.rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 275, path
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef):
                    lines = node.end_lineno - node.body[0].lineno + 1
                    assert lines <= 50, f"{path}:{node.lineno} {node.name}"
