"""What the pages take from the code when `make docs` builds them: `{{ help: COMMAND }}` and `{{ example: NAME }}`."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROGRAMS = {"hc-deploy": ["-m", "hc_deploy"], "export.py": ["export.py"], "models.train": ["-m", "models.train"]}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls this for each page."""
    return re.sub(r"^\{\{ (help|example): (.+) \}\}$", _taken, markdown, flags=re.MULTILINE)


def _taken(found: re.Match[str]) -> str:
    kind, what = found.groups()
    return f"```python\n{example(what)}```" if kind == "example" else f"```text\n{help_of(what)}```"


def example(name: str) -> str:
    """The text of an example, which the tests run."""
    return (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")


def help_of(command: str) -> str:
    """What `COMMAND --help` prints, 100 columns wide."""
    program, *rest = shlex.split(command)
    done = subprocess.run(
        [sys.executable, *PROGRAMS[program], *rest, "--help"], cwd=ROOT, capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "100", "TERM": "dumb", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    text = done.stdout.replace("python -m hc_deploy", "hc-deploy")
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).strip("\n") + "\n"
