"""Standard streams that are closed, full, narrow or gone: the message is seen, and the exit code is right."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from rich.table import Table
from rich.text import Text

from hc_deploy import console
from hc_deploy.errors import DeployError, GateError
from hc_deploy.shown import visible

ROOT = Path(__file__).resolve().parents[1]
APP = """
import sys, typer
from rich.table import Table
from rich.text import Text
from hc_deploy.console import print_line, print_note, run_app, show
from hc_deploy.errors import GateError
app = typer.Typer(add_completion=False, rich_markup_mode=None)
@app.command()
def main(code: int = 0):
    table = Table()
    table.add_row(Text("caf\\u00e9 \\u201cnet\\u201d"))
    show(table)
    print_line("result \\u00e9")
    print_note("note \\u2026")
    if code == 3:
        raise GateError("slower", expected="not slower")
run_app(app)
"""


def run(line: str, **environment: str) -> tuple[int, bytes, bytes]:
    """`line` of bash, in which `$APP` runs the program above."""
    given = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **environment, "CODE": APP, "PY": sys.executable}
    done = subprocess.run(["bash", "-c", line.replace("$APP", '"$PY" -c "$CODE"')], capture_output=True, env=given)
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def test_streams_as_they_are():
    code, out, error = run("$APP", PYTHONIOENCODING="utf-8")
    assert code == 0 and "│ café “net” │".encode() in out and out.endswith("result é\n".encode())
    assert error == "note …\n".encode()
    code, _, error = run("$APP --code 3")
    assert code == 3 and error.endswith(b"error: slower\nexpected: not slower\n")


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams(code, closed):
    """What is said goes to the stream that is left, and the exit code does not change."""
    ended, out, error = run(f"$APP --code {code} {closed}")
    assert ended == code
    said = {b"result": out + error, b"note": out + error, b"error: slower": out + error}
    everything = 2 if ">&- 2>&-" in closed else 0
    for words, where in said.items():
        expected = not everything and (code == 3 or words != b"error: slower")
        assert (words in where) == expected
    assert (out == b"") == closed.startswith(">&-") or everything


def test_a_usage_error_with_standard_error_closed():
    code, out, error = run("$APP --nonsense 2>&-")
    assert code == 2 and b"--nonsense" in out and error == b""


@pytest.mark.parametrize("code", [0, 3])
def test_a_reader_that_went_away(code):
    """`| head`: the command goes on to its own end."""
    ended, out, _ = run(f"$APP --code {code} | true; exit ${{PIPESTATUS[0]}}")
    assert (ended, out) == (code, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_standard_output_loses_results_and_says_so():
    code, _, error = run("$APP > /dev/full")
    assert code == 1 and error.endswith(b"error: standard output cannot be written: No space left on device\n")
    assert run("$APP --code 3 > /dev/full")[0] == 3
    assert run("$APP 2> /dev/full")[0] == 0 and run("$APP --code 3 2> /dev/full")[0] == 3


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", b"caf\\xe9"), ("cp1252", b"caf\xe9"), ("latin-1:strict", b"caf\xe9")]
)
def test_narrow_streams(encoding, shown):
    code, out, error = run("$APP", PYTHONIOENCODING=encoding)
    assert code == 0 and shown in out and error.startswith(b"note ")
    code, out, _ = run("$APP", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert code == 0 and b"caf\\xe9" in out


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["-m", "hc_deploy", "doctor"], 0),
        (["-m", "hc_deploy", "video", "--help"], 0),
        (["export.py", "--help"], 0),
        (["export.py", "--batch", "caf\u00e9 \u2026"], 2),
    ],
)
def test_commands_on_an_ascii_terminal(command, code):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"}
    done = subprocess.run([sys.executable, *command], capture_output=True, cwd=ROOT, env=environment)
    assert done.returncode == code and b"UnicodeEncodeError" not in done.stderr and done.stdout + done.stderr
    assert (done.stdout + done.stderr).isascii()


def test_printed_text_is_visible(capsys):
    hostile = "\x1b]0;owned\x07\u202e\r"
    table = Table(title=hostile)
    table.add_row(Text(hostile), f"[red]{hostile}[/red]")
    console.print_line(f"a{hostile}\nb")
    console.print_text(f"a{hostile}\nb")
    console.print_note(hostile)
    console.show(table)
    out, error = capsys.readouterr()
    for line in (out + error).split("\n"):
        assert visible(line) == line
    assert out.startswith("a\\x1b]0;owned\\x07\\u202e\\r\\nb\na\\x1b]0;owned\\x07\\u202e\\r\nb\n")
    assert error == "\\x1b]0;owned\\x07\\u202e\\r\n"


@pytest.mark.parametrize("option", ["--size=\x1b]0;x\x07", "--\x1b[31m", "--code=\u202e"])
def test_usage_errors_are_visible(capsys, option):
    app = typer.Typer(add_completion=False)

    @app.command()
    def main(code: int = 0) -> None:
        raise GateError("no")

    with pytest.raises(SystemExit) as ended:
        console.run_app(app, [option])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and "Error: " in error
    assert all(visible(line) == line for line in error.split("\n"))


def test_errors_are_visible(capsys):
    app = typer.Typer(add_completion=False)

    @app.command()
    def main() -> None:
        raise DeployError("\x1b[31m is \u202e", expected="\x9b", mend="\x07")

    with pytest.raises(SystemExit) as ended:
        console.run_app(app, [])
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: \\x1b[31m is \\u202e\nexpected: \\x9b\ntry: \\x07\n"


def test_a_strict_stream_in_library_use(monkeypatch):
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", narrow)
    console.print_line("é")
    assert narrow.buffer.getvalue() == b"\\xe9\n"


def test_nothing_prints_past_the_console():
    """`print` and rich's Console stand in front of no text that others wrote."""
    allowed = {
        "hc_deploy/console.py": {"Console"},
        "hc_deploy/commands/progress.py": {"Console", "sys.stderr.write"},  # what the Console has made
        "hc_deploy/commands/bench_progress.py": {"print"},
    }
    sources = [
        *(ROOT / "hc_deploy").rglob("*.py"),
        *(ROOT / "models").rglob("*.py"),
        ROOT / "export.py",
        ROOT / "bench.py",
    ]
    for path in sources:
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        called = {ast.unparse(node.func) for node in tree if isinstance(node, ast.Call)}
        printing = called & {"print", "Console", "typer.echo", "sys.stdout.write", "sys.stderr.write"}
        assert printing <= allowed.get(path.relative_to(ROOT).as_posix(), set()), path
