"""Every network of the zoo as a TensorRT-RTX engine, on a machine without a GPU -> the table of `docs/tensorrt.md`.

`python -m benchmarks.engines -o docs/benchmarks --page docs/tensorrt.md` exports each network with random weights and
builds it with the plugin and as standard operators, in float32 and float16, static and dynamic. No engine is run: RTX
engines need an RTX card.
"""

from __future__ import annotations

from hc_deploy.system import interrupts

if __name__ == "__main__":
    interrupts.install()  # before the first slow import

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from hc_deploy.console import print_note, print_text, run_app
from hc_deploy.errors import DeployError, UsageError
from hc_deploy.spec import ModelSpec, Precision
from hc_deploy.system.temporary import temporary_folder

SIZE = (512, 1024)
DEPTH_SIZE = (257, 353)
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        name: (f"{name}_resnet18", {})
        for name in (
            "fcn32", "hcfcn32", "atrousfcn", "fpn", "hcfpn", "pspnet", "hcpspnet", "deeplabv3", "hcdeeplabv3",
        )
    },
    "hcpspnet, DCNv2": ("hcpspnet_resnet18", {"downsample": "dcnv2"}),
    "ssn": ("ssn", {}),
    "hcssn": ("hcssn", {}),
    "dorn": ("dorn", {}),
    "hcdorn": ("hcdorn", {}),
}  # fmt: skip
MARK = "<!-- benchmarks.engines -->"
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Row:
    """One engine, or why there is none (`problem`)."""

    system: str
    plugin: str
    precision: Precision
    shapes: str
    layers: int = 0
    plugins: int = 0
    share: str = ""
    megabytes: float = 0.0
    seconds: float = 0.0
    problem: str = ""


@app.command()
def main(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for engines.json.")],
    page: Annotated[Path | None, typer.Option(help=f"Page that gets the table, between its two lines {MARK}.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Systems to build; repeatable. All, unless told.")] = None,
) -> None:
    """Build the zoo. Exit code 1 when an engine could not be built."""
    from hc_deploy.bench.environment import read_environment
    from hc_deploy.engine import flavours
    from hc_deploy.system.files import write_bytes
    from hc_deploy.system.strict_json import render

    unknown = [name for name in only or () if name not in SYSTEMS]
    if unknown:
        raise UsageError(f"--only {unknown[0]}", expected=f"one of {', '.join(SYSTEMS)}")
    if page is not None and page.read_text().count(MARK) != 2:
        raise DeployError(f"{page} has not two lines {MARK}", expected="where the table goes")
    with temporary_folder() as folder:
        rows = [row for name in only or SYSTEMS for row in _engines(name, folder)]
    report = {
        "schema": 1,
        "tensorrt_rtx": flavours.load("tensorrt-rtx").__version__,
        "environment": asdict(read_environment()),
        "rows": [asdict(row) for row in rows],
    }
    write_bytes(output / "engines.json", render(report, indent=1).encode())
    print_text(table(rows))
    if page is not None:
        before, _, after = page.read_text().split(MARK)
        write_bytes(page, f"{before}{MARK}\n{table(rows)}\n{MARK}{after}".encode())
    failed = [row for row in rows if row.problem]
    if failed:
        raise DeployError(
            "\n".join(f"{row.system}, {row.plugin}, {row.precision}, {row.shapes}: {row.problem}" for row in failed)
        )


def _engines(name: str, folder: Path) -> Iterator[Row]:
    from hc_deploy.arrows.export import export_model
    from models.calibrate import calibrate
    from models.load import new_network

    arch, options = SYSTEMS[name]
    net, spec = new_network(arch, options)
    calibrate(net, spec)
    height, width = DEPTH_SIZE if spec.task == "depth" else SIZE
    for shapes in ("static", "dynamic"):
        sides = (1, height, width) if shapes == "static" else (None, None, None)
        described = replace(spec, batch=sides[0], height=sides[1], width=sides[2])
        path = folder / "model.onnx"
        export_model(net, described, path, size=(height, width), any_size=True)
        for plugin, precision in product(("library", "none"), ("fp32", "fp16")):
            print_note(f"{name}, {shapes}, plugin {plugin}, {precision}")
            yield _engine(name, path, described, plugin, precision, (height, width))


def _engine(name: str, path: Path, spec: ModelSpec, plugin: str, precision: Any, size: tuple[int, int]) -> Row:
    from hc_deploy.arrows.build import build_engine
    from hc_deploy.engine.options import BuildOptions, Shape, ShapeRange

    shapes = "static" if spec.batch else "dynamic"
    most = None if spec.batch else Shape(4, *size)
    profile = ShapeRange.of(spec, Shape(1, *size), most=most)
    options = BuildOptions("tensorrt-rtx", precision, profile, plugin=plugin)  # type: ignore[arg-type]
    try:
        built = build_engine(path, path.with_suffix(".engine"), options).sidecar
    except DeployError as error:
        return Row(name, plugin, precision, shapes, problem=error.received)
    return Row(
        name,
        plugin,
        precision,
        shapes,
        built.layers.count,
        sum(built.layers.plugins.values()),
        built.layers.shares(),
        round(built.engine.bytes / 1e6, 1),
        built.seconds,
    )


def table(rows: list[Row]) -> str:
    """Markdown: one line a system and kind of shapes, the four engines beside each other."""
    lines = [
        "| network | shapes | plugin layers | layers with plugin / without | fp32 MB with / without "
        "| fp16 MB with / without | build s, slowest |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], dict[tuple[str, str], Row]] = {}
    for row in rows:
        groups.setdefault((row.system, row.shapes), {})[row.plugin, row.precision] = row
    for (system, shapes), found in groups.items():
        size = {key: f"{row.megabytes:.1f}" if not row.problem else "refused" for key, row in found.items()}
        both = [f"{size['library', kind]} / {size['none', kind]}" for kind in ("fp32", "fp16")]
        counts = [found[plugin, "fp16"].layers for plugin in ("library", "none")]
        slowest = max(row.seconds for row in found.values())
        lines.append(
            f"| {system} | {shapes} | {found['library', 'fp16'].plugins} | {counts[0]} / {counts[1]} "
            f"| {both[0]} | {both[1]} | {slowest:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    run_app(app)
