"""Which ONNX Runtimes run our files: `python -m benchmarks.onnxruntime_versions -o docs/benchmarks`.

Each minor version gets an environment of its own (onnxruntime and numpy alone, kept in --environments), and runs there
every op with every choice of its attributes, at odd sizes in models of dynamic size, whole networks in float32 and
float16, and the model of `hc-deploy doctor`. What is right was computed here by torch, in float64 for the ops.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.onnxruntime_cases import NETWORKS, write_cases
from hc_deploy.console import print_line, run_app

VERSIONS = tuple(f"1.{minor}" for minor in range(20, 33))
GROUPS = ("four ops", "fp16 ops", "doctor", *NETWORKS, "networks in fp16")
WORKER = Path(__file__).with_name("onnxruntime_worker.py")
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _environment(folder: Path, version: str) -> Path:
    """The interpreter of an environment with the newest `version`.x of onnxruntime, made where it is not there yet."""
    python = folder / f"ort-{version}" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(python.parents[1])], check=True)
    command = [str(python), "-m", "pip", "install", "--quiet", f"onnxruntime=={version}.*", "numpy"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return python


def _measure(version: str, environments: Path, cases: Path) -> dict[str, Any]:
    try:
        python = _environment(environments, version)
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or "").strip().splitlines() or [str(error)]
        return {"onnxruntime": version, "not installed": lines[-1][:200]}
    result = subprocess.run([str(python), str(WORKER), str(cases)], capture_output=True, text=True, timeout=600)
    if result.returncode:
        return {"onnxruntime": version, "not installed": f"ended with {result.returncode}: {result.stderr[-200:]}"}
    return dict(json.loads(result.stdout.splitlines()[-1]))


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row a version, how many of each group's cases are right, and why not."""
    lines = [
        f"| onnxruntime | Python, numpy | {' | '.join(GROUPS)} |",
        f"|---|---|{'---|' * len(GROUPS)}",
    ]
    notes = []
    for result in results:
        if "not installed" in result:
            lines.append(f"| {result['onnxruntime']} | not to be had here |{' |' * len(GROUPS)}")
            notes.append(f"- {result['onnxruntime']}: {result['not installed']}")
            continue
        cells = []
        for group in GROUPS:
            wrong, count = result["failures"].get(group, []), result["counts"].get(group, 0)
            cells.append(f"{count - len(wrong)} of {count}")
            notes += [f"- {result['onnxruntime']}, {line}" for line in wrong]
        lines.append(f"| {result['onnxruntime']} | {result['python']}, {result['numpy']} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *notes]).rstrip()


@app.command()
def main(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for onnxruntime_versions.json and .md.")],
    versions: Annotated[list[str], typer.Option("--version", help="Minor versions.")] = list(VERSIONS),  # noqa: B006
    environments: Annotated[
        Path | None, typer.Option(help="Where the environments are kept; a temporary folder.")
    ] = None,
) -> None:
    """Run every case in every version, and write the table."""
    from hc_deploy.system.files import write_bytes
    from hc_deploy.system.temporary import temporary_folder

    with temporary_folder() as folder:
        cases = folder / "cases"
        cases.mkdir()
        write_cases(cases)
        results = []
        for version in versions:
            results.append(_measure(version, environments or folder, cases))
            print_line(json.dumps(results[-1]))
    write_bytes(output / "onnxruntime_versions.json", (json.dumps(results, indent=1) + "\n").encode())
    heading = (
        "Right of all cases, by version, on a CPU; `python -m benchmarks.onnxruntime_versions -o docs/benchmarks`\n\n"
    )
    write_bytes(output / "onnxruntime_versions.md", f"{heading}{table(results)}\n".encode())


if __name__ == "__main__":
    run_app(app)
