"""Text made harmless, and paths as words of a shell command: bash itself says which file a word names."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hc_deploy.errors import DeployError
from hc_deploy.shown import quoted, visible

ROOT = Path(__file__).resolve().parents[1]
PLAIN = [
    "road",
    "Straße",
    "写真　1.png",
    "e\u0301",
    "\u0645\u0631\u062d\u0628\u0627",
    "🚗",
    "a\\b",
    "50 % [/red]",
    "\u00a0",
]


@pytest.mark.parametrize("text", PLAIN)
def test_what_people_write_stays(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\rb\nc\td", "a\\rb\\nc\\td"),
        ("\x9b31m\x85\x7f\x00", "\\x9b31m\\x85\\x7f\\x00"),
        ("\u202egnp.exe\u2066\u200f\u061c", "\\u202egnp.exe\\u2066\\u200f\\u061c"),
        ("a\u200bb\u200dc\ufeffd\u00ade\u2060", "a\\u200bb\\u200dc\\ufeffd\\xade\\u2060"),
        ("\u2028\u2029\u115f\u3164\u034f\ufe0f", "\\u2028\\u2029\\u115f\\u3164\\u034f\\ufe0f"),
        ("\U000e0041\U000e0100", "\\U000e0041\\U000e0100"),
        ("caf\udce9", "caf\\xe9"),
        ("\ud83d", "\\ud83d"),
    ],
)
def test_what_a_terminal_obeys_or_hides_is_spelled_out(text, shown):
    assert visible(text) == shown
    assert visible(shown) == shown


def test_nothing_gets_through():
    """Every character there is: what stays is encodable and neither a control, a format character nor a surrogate."""
    import unicodedata

    for code in range(sys.maxunicode + 1):
        kept = visible(chr(code))
        if kept == chr(code):
            assert unicodedata.category(kept) not in ("Cc", "Cf", "Cs", "Zl", "Zp"), hex(code)
        else:
            assert kept.isascii() and kept.isprintable() and "\\" in kept


NAMES = [
    b"a.png", b"a b.png", b"it's", b"$(touch x)`y`", b"-rf", b"--help", b"a\nb", b"caf\xe9.png", b"\xff'\\x",
    b"\x1b[31m\x079",
    "Straße.png".encode(), "\u202egnp".encode(), b"~root", b"*", b"!!", b"\t",
]  # fmt: skip


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("name", NAMES)
def test_a_quoted_path_names_that_file_in_a_shell(name):
    word = quoted(Path(os.fsdecode(name)))
    assert visible(word) == word
    said = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
    assert said == (b"./" + name if name.startswith(b"-") else name)


def test_line_breaks_in_an_error_cannot_pass_for_lines_of_ours():
    error = DeployError("a\ntry: rm -rf ~\n  listed", expected="b\nerror: c", mend="d")
    assert str(error).split("\n") == ["a", "  try: rm -rf ~", "  listed", "expected: b", "  error: c", "try: d"]


SOURCES = [*(ROOT / "hc_deploy").rglob("*.py"), *(ROOT / "models").rglob("*.py"), ROOT / "export.py", ROOT / "bench.py"]
COMMAND = re.compile(r"(next: )?(hc-deploy (video|infer|inspect)|python (export|bench)\.py|python -m) ")
OURS = re.compile(
    r"[A-Z_]+(\[.*\])?|install\..*|found\.backbone|chosen|wanted|settled\[0\]\.(height|width)"
    r"|recipe\.learning_rate / 10|MOST_SAMPLES // len\(Clock\) // models"
    r"|self\.options\.(flavour|precision)"  # checked against lists of ours where they are read
)


def suggestions():
    """The f-strings of commands for people: all that are given as `mend`, and others that read like one."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "mend":
                yield from ((path, part) for part in ast.walk(node.value) if isinstance(part, ast.JoinedStr))
            elif isinstance(node, ast.JoinedStr):
                said = "".join(part.value for part in node.values if isinstance(part, ast.Constant))
                if COMMAND.match(said):
                    yield path, node


def test_every_value_in_a_suggested_command_is_quoted_or_ours():
    seen, others = 0, []
    for path, text in suggestions():
        for part in text.values:
            if isinstance(part, ast.FormattedValue):
                seen += 1
                value = ast.unparse(part.value)
                if not value.startswith("quoted(") and not OURS.fullmatch(value):
                    others.append(f"{path.relative_to(ROOT)}:{part.lineno}: {value}")
    assert others == [] and seen > 20
