"""`hc-deploy COMMAND ...`: puts the commands of `hc_deploy.commands` together."""

from __future__ import annotations

from typing import Annotated

import typer

import hc_deploy
from hc_deploy.commands.bench import app as bench
from hc_deploy.commands.build import build
from hc_deploy.commands.doctor import doctor
from hc_deploy.commands.infer import infer
from hc_deploy.commands.inspect import inspect
from hc_deploy.commands.video import video
from hc_deploy.console import print_line

app = typer.Typer(
    name="hc-deploy",
    help="Run, build and measure exported models: no torch needed.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(video)
app.command()(infer)
app.command()(build)
app.add_typer(bench)
app.command()(inspect)
app.command()(doctor)


def _version(wanted: bool) -> None:
    if wanted:
        print_line(f"hc-deploy {hc_deploy.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Run exported models on videos and images, build engines, measure latency; no torch needed."""
