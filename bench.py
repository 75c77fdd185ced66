"""`python bench.py run A B -o report.json`, `compare OLD NEW`: `hc-deploy bench`, and checkpoints too (in torch)."""

from __future__ import annotations

from hc_deploy.system import interrupts

if __name__ == "__main__":
    interrupts.install()  # before the first slow import

from pathlib import Path
from typing import Any

import typer

from hc_deploy.commands.bench import app
from hc_deploy.commands.bench_models import Networks
from hc_deploy.console import run_app
from hc_deploy.spec import ModelSpec


@app.callback()
def main(context: typer.Context) -> None:
    """Latency of models, measured side by side, and the comparison of two such measurements."""
    context.obj = Networks(_load, Path(__file__))


def _load(path: Path) -> tuple[Any, ModelSpec]:
    from models.load import load_network

    net, spec = load_network(path)
    return net, spec


if __name__ == "__main__":
    run_app(app)
